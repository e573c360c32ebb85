"""The send log follows the queue, kept by one process at a time."""

from __future__ import annotations

import asyncio
from collections import Counter
from copy import deepcopy
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.support.jobs import make_payload, make_send_job, make_walk_job
from tests.support.lost_sends import LostSends
from tests.support.memory_send_log import MemorySendLog

from tocsin.core.accounts import Account, Part, Unit
from tocsin.core.errors import InternalError, QueueUnavailable
from tocsin.core.send_log import Progress
from tocsin.push import log_keeper
from tocsin.push.log_keeper import COMPARE_EVERY_MS, UNSEEN_EVERY_MS


@pytest.fixture
def rig() -> LostSends:
    return LostSends()


def _failing(rig: LostSends, *methods: str) -> MemorySendLog:
    """The log of a process whose next calls of these methods fail, each once."""
    left = Counter(methods)

    async def begin(method: str) -> None:
        if left[method] > 0:
            left[method] -= 1
            raise InternalError("database is unavailable")

    return rig.open_log(begin=begin)


# --- writing down ---


async def test_a_send_is_followed_to_its_end(rig: LostSends) -> None:
    """And the queue forgets it then."""
    keeper = rig.open_keeper()
    await rig.accept()
    await keeper.look()
    assert (await rig.record()).progress is Progress.SENDING
    await rig.walk(("", ""))
    await rig.send()
    await keeper.look()
    record = await rig.record()
    assert record.progress is Progress.FINISHED
    assert record.account.parts == {"delivered": 3}
    assert rig.queue.data.accounts == {}
    assert rig.queue.data.changed == set()


async def test_more_accounts_than_one_batch_are_all_written(
    rig: LostSends, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_keeper, "BATCH", 3)
    for number in range(7):
        await rig.accept(f"p{number}")
    keeper = rig.open_keeper()
    await keeper.look()
    assert rig.queue.data.changed == set()
    assert await keeper.write_down() == 0


async def test_what_changes_while_it_is_written_stays_changed(rig: LostSends) -> None:
    """It is written again, and not forgotten."""

    async def change(method: str) -> None:
        if method == "write_accounts" and rig.queue.data.accounts["p1"].version == 1:
            await rig.walk(("", ""))

    await rig.accept()
    keeper = rig.open_keeper(log=rig.open_log(begin=change))
    await keeper.look()
    assert (await rig.record()).account.matched == 0
    assert rig.queue.data.changed == {"p1"}
    await keeper.look()
    assert (await rig.record()).account.matched == 3


async def test_an_account_that_is_gone_leaves_the_list(rig: LostSends) -> None:
    keeper = rig.open_keeper()
    await keeper.look()
    await rig.accept()
    del rig.queue.data.accounts["p1"]
    await keeper.look()
    assert rig.queue.data.changed == set()


async def test_a_send_without_a_row_is_acknowledged(rig: LostSends) -> None:
    """An older release accepted it, or the log's database went back."""
    await rig.queue.enqueue(make_payload(), [make_walk_job(unit="0")])
    await rig.open_keeper().look()
    assert rig.queue.data.changed == set()
    assert "p1" in rig.queue.data.accounts


# --- the lease ---


async def test_one_process_keeps_the_log(rig: LostSends) -> None:
    """Another one does nothing until the lease is over; then it compares."""
    first, second = rig.open_keeper("a"), rig.open_keeper("b")
    await first.look()
    await second.look()
    assert (first.is_keeper, second.is_keeper) == (True, False)
    await rig.accept(queued=False)
    await second.look()
    assert rig.jobs() == []
    rig.clock.advance(15)
    await second.look()
    assert second.is_keeper
    assert len(rig.jobs()) == 1
    rig.clock.advance(5)
    await first.look()
    assert not first.is_keeper


async def test_a_lease_is_renewed_in_time(rig: LostSends) -> None:
    """Not with each look."""
    keeper = rig.open_keeper()
    fences = set()
    for _ in range(60):
        await keeper.look()
        assert keeper.is_keeper
        fences.add(rig.log_data.fence)
        rig.clock.advance(1)
    assert len(fences) == 12


async def test_a_keeper_that_was_away_writes_nothing(rig: LostSends) -> None:
    """Its successor has written the end; what it read before is older."""
    await rig.accept()
    first = rig.open_keeper("a")
    await first.look()
    stale = deepcopy(rig.queue.data.accounts["p1"])
    rig.clock.advance(15)
    await rig.walk(("", ""))
    await rig.send()
    await rig.open_keeper("b").look()
    rig.queue.data.accounts["p1"] = stale
    rig.queue.data.changed.add("p1")
    assert await first.write_down() == 0
    assert (await rig.record()).progress is Progress.FINISHED
    await first.look()
    assert not first.is_keeper


