"""What a queue has lost of an accepted send is queued again, and nothing else."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.support.brokers import until
from tests.support.jobs import make_payload, make_send_job, make_walk_job
from tests.support.lost_sends import LostSends

from tocsin.core.accounts import Account, Part, Unit, Walk
from tocsin.core.errors import InternalError, QueueFull, QueueUnavailable
from tocsin.core.ports.send_log import OpenSend
from tocsin.core.push import ExpandJob, Job, SendJob
from tocsin.core.send_log import Progress, SendRecord
from tocsin.push.repair import FIRST_CALL_MS, LATE_MS, MOVED_GRACE_MS, plan_of


@pytest.fixture
def rig() -> LostSends:
    return LostSends()


def _send(*jobs: Job, **accounts: Account) -> OpenSend:
    return OpenSend(SendRecord("p1", "u1", accounts=accounts), make_payload(), jobs)


def _ranges(jobs: Any) -> set[tuple[str, str, int]]:
    """Of walks: after which device, up to which one, and the number of the page."""
    return {
        (each.work.cursor, each.work.until, each.work.page)
        for each in jobs
        if isinstance(each, ExpandJob)
    }


# --- what is queued again ---


async def test_a_send_that_was_never_queued_is_queued_as_it_was(
    rig: LostSends,
) -> None:
    """Its server died between the row and the queue."""
    await rig.accept(jobs=[make_send_job(3, unit="0")], queued=False)
    assert await rig.repair.look(["p1", "unknown"]) == 1
    (job,) = rig.jobs()
    assert isinstance(job, SendJob)
    assert job.work == make_send_job(3).work
    assert rig.repaired == {"requeued": 1}
    assert (await rig.record()).repairs == 1


async def test_what_the_queue_has_is_left_alone(rig: LostSends) -> None:
    await rig.accept()
    assert await rig.repair.look(["p1"]) == 0
    assert not await rig.repair.heal("p1")
    assert len(rig.jobs()) == 1
    assert (await rig.record()).repairs == 0


async def test_a_walk_goes_on_where_it_was_written_down(rig: LostSends) -> None:
    """With the pages that were open then; what had ended is not sent again."""
    keeper = rig.open_keeper()
    await rig.accept()
    await rig.walk(("", "d1"), ("d1", "d2"), ("d2", "d3"))
    await rig.send(1)
    await keeper.look()
    await rig.lose()
    await keeper.look()
    walks = rig.jobs()
    assert _ranges(walks) == {("d1", "d2", 1), ("d2", "d3", 2), ("d3", "", 3)}
    names = {job.unit for job in walks}
    assert len(names) == 3
    assert "0" in names
    assert all(name.partition("@")[0] == "0" for name in names)
    record = await rig.record()
    assert (record.account.matched, record.account.parts) == (3, {"delivered": 3})
    assert (record.progress, record.repairs) == (Progress.SENDING, 1)


async def test_the_account_closes_over_a_loss(rig: LostSends) -> None:
    """All generations together."""
    keeper = rig.open_keeper()
    await rig.accept()
    await rig.walk(("", "d1"), ("d1", ""))
    await rig.send(1)
    await keeper.look()
    await rig.lose()
    await keeper.look()
    await rig.walk(("d1", ""))
    await rig.send()
    rig.clock.advance(1)
    await keeper.look()
    await keeper.look()
    record = await rig.record()
    assert record.progress is Progress.FINISHED
    assert (record.account.matched, record.account.parts) == (6, {"delivered": 6})
    assert record.account.find_fault() == ""
    assert rig.broken == []


def test_raw_batches_are_queued_again_as_wholes() -> None:
    """Those that are open; a part of one that was replayed brings it once."""
    other = make_send_job(2, unit="1")
    first: list[Job] = [make_send_job(3, unit="0"), other, make_walk_job()]
    parts = Counter({"delivered": 2, "dead_lettered": 0})
    units = {"1": Unit(1, parts=Counter({"delivered": 1})), "1!": Unit(1)}
    account = Account("g", 5, 5, parts, units)
    plan = plan_of(_send(*first, g=account))
    (job,) = plan.jobs
    assert (job.unit, job.work) == ("1", other.work)
    assert job.id != other.id
    assert (plan.account.matched, plan.account.open) == (2, 2)
    assert plan.accounts["g"].ended
    assert plan.unconfirmed == 0


def test_a_page_of_a_repeated_walk_is_found_by_its_first_job() -> None:
    """Its name is that of the first walk, with a mark."""
    account = Account(
        "g", 5, 3, units={"1@ab:4": Unit(3, "d4", "d5")}, walks={"1@cd": Walk(9, "d9")}
    )
    plan = plan_of(_send(make_send_job(unit="0"), make_walk_job(unit="1"), g=account))
    assert _ranges(plan.jobs) == {("d4", "d5", 4), ("d9", "", 9)}
    assert {job.unit.partition("@")[0] for job in plan.jobs} == {"1"}
    assert "1@cd" in {job.unit for job in plan.jobs}


@pytest.mark.parametrize("unit", ["0:3!", "9:0", "x:1", "7", "x", "²"])
def test_what_cannot_be_queued_again_is_unconfirmed(unit: str) -> None:
    """A part of a page that came back from the dead letters, above all."""
    parts = Counter({"delivered": 2, "dead_lettered": 0})
    account = Account(
        "g", 5, 4, parts, {unit: Unit(2, parts=Counter({"dead_lettered": -2}))}
    )
    assert account.find_fault() == ""
    account.walks["8"] = Walk()
    plan = plan_of(_send(make_walk_job(unit="0"), g=account))
    assert (plan.jobs, plan.unconfirmed) == ([], 2)
    (closed,) = plan.accounts.values()
    assert closed.parts[Part.UNCONFIRMED.value] == 2
    assert closed.find_fault() == ""


async def test_a_send_of_which_nothing_can_be_queued_ends(rig: LostSends) -> None:
    """Else it would be looked for, and planned, for ever."""
    await rig.accept()
    part = {"0:0!": Unit(2, parts=Counter({"dead_lettered": -2}))}
    parts = Counter({"delivered": 5, "dead_lettered": 0})
    account = Account("g", 9, 7, parts, part)
    await rig.log.write_accounts({"p1": account}, fence=1, epoch="first")
    await rig.lose()
    with capture_logs() as lines:
        assert await rig.repair.look(["p1"]) == 0
    assert "nothing of it can be queued again" in lines[-1]["event"]
    record = await rig.record()
    assert (record.progress, record.repairs) == (Progress.FINISHED, 0)
    assert "2 recipients" in record.note
    assert record.account.parts == {"delivered": 5, "unconfirmed": 2}
    assert record.account.find_fault() == ""


async def test_what_is_due_later_stays_due_then(rig: LostSends) -> None:
    due_at_ms = rig.clock.now_ms() + 60_000
    await rig.accept(queued=False, due_at_ms=due_at_ms, progress=Progress.SCHEDULED)
    assert await rig.repair.look(["p1"]) == 1
    assert await rig.take() == []
    rig.clock.advance(61)
    assert len(await rig.take()) == 1


# --- twice, late, or at once ---


async def test_two_who_repair_at_once_queue_it_once(rig: LostSends) -> None:
    """One of them has planned it when the other one looks."""
    await rig.accept(queued=False)
    rig.queue.gates["enqueue"] = asyncio.Event()
    first = asyncio.create_task(rig.repair.look(["p1"]))
    await until(lambda: rig.queue.calls["enqueue"] == 1)
    second = asyncio.create_task(rig.open_repair().heal("p1"))
    await until(lambda: rig.queue.calls["enqueue"] == 2)
    rig.queue.gates["enqueue"].set()
    assert {await first, await second} == {1, False}
    assert len(rig.jobs()) == 1
    record = await rig.record()
    assert record.repairs == 1
    assert set(record.accounts) == {rig.queue.data.accounts["p1"].generation}


async def test_a_plan_that_does_not_fit_is_made_again(rig: LostSends) -> None:
    """Under its own name: a queue that stays full must not make the row grow."""
    await rig.accept(queued=False)
    rig.queue.faults["enqueue"] = [QueueFull(), QueueUnavailable(), QueueFull()]
    with capture_logs() as lines:
        for _ in range(3):
            assert await rig.repair.look(["p1"]) == 0
    assert [line["event"] for line in lines] == [
        "lost send not queued again yet; it is tried again"
    ]
    record = await rig.record()
    (generation,) = record.accounts
    assert (record.repairs, record.account.find_fault()) == (1, "")
    assert await rig.repair.look(["p1"]) == 1
    assert rig.queue.data.accounts["p1"].generation == generation


async def test_a_call_that_queues_its_send_after_all_wins(rig: LostSends) -> None:
    """The plan is dropped as soon as the queue tells of the send."""
    await rig.accept(queued=False)
    rig.queue.faults["enqueue"] = [QueueUnavailable()]
    await rig.repair.look(["p1"])
    await rig.queue.enqueue(make_payload(), [make_walk_job(unit="0")])
    keeper = rig.open_keeper()
    await keeper.look()
    await rig.walk(("", ""))
    await rig.send()
    rig.clock.advance(1)
    await keeper.look()
    record = await rig.record()
    assert record.progress is Progress.FINISHED
    assert record.account.parts == {"delivered": 3}
    assert await rig.repair.look(["p1"]) == 0
    assert rig.jobs() == []


async def test_who_stood_still_between_plan_and_queue_does_not_queue(
    rig: LostSends,
) -> None:
    """By then another one may have queued the plan, and all of it may be sent."""

    async def stand_still(method: str) -> None:
        if method == "plan_repair":
            rig.clock.advance(LATE_MS / 1000)

    await rig.accept(queued=False)
    late = rig.open_repair(log=rig.open_log(begin=stand_still))
    assert await late.look(["p1"]) == 0
    assert rig.jobs() == []
    assert await rig.repair.look(["p1"]) == 1


async def test_a_young_send_is_left_to_its_call(rig: LostSends) -> None:
    await rig.accept(queued=False, age_ms=FIRST_CALL_MS - 1)
    assert await rig.repair.look(["p1"]) == 0
    assert (await rig.record()).accounts == {}
    rig.clock.advance(0.001)
    assert await rig.repair.look(["p1"]) == 1


async def test_a_young_send_that_was_seen_is_repaired_at_once(rig: LostSends) -> None:
    await rig.accept(age_ms=0)
    await rig.open_keeper().look()
    await rig.lose()
    assert await rig.repair.look(["p1"]) == 1


async def test_a_send_that_ended_meanwhile_is_not_queued(rig: LostSends) -> None:
    """Between the two looks, at the queue and at the row."""
    await rig.accept(queued=False)

    async def end(method: str) -> None:
        if method == "plan_repair":
            done = Account("g", 3, 3, Counter({"delivered": 3}), ended=True)
            await rig.log.write_accounts({"p1": done}, fence=1, epoch="")

    assert await rig.open_repair(log=rig.open_log(begin=end)).look(["p1"]) == 0
    assert rig.jobs() == []


# --- a repeated uid ---


async def test_a_repeat_heals_its_send(rig: LostSends) -> None:
    """Also where `repair` is `report`."""
    keeper = rig.open_keeper()
    await rig.accept()
    await keeper.look()
    await rig.lose()
    assert await rig.open_repair(resume=False).heal("p1")
    assert len(rig.jobs()) == 1
    assert not await rig.repair.heal("p1")
    assert not await rig.repair.heal("unknown")


async def test_a_repeat_while_the_first_call_is_under_way(rig: LostSends) -> None:
    """It may have died on another server; of both exactly one queues it."""
    await rig.accept(queued=False, age_ms=0)
    assert not await rig.repair.heal("p1")
    assert not await rig.queue.enqueue(make_payload(), [make_walk_job(unit="0")])
    assert len(rig.jobs()) == 1
    assert (await rig.record()).repairs == 0


async def test_a_repeat_hears_that_the_queue_is_away(rig: LostSends) -> None:
    await rig.accept(queued=False)
    rig.queue.faults["enqueue"] = [QueueFull()]
    with pytest.raises(QueueFull):
        await rig.repair.heal("p1")
    rig.queue.faults["accounts.find"] = [QueueUnavailable()]
    with pytest.raises(QueueUnavailable):
        await rig.repair.heal("p1")


# --- report, and queues at another place ---


async def test_with_report_a_lost_send_is_named_once(rig: LostSends) -> None:
    reporting = rig.open_repair(resume=False)
    await rig.accept()
    await rig.open_keeper().look()
    await rig.lose()
    with capture_logs() as lines:
        for _ in range(3):
            assert await reporting.look(["p1"]) == 0
    assert [(line["uid"], line["log_level"]) for line in lines] == [
        ("uid of p1", "error")
    ]
    assert rig.repaired == {"reported": 1}
    assert rig.jobs() == []
    assert (await rig.record()).progress is Progress.SENDING


@pytest.mark.parametrize("resume", [True, False])
async def test_work_in_another_queue_is_left_there_for_a_while(
    rig: LostSends, *, resume: bool
) -> None:
    """Then it is taken for lost."""
    repair = rig.open_repair(resume=resume)
    for push_id in ("p1", "p2"):
        await rig.accept(push_id)
    await rig.open_keeper().look()
    rig.queue.data.lose(epoch="another place")
    await rig.watch.check()
    with capture_logs() as lines:
        assert await repair.look(["p1", "p2"]) == 0
        assert not await repair.heal("p1")
    assert len(lines) == 1
    assert "`tocsin queue drain`" in lines[0]["event"]
    assert rig.repaired == {"moved": 1}
    rig.clock.advance(MOVED_GRACE_MS / 1000)
    assert await repair.look(["p1", "p2"]) == (2 if resume else 0)
    assert not await repair.heal("p1")


async def test_without_a_watch_nothing_is_elsewhere(rig: LostSends) -> None:
    repair = rig.open_repair()
    repair._watch = None
    await rig.accept()
    await rig.open_keeper().look()
    rig.queue.data.lose(epoch="another place")
    assert await repair.look(["p1"]) == 1
    assert (await rig.record()).epoch == ""


async def test_a_store_that_is_away_is_told(rig: LostSends) -> None:
    """The rest is looked at next time."""
    for push_id in ("p1", "p2"):
        await rig.accept(push_id, queued=False)
    failing = [InternalError("database is unavailable")]

    async def fail(method: str) -> None:
        if method == "plan_repair" and failing:
            raise failing.pop()

    repair = rig.open_repair(log=rig.open_log(begin=fail))
    with capture_logs() as lines:
        assert await repair.look(["p1", "p2"]) == 1
    assert lines[0]["push_id"] == "p1"
    assert [job.push_id for job in rig.jobs()] == ["p2"]
    assert await repair.look(["p1", "p2"]) == 1


async def test_a_second_loss_is_repaired_from_the_plan(rig: LostSends) -> None:
    """Before the first repair was seen in the queue."""
    await rig.accept()
    await rig.walk(("", "d1"))
    await rig.open_keeper().look()
    await rig.lose()
    assert await rig.repair.look(["p1"]) == 1
    before = _ranges(rig.jobs())
    await rig.lose("third")
    assert await rig.repair.look(["p1"]) == 1
    assert _ranges(rig.jobs()) == before == {("", "d1", 0), ("d1", "", 1)}
