"""Results are recorded while a batch runs, and sending never gets far ahead of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from tests.support.jobs import ManualClock, make_payload, make_send_job
from tests.support.memory_queue import MemoryJobQueue

from tocsin.core.elapsed import elapsed_s
from tocsin.core.errors import QueueUnavailable
from tocsin.core.outcome import DELIVERED, Outcome, Verdict
from tocsin.delivery.credentials import CredentialState
from tocsin.delivery.outages import Outages
from tocsin.delivery.run import RELIABLE_UNRECORDED, Journal, Run, RunPace

SLOW = Outcome(Verdict.RETRY, "quota", retry_after_s=60.0, slow_down=True)


class Marks:
    """Takes results in as `Settlement` does, and judges nothing."""

    def __init__(self) -> None:
        self.taken: list[list[Run]] = []
        self.during: Callable[[], None] = lambda: None

    async def take_in(self, runs: Sequence[Run]) -> None:
        self.taken.append(list(runs))
        for run in runs:
            run.mark_done(run.take())
        self.during()


class Desk:
    """A journal over a queue in memory."""

    def __init__(self, *, most: int = 3) -> None:
        self.clock = ManualClock()
        self.queue = MemoryJobQueue(self.clock)
        self.marks = Marks()
        self.outages = Outages()
        self.journal = Journal(
            self.queue,
            self.marks,
            self.clock,
            max_unrecorded=most,
            outages=self.outages,
        )

    def run(self, *, reliable: bool = False, expire_at_ms: int = 0) -> Run:
        job = make_send_job(40, expire_at_ms=expire_at_ms)
        delivery = self.queue.hand_out(job)
        payload = replace(make_payload(), reliable=reliable)
        return Run(delivery, job, payload, self.clock.now_ms())

    def pace(self, run: Run) -> tuple[RunPace, CredentialState]:
        credential = CredentialState("fcm", "fcm")
        return RunPace(run, self.journal, credential, self.clock), credential

    def answer(self, run: Run, *indexes: int) -> None:
        report = self.journal.reporter(run)
        for index in indexes:
            report(index, DELIVERED)

    def recorded(self, run: Run) -> bytes:
        entry = self.queue.data.find(run.delivery.receipt)
        assert entry is not None
        return entry.done.rstrip(b"\0")

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.journal.write_for_ever())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def turns(count: int = 20) -> None:
    """Let everybody do what is to be done now."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_results_are_recorded_as_they_come() -> None:
    """With their time; a crash then loses none of them, and they count no more."""
    desk = Desk()
    run, other = desk.run(), desk.run()
    async with desk.writing():
        desk.answer(run, 0, 9)
        desk.answer(other, 1)
        assert desk.journal.unrecorded == 3
        await turns()
        assert (desk.recorded(run), desk.recorded(other)) == (b"\x01\x02", b"\x02")
        assert desk.journal.unrecorded == 0
        desk.answer(run, 1)
        await turns()
    assert desk.recorded(run) == b"\x03\x02"
    assert (run.recorded, other.recorded, desk.journal.unrecorded) == (3, 1, 0)
    assert run.results[0] == (0, DELIVERED, desk.clock.now_ms())
    assert desk.marks.taken == [[run, other], [run]]


async def test_what_comes_during_a_write_is_for_the_next_one() -> None:
    """It is neither counted as recorded nor forgotten."""
    desk = Desk()
    run = desk.run()
    gate = desk.queue.gates["record_progress"] = asyncio.Event()
    async with desk.writing():
        desk.answer(run, 0)
        await turns()
        desk.answer(run, 1, 2)
        assert desk.journal.unrecorded == 3
        del desk.queue.gates["record_progress"]
        gate.set()
        await turns()
    assert desk.recorded(run) == b"\x07"
    assert (run.recorded, desk.journal.unrecorded) == (3, 0)
    assert desk.queue.calls["record_progress"] == 2


@pytest.mark.parametrize("ends", ["complete", "lost"])
async def test_a_batch_that_ends_meanwhile_is_left_to_its_settlement(
    ends: str,
) -> None:
    """Or to its new owner, whose record ours must not overwrite."""
    desk = Desk()
    run = desk.run()

    def end() -> None:
        if ends == "complete":
            run.complete = True
        else:
            run.delivery.lost = True

    desk.marks.during = end
    async with desk.writing():
        desk.answer(run, 0)
        await turns()
    assert desk.recorded(run) == b""
    assert desk.queue.calls["record_progress"] == 0
    assert desk.journal.unrecorded == (1 if ends == "complete" else 0)
    desk.journal.release(run)
    assert desk.journal.unrecorded == 0


async def test_a_complete_batch_is_not_written_and_others_are() -> None:
    """Its settlement records it."""
    desk = Desk()
    run, other = desk.run(), desk.run()
    run.complete = True
    async with desk.writing():
        desk.answer(run, 0)
        desk.answer(other, 0)
        await turns()
    assert desk.marks.taken == [[other]]
    assert (desk.recorded(run), desk.recorded(other)) == (b"", b"\x01")
    assert desk.journal.unrecorded == 1


