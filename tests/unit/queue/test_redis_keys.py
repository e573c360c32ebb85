"""Names in Redis."""

from __future__ import annotations

from tocsin.queue.redis_keys import Keys, parse_receipt, receipt_of


def test_all_keys_share_a_slot() -> None:
    """Each key starts with the same hash tag, so that scripts may touch them all."""
    keys = Keys("mine")
    names = [
        *keys.all_of("send:fcm"),
        *(keys.progress, keys.dead, keys.sequence),
        *(keys.payload("p"), keys.once("p")),
    ]
    assert all(name.startswith("{mine}:") for name in names)
    assert len(set(names)) == len(names)


def test_receipt_round_trips() -> None:
    """The queue's own name may hold any separator."""
    receipt = receipt_of("send:odd|name", "17-0")
    assert parse_receipt(receipt) == ("send:odd|name", "17-0")