async def test_what_was_read_before_a_repair_is_not_written_over_it(
    rig: LostSends,
) -> None:
    """The queue lost it in between; a caller's repeat has queued it again."""
    keeper = rig.open_keeper()
    await rig.accept()
    await keeper.look()
    await rig.walk(("", "d1"))
    stale = deepcopy(rig.queue.data.accounts["p1"])
    await rig.lose()
    assert await rig.repair.heal("p1")
    planned = (await rig.record()).accounts
    queued = dict(rig.queue.data.accounts)
    rig.queue.data.accounts["p1"] = stale
    assert await keeper.write_down() == 0
    assert (await rig.record()).accounts == planned
    rig.queue.data.accounts.update(queued)
    await keeper.look()
    record = await rig.record()
    assert keeper.is_keeper
    assert [each.is_planned for each in record.accounts.values()] == [False, False]
    assert record.account.find_fault() == ""


async def test_a_keeper_that_stood_still_does_not_take_the_log_for_a_backup(
    rig: LostSends,
) -> None:
    """Others had the log since it got its number; what is open was not lost by it."""
    first, second = rig.open_keeper("a"), rig.open_keeper("b")
    await rig.accept(queued=False)
    gate = rig.queue.gates["accounts.note_keeper"] = asyncio.Event()
    standing = asyncio.create_task(first.look())
    await rig.queue.called("accounts.note_keeper", 1)
    del rig.queue.gates["accounts.note_keeper"]
    rig.queue.faults["enqueue"] = [QueueUnavailable()] * 9
    for _ in range(3):
        rig.clock.advance(16)
        await second.look()
    gate.set()
    with capture_logs() as lines:
        await standing
    assert not first.is_keeper
    assert [line for line in lines if "went back" in line["event"]] == []
    assert not (await rig.record()).progress.is_over


@pytest.mark.parametrize("fault", ["hold", "note_keeper", "fetch_open", "raise_fence"])
async def test_nothing_is_compared_before_the_log_is_judged(
    rig: LostSends, fault: str
) -> None:
    """The database was restored from a backup: sends that ended since are not lost."""
    await rig.accept()
    await rig.open_keeper("a").look()
    backup = deepcopy(rig.log_data)
    for _ in range(5):
        rig.clock.advance(5)
        await rig.open_keeper("a").look()
    await rig.walk(("", ""))
    await rig.send()
    await rig.open_keeper("a").look()
    rig.log_data.__dict__.update(backup.__dict__)
    rig.clock.advance(20)
    if fault == "note_keeper":
        rig.queue.faults["accounts.note_keeper"] = [QueueUnavailable()]
        keeper = rig.open_keeper("b")
    else:
        keeper = rig.open_keeper("b", log=_failing(rig, fault))
    with pytest.raises(InternalError):
        await keeper.look()
    assert not keeper.is_keeper
    with capture_logs() as lines:
        await keeper.look()
    assert keeper.is_keeper
    went_back = [line for line in lines if "went back" in line["event"]]
    assert len(went_back) == 1
    record = await rig.record()
    assert record.progress is Progress.FINISHED
    assert "backup" in record.note
    assert rig.jobs() == []
    await keeper.look()
    assert rig.repaired == {}


async def test_after_a_log_went_back_what_is_in_the_queue_goes_on(
    rig: LostSends,
) -> None:
    """It is open in both."""
    await rig.accept("p1")
    await rig.accept("p2")
    await rig.open_keeper("a").look()
    backup = deepcopy(rig.log_data)
    rig.clock.advance(20)
    await rig.open_keeper("a").look()
    rig.log_data.__dict__.update(backup.__dict__)
    rig.clock.advance(20)
    keeper = rig.open_keeper("b")
    await keeper.look()
    assert rig.log_data.fence > rig.queue.data.keeper - 1
    for push_id in ("p1", "p2"):
        assert (await rig.record(push_id)).progress is Progress.SENDING
    await rig.lose()
    await keeper.look()
    assert len(rig.jobs()) == 2


# --- looking for what is lost ---


async def test_a_loss_is_repaired_as_soon_as_it_is_noticed(rig: LostSends) -> None:
    """Once: open sends are not compared with every look."""
    keeper = rig.open_keeper()
    await rig.accept()
    await keeper.look()
    await rig.lose()
    await keeper.look()
    assert rig.repaired == {"requeued": 1}
    asked = rig.queue.calls["accounts.find"]
    await keeper.look()
    assert rig.queue.calls["accounts.find"] == asked


