"""The contract of `ReceiptStore`, held by every implementation."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.registries import RegistryPlace

from tocsin.core.ports.receipts import ReceiptStore, Ticket


def ticket(id: str, integration: str = "expo", **more: str) -> Ticket:
    return Ticket(id, "expo", integration, 900, **more)


@pytest.fixture
def store(registry: RegistryPlace) -> ReceiptStore:
    return registry.receipts()


async def claim(
    store: ReceiptStore, now_ms: int, limit: int = 10, integration: str = "expo"
) -> list[Ticket]:
    return await store.claim(
        integration, now_ms=now_ms, next_due_ms=now_ms + 100, limit=limit
    )


async def test_a_ticket_comes_back_as_it_was(store: ReceiptStore) -> None:
    """Device, token and time of the send are what acting on a receipt needs."""
    kept = [ticket("t1", device_id="d1", token="ExponentPushToken[x]"), ticket("t2")]
    await store.add(kept, due_at_ms=1000)
    found = await claim(store, 1000)
    assert sorted(found, key=lambda one: one.id) == kept


async def test_nothing_is_claimed_before_it_is_due(store: ReceiptStore) -> None:
    """The service has no receipts right after a send."""
    await store.add([ticket("t1")], due_at_ms=1000)
    assert await claim(store, 999) == []


async def test_claimed_tickets_are_due_again_later(store: ReceiptStore) -> None:
    """Who claimed them may have died, or the receipt was not there yet."""
    await store.add([ticket("t1")], due_at_ms=1000)
    assert len(await claim(store, 1000)) == 1
    assert await claim(store, 1099) == []
    assert len(await claim(store, 1100)) == 1


async def test_dropped_tickets_are_gone(store: ReceiptStore) -> None:
    """Only those named, and unknown ones are no error."""
    await store.add([ticket("t1"), ticket("t2")], due_at_ms=1000)
    dropped = await store.drop([ticket("t1"), ticket("never")])
    assert [one.id for one in dropped] == ["t1"]
    assert await store.drop([ticket("t1")]) == []
    assert await store.drop([]) == []
    assert [one.id for one in await claim(store, 1000)] == ["t2"]


async def test_a_known_ticket_changes_nothing(store: ReceiptStore) -> None:
    """A repeated write after a lost answer of the database is harmless."""
    await store.add([ticket("t1", device_id="d1")], due_at_ms=1000)
    await store.add([ticket("t1", device_id="d2"), ticket("t2")], due_at_ms=5000)
    await store.add([], due_at_ms=1)
    assert [one.device_id for one in await claim(store, 1000)] == ["d1"]
    assert len(await claim(store, 9000)) == 2


async def test_integrations_do_not_mix(store: ReceiptStore) -> None:
    """Each account is asked for its own; the same id may stand in both."""
    await store.add([ticket("t1"), ticket("t1", "expo-eu")], due_at_ms=1000)
    await store.drop([ticket("t1")])
    assert await claim(store, 1000) == []
    assert len(await claim(store, 1000, integration="expo-eu")) == 1


async def test_the_longest_due_come_first(store: ReceiptStore) -> None:
    """At most `limit`, the rest stays due."""
    for number in range(5):
        await store.add([ticket(f"t{number}")], due_at_ms=1000 - number)
    assert {one.id for one in await claim(store, 1000, 2)} == {"t4", "t3"}
    assert {one.id for one in await claim(store, 1000, 2)} == {"t2", "t1"}
    assert {one.id for one in await claim(store, 1000, 2)} == {"t0"}


async def test_each_ticket_goes_to_one_claim(store: ReceiptStore) -> None:
    """Several workers ask at once; no receipt is acted on twice."""
    await store.add([ticket(f"t{i}") for i in range(1200)], due_at_ms=1000)
    claims = await asyncio.gather(*(claim(store, 1000, 400) for _ in range(4)))
    ids = [one.id for found in claims for one in found]
    assert len(ids) == len(set(ids))
    left = await claim(store, 1000, 1200)
    assert len(ids) + len(left) == 1200


async def test_what_nobody_claims_is_purged(store: ReceiptStore) -> None:
    """A provider that was taken out of the configuration leaves nothing behind."""
    for number in range(3):
        await store.add([ticket(f"t{number}")], due_at_ms=1000 + number)
    assert await store.purge_overdue(due_before_ms=1002, limit=1) == 1
    assert await store.purge_overdue(due_before_ms=1002, limit=9) == 1
    assert await store.purge_overdue(due_before_ms=1002, limit=9) == 0
    assert [one.id for one in await claim(store, 9000)] == ["t2"]