async def test_a_write_that_fails_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a while each time, and the outage is told."""
    desk = Desk()
    run, told, waits = desk.run(), [], []
    sleep = asyncio.sleep

    async def wait(seconds: float) -> None:
        waits.append(seconds)
        await sleep(0)

    monkeypatch.setattr("tocsin.delivery.run.asyncio.sleep", wait)
    monkeypatch.setattr(
        desk.outages, "note", lambda error, *, doing: told.append((error, doing))
    )
    faults = [QueueUnavailable(), QueueUnavailable()]
    desk.queue.faults["record_progress"] = list(faults)
    async with desk.writing():
        desk.answer(run, 0)
        for _ in range(20):
            await sleep(0)
    assert desk.recorded(run) == b"\x01"
    assert desk.journal.unrecorded == 0
    assert told == [(fault, "record progress") for fault in faults]
    assert [seconds for seconds in waits if seconds] == [0.5, 0.5]


async def test_a_batch_that_is_released_frees_its_room_once() -> None:
    """Also what was recorded of it before counts no more."""
    desk = Desk()
    run, other = desk.run(), desk.run()
    async with desk.writing():
        desk.answer(run, 0)
        await turns()
    desk.answer(run, 1)
    desk.answer(other, 0)
    assert desk.journal.unrecorded == 2
    desk.journal.release(run)
    desk.journal.release(run)
    assert desk.journal.unrecorded == 1
    async with desk.writing():
        await turns()
    assert desk.marks.taken == [[run], [other]]


@pytest.mark.parametrize(("reliable", "most"), [(False, 40), (True, 10)])
async def test_requests_start_up_to_the_limit(reliable: bool, most: int) -> None:
    """A careful request has a lower one of its own, or that of all if it is lower."""
    desk = Desk(most=40)
    run = desk.run(reliable=reliable)
    pace, _ = desk.pace(run)
    started = 0
    while pace.ready():
        desk.answer(run, started)
        started += 1
    assert started == most
    assert RELIABLE_UNRECORDED == 10
    small = Desk(most=2)
    run = small.run(reliable=reliable)
    small.answer(run, 0)
    assert small.pace(run)[0].ready()
    small.answer(run, 1)
    assert not small.pace(run)[0].ready()


async def test_who_waits_goes_on_when_there_is_room() -> None:
    """All who wait, and not before; who gave up waiting is passed over."""
    desk = Desk(most=2)
    run = desk.run()
    pace, _ = desk.pace(run)
    assert await pace.wait()
    desk.answer(run, 0, 1)
    given_up, *waiting = [asyncio.create_task(pace.wait()) for _ in range(3)]
    await turns()
    given_up.cancel()
    await turns()
    assert not any(task.done() for task in waiting)
    desk.journal.wake_waiters()
    await turns()
    assert not any(task.done() for task in waiting)
    async with desk.writing():
        await turns()
    assert [task.result() for task in waiting] == [True, True]


@pytest.mark.parametrize("why", ["stopped", "lost", "expired", "paused", "expired now"])
async def test_who_waits_ends_where_nothing_more_may_start(why: str) -> None:
    """The worker stops, another has the batch, it expired, or its key is paused."""
    desk = Desk(most=1)
    expiring = desk.clock.now_ms() + 1000 if why.startswith("expired") else 0
    run = desk.run(expire_at_ms=expiring)
    pace, credential = desk.pace(run)
    assert pace.ready()
    desk.answer(run, 0)
    waiting = asyncio.create_task(pace.wait())
    await turns()
    desk.journal.wake_waiters()
    await turns()
    assert not waiting.done()
    if why == "stopped":
        run.stopped = True
    elif why == "lost":
        run.delivery.lost = True
    elif why == "paused":
        credential.note(SLOW, desk.clock.now_ms())
    else:
        desk.clock.advance(2 if why == "expired" else 1)
    desk.journal.release(run)
    assert not pace.ready()
    desk.journal.wake_waiters()
    assert await asyncio.wait_for(waiting, 5) is False


@pytest.mark.parametrize("ends_in_ms", [None, 100_000])
async def test_a_pause_that_is_over_stops_nobody(ends_in_ms: int | None) -> None:
    """And an end that is still to come does not, nor does none."""
    desk = Desk()
    run = desk.run(expire_at_ms=desk.clock.now_ms() + ends_in_ms if ends_in_ms else 0)
    pace, credential = desk.pace(run)
    credential.note(SLOW, desk.clock.now_ms())
    assert not pace.ready()
    desk.clock.advance(60)
    assert pace.ready()


async def test_a_hold_in_doubt_starts_nothing_and_ends_nothing() -> None:
    """It may be renewed: until then the batch waits."""
    desk = Desk()
    run = desk.run()
    pace, _ = desk.pace(run)
    run.delivery.held_until = elapsed_s() - 1
    assert not pace.ready()
    waiting = asyncio.create_task(pace.wait())
    await turns()
    desk.journal.wake_waiters()
    await turns()
    assert not waiting.done()
    run.delivery.held_until = elapsed_s() + 60
    desk.journal.wake_waiters()
    assert await asyncio.wait_for(waiting, 5)