async def test_all_open_sends_are_compared_now_and_then(
    rig: LostSends, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also without a reason, and in batches."""
    monkeypatch.setattr(log_keeper, "BATCH", 2)
    keeper = rig.open_keeper(lost_at_ms=lambda: 0)
    for number in range(5):
        await rig.accept(f"p{number}")
    await keeper.look()
    rig.queue.data.lose()
    rig.clock.advance(COMPARE_EVERY_MS / 1000 - 1)
    await keeper.look()
    assert rig.repaired == {}
    rig.clock.advance(1)
    await keeper.look()
    assert rig.repaired == {"requeued": 5}


async def test_a_comparison_that_fails_is_made_again(rig: LostSends) -> None:
    keeper = rig.open_keeper()
    await rig.accept()
    await keeper.look()
    await rig.lose()
    rig.queue.faults["accounts.find"] = [QueueUnavailable()]
    with pytest.raises(QueueUnavailable):
        await keeper.look()
    await keeper.look()
    assert rig.repaired == {"requeued": 1}


async def test_a_send_that_was_never_seen_is_looked_for(rig: LostSends) -> None:
    """Every few seconds, as soon as its call should be over."""
    keeper = rig.open_keeper()
    await keeper.look()
    await rig.accept(queued=False, age_ms=0)
    rig.clock.advance(log_keeper.UNSEEN_AFTER_MS / 1000 - 1)
    await keeper.look()
    assert rig.jobs() == []
    rig.clock.advance(UNSEEN_EVERY_MS / 1000)
    await keeper.look()
    assert len(rig.jobs()) == 1


async def test_sends_that_are_over_are_forgotten(
    rig: LostSends, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as come: what one look leaves, the next one takes."""
    monkeypatch.setattr(log_keeper, "PURGE_LIMIT", 2)
    monkeypatch.setattr(log_keeper, "PURGE_TURNS", 2)
    keeper = rig.open_keeper(keep_s=60)
    for number in range(5):
        await rig.accept(f"p{number}", queued=False)
    done = Account("g", 2, 1, Counter({"delivered": 1}), ended=True)
    sends = {f"p{number}": done for number in range(5)}
    await rig.log.write_accounts(sends, fence=0, epoch="")
    await keeper.look()
    assert len(rig.log_data.rows) == 5
    rig.clock.advance(60)
    await keeper.look()
    assert len(rig.log_data.rows) == 1
    await keeper.look()
    assert len(rig.log_data.rows) == 0
    await rig.accept("p9")
    await keeper.look()
    rig.clock.advance(90)
    await keeper.look()
    assert set(rig.log_data.rows) == {"p9"}


# --- accounts that do not close ---


async def test_a_broken_account_is_told_once(rig: LostSends) -> None:
    """Until it closes again, by any keeper of its own."""
    keeper = rig.open_keeper()
    await rig.accept(jobs=[make_send_job(3, unit="0")])
    broken = rig.queue.data.accounts["p1"]

    async def look(parts: dict[str, int]) -> None:
        broken.parts, broken.version = Counter(parts), broken.version + 1
        rig.queue.data.changed.add("p1")
        await keeper.look()

    with capture_logs() as lines:
        for _ in range(3):
            await look({"delivered": 1})
    assert [push_id for push_id, _ in rig.broken] == ["p1"]
    assert [line["event"] for line in lines] == [
        "the account of a send does not close; see `tocsin audit`"
    ]
    await look({})
    await look({"delivered": 1})
    assert len(rig.broken) == 2


async def test_a_replay_after_the_end_breaks_nothing(rig: LostSends) -> None:
    """Its own count alone is below zero; with the first one it closes."""
    keeper = rig.open_keeper()
    await rig.accept()
    parts = Counter({"delivered": 1, "dead_lettered": 2})
    first = Account("g1", 9, 3, parts, ended=True)
    rig.queue.data.accounts["p1"] = first
    await keeper.look()
    again: dict[str, Any] = {
        "parts": Counter({Part.DEAD.value: -2}),
        "units": {"0:0!": Unit(2, parts=Counter({Part.DEAD.value: -2}))},
    }
    rig.queue.data.accounts["p1"] = Account("g2", 1, 0, **again)
    rig.queue.data.changed.add("p1")
    await keeper.look()
    assert rig.broken == []
    assert (await rig.record()).progress is Progress.SENDING
    del rig.log_data.rows["p1"]
    rig.queue.data.changed.add("p1")
    await keeper.look()
    assert rig.broken == []
