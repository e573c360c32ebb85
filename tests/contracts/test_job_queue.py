"""The port `JobQueue`, sentence by sentence, on every engine."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.support.clock import MovedClock, shift_wall_clock
from tests.support.job_queues import (
    EXPAND,
    RETRY,
    SEND,
    Ability,
    QueueBackend,
    backend_for,
    drain,
    expand_job,
    payload_for,
    places,
    receive_soon,
    send_job,
)

from tocsin.core.accounts import Part
from tocsin.core.clock import SystemClock
from tocsin.core.elapsed import elapsed_s
from tocsin.core.errors import BadRequest, QueueFull
from tocsin.core.lanes import Priority, parse_queue_name, queue_names
from tocsin.core.ports.queue import Delivery
from tocsin.core.push import Recipients, Send, TargetKind

QUICK_S = 0.75
"""A take-over time that a test can wait for."""


@pytest.fixture(params=places())
async def backend(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[QueueBackend]:
    """One engine without any data, or the queue of unit tests."""
    async for backend in backend_for(request, request.param, tmp_path):
        yield backend


def now_ms() -> int:
    return SystemClock().now_ms()


async def test_jobs_come_out_as_they_went_in(backend: QueueBackend) -> None:
    """Every field of a job and of its payload survives the queue."""
    queue = await backend.open()
    jobs = [
        send_job("p1", attempt=2, first_try_at_ms=5, expire_at_ms=9, integration="i"),
        expand_job("p1", correlation_id="c"),
    ]
    assert await queue.enqueue(payload_for("p1"), jobs)
    found = await drain(queue)
    assert {d.job.id: d.job for d in found} == {job.id: job for job in jobs}
    assert {(d.count, d.done) for d in found} == {(1, b"")}
    assert await queue.fetch_payload("p1") == payload_for("p1")


async def test_a_batch_of_five_hundred_survives(backend: QueueBackend) -> None:
    """A full batch with long tokens comes out whole and in order."""
    queue = await backend.open()
    tokens = tuple(f"{number:05d}" + "x" * 160 for number in range(500))
    job = send_job(
        "p1", work=Send(TargetKind.TOKEN, Recipients(tokens, tokens, ("web",) * 500))
    )
    await queue.enqueue(payload_for("p1"), [job])
    assert (await receive_soon(queue)).job == job


async def test_first_in_first_out(backend: QueueBackend) -> None:
    """Entries of one queue come in the order in which they were accepted."""
    queue = await backend.open()
    jobs = [send_job("p1") for _ in range(7)]
    await queue.enqueue(payload_for("p1"), jobs[:4])
    await queue.enqueue(payload_for("p1"), jobs[4:])
    assert [d.job.id for d in await drain(queue, limit=3)] == [job.id for job in jobs]


async def test_entries_written_before_any_worker_are_read(
    backend: QueueBackend,
) -> None:
    """A worker that comes later reads what was accepted before it."""
    api = await backend.open("api")
    await api.enqueue(payload_for("p1"), [send_job("p1")])
    worker = await backend.open("worker")
    assert (await receive_soon(worker)).job.push_id == "p1"


async def test_repeat_within_the_once_time_stores_nothing(
    backend: QueueBackend,
) -> None:
    """The second enqueue of one push id answers False and adds no job."""
    queue = await backend.open()
    payload, job = payload_for("p1"), send_job("p1")
    assert await queue.enqueue(payload, [job], once_ttl_s=60)
    assert not await queue.enqueue(payload, [job], once_ttl_s=60)
    await asyncio.sleep(0.1)  # seconds are not taken for milliseconds
    assert not await queue.enqueue(payload, [job], once_ttl_s=60)
    assert len(await drain(queue)) == 1


@pytest.mark.parametrize("unit", ["", "0"])
async def test_within_the_once_time_a_call_without_one_stores_nothing(
    backend: QueueBackend, unit: str
) -> None:
    """Also where the work of the first has ended and its account is forgotten."""
    queue = await backend.open()
    payload, job = payload_for("p1"), send_job("p1", unit=unit)
    assert await queue.enqueue(payload, [job], once_ttl_s=60)
    assert await queue.settle(await receive_soon(queue), ended={Part.DELIVERED: 3})
    told = await queue.accounts.changed(limit=10)
    await queue.accounts.acknowledge(told, forget=True)
    assert await queue.accounts.find(["p1"]) == {}
    assert not await queue.enqueue(payload, [job])
    assert await queue.waiting([SEND]) == {SEND: 0}


async def test_the_once_time_of_work_for_later_runs_from_now(
    backend: QueueBackend,
) -> None:
    """The queue adds no delay to it: who schedules counts the wait in."""
    queue = await backend.open()
    payload, job = payload_for("p1"), send_job("p1")
    later = now_ms() + 60_000
    assert await queue.enqueue(payload, [job], once_ttl_s=0.05, due_ms=later)
    deadline = time.monotonic() + 5
    while not await queue.enqueue(payload, [job], once_ttl_s=0.05, due_ms=later):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    assert await queue.waiting([SEND]) == {SEND: 2}


async def test_once_time_ends(backend: QueueBackend) -> None:
    """After its time the mark is gone and the push id is accepted again."""
    queue = await backend.open()
    payload, job = payload_for("p1"), send_job("p1")
    assert await queue.enqueue(payload, [job], once_ttl_s=0.05)
    deadline = time.monotonic() + 5
    while not await queue.enqueue(payload, [job], once_ttl_s=0.05):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    assert len(await drain(queue)) == 2


async def test_of_parallel_first_enqueues_one_wins(backend: QueueBackend) -> None:
    """Two API processes that accept one push id at once queue it once."""
    queues = [await backend.open(f"api-{number}") for number in range(4)]
    answers = await asyncio.gather(
        *(
            queue.enqueue(payload_for("p1"), [send_job("p1")], once_ttl_s=60)
            for queue in queues
        )
    )
    assert sorted(answers) == [False, False, False, True]
    assert len(await drain(queues[0])) == 1


async def test_full_queue_refuses_and_stores_nothing(backend: QueueBackend) -> None:
    """At the limit nothing of a request is stored, and nothing is trimmed."""
    queue = await backend.open(limit=3)
    await queue.enqueue(payload_for("p1"), [send_job("p1") for _ in range(3)])
    jobs = [expand_job("p2"), send_job("p2")]
    with pytest.raises(QueueFull):
        await queue.enqueue(payload_for("p2"), jobs, once_ttl_s=60)
    assert await queue.fetch_payload("p2") is None
    assert await queue.waiting([EXPAND, SEND]) == {EXPAND: 0, SEND: 3}
    for delivery in await drain(queue):
        assert await queue.settle(delivery)
    assert await queue.enqueue(payload_for("p2"), jobs, once_ttl_s=60)


async def test_held_and_delayed_entries_count_as_unfinished(
    backend: QueueBackend,
) -> None:
    """Neither receiving nor delaying an entry makes room."""
    queue = await backend.open(limit=2)
    jobs = [send_job("p1"), send_job("p1")]
    await queue.enqueue(payload_for("p1"), jobs)
    first, _ = await drain(queue)
    await queue.settle(first, follow=[(send_job("p1"), now_ms() + 60_000)])
    with pytest.raises(QueueFull):
        await queue.enqueue(payload_for("p2"), [send_job("p2")])


async def test_follow_ups_pass_the_limit(backend: QueueBackend) -> None:
    """What follows from accepted work is accepted work."""
    queue = await backend.open(limit=1)
    await queue.enqueue(payload_for("p1"), [expand_job("p1")])
    delivery = await receive_soon(queue, [EXPAND])
    follow = [(send_job("p1"), 0) for _ in range(5)]
    assert await queue.settle(delivery, follow=follow)
    assert len(await drain(queue)) == 5


async def test_receive_keeps_the_limit(backend: QueueBackend) -> None:
    """No more than `limit` entries come, also from several queues."""
    queue = await backend.open()
    jobs = [expand_job("p1"), *(send_job("p1") for _ in range(9))]
    await queue.enqueue(payload_for("p1"), jobs)
    sizes = [
        len(await queue.receive([EXPAND, SEND, "send:hms"], limit=limit, wait_s=0))
        for limit in (1, 2, 4, 50)
    ]
    assert sizes == [1, 2, 4, 3]


async def test_waiting_reader_keeps_the_limit(backend: QueueBackend) -> None:
    """A reader with one free slot that waits on two queues gets one entry."""
    queue, api = await backend.open("w"), await backend.open("api")
    reading = asyncio.create_task(queue.receive([EXPAND, SEND], limit=1, wait_s=5))
    await asyncio.sleep(0.05)  # until it waits; an early enqueue proves the same
    jobs = [expand_job("p1"), send_job("p1")]
    await api.enqueue(payload_for("p1"), jobs)
    assert len(await reading) == 1
    assert sum((await queue.waiting([EXPAND, SEND])).values()) == 1


async def test_empty_receive_ends_in_time(backend: QueueBackend) -> None:
    """Without entries the wait is as long as asked, not for ever."""
    queue = await backend.open()
    started = time.monotonic()
    assert await queue.receive([SEND], limit=5, wait_s=0.3) == []
    assert 0.25 <= time.monotonic() - started < 3
    assert await queue.receive([SEND], limit=5, wait_s=0) == []


async def test_new_work_ends_the_wait(backend: QueueBackend) -> None:
    """A waiting worker gets an entry of another process long before its time."""
    worker, api = await backend.open("worker"), await backend.open("api")
    reading = asyncio.create_task(worker.receive([SEND], limit=5, wait_s=30))
    await asyncio.sleep(0.05)  # until it waits; an early enqueue proves the same
    await api.enqueue(payload_for("p1"), [send_job("p1")])
    async with asyncio.timeout(5):
        assert len(await reading) == 1


async def test_flood_starves_no_other_queue(backend: QueueBackend) -> None:
    """Beside a flooded queue the others get their share of the first read."""
    queue = await backend.open()
    flood = [send_job("p1") for _ in range(60)]
    await queue.enqueue(payload_for("p1"), flood)
    await queue.enqueue(
        payload_for("p2"), [send_job("p2", provider="hms"), expand_job("p2")]
    )
    found = await queue.receive([SEND, "send:hms", EXPAND], limit=6, wait_s=0)
    assert Counter(d.job.queue for d in found) == {SEND: 4, "send:hms": 1, EXPAND: 1}


async def test_what_was_tried_before_stands_behind_fresh_work(
    backend: QueueBackend,
) -> None:
    """Although it was due long before; and an eighth of what is read is its own."""
    queue = await backend.open()
    tried = [send_job("p1", attempt=1) for _ in range(20)]
    await queue.enqueue(payload_for("p1"), tried)
    await queue.enqueue(payload_for("p2"), [send_job("p2") for _ in range(60)])
    reads = [
        await queue.receive([SEND], behind=[RETRY], limit=16, wait_s=0)
        for _ in range(5)
    ]
    numbers = [Counter(each.job.attempt for each in found) for found in reads]
    assert numbers[:4] == [{0: 14, 1: 2}] * 4
    assert numbers[4] == {0: 4, 1: 12}


async def test_one_at_a_time_behind_is_not_starved(backend: QueueBackend) -> None:
    """A worker with one free slot comes to it after a few reads."""
    queue = await backend.open()
    await queue.enqueue(payload_for("p1"), [send_job("p1", attempt=1)])
    await queue.enqueue(payload_for("p2"), [send_job("p2") for _ in range(30)])
    attempts = []
    for _ in range(16):
        [found] = await queue.receive([SEND], behind=[RETRY], limit=1, wait_s=0)
        attempts.append(found.job.attempt)
    assert attempts[0] == 0
    assert sum(attempts) == 1


async def test_what_stands_behind_ends_the_wait(backend: QueueBackend) -> None:
    """Where nothing stands before it, it is handed out at once, also when due later."""
    worker, api = await backend.open("worker"), await backend.open("api")
    for due_ms in (0, now_ms() + 300):
        reading = asyncio.create_task(
            worker.receive([SEND], behind=[RETRY], limit=5, wait_s=30)
        )
        await asyncio.sleep(0.05)  # until it waits; an early enqueue proves the same
        job = send_job("p1", attempt=1)
        await api.enqueue(payload_for("p1"), [job], due_ms=due_ms)
        async with asyncio.timeout(5):
            assert [each.job for each in await reading] == [job]


async def test_what_was_tried_counts_as_unfinished(backend: QueueBackend) -> None:
    """A provider that is away must not let the queue grow without an end."""
    queue = await backend.open(limit=3)
    await queue.enqueue(payload_for("p1"), [send_job("p1")])
    delivery = await receive_soon(queue)
    later = (send_job("p1", attempt=1), now_ms() + 60_000)
    await queue.settle(delivery, follow=[(send_job("p1", attempt=1), 0), later])
    with pytest.raises(QueueFull):
        await queue.enqueue(payload_for("p2"), [send_job("p2"), send_job("p2")])
    assert await queue.enqueue(payload_for("p3"), [send_job("p3")])


async def test_each_priority_has_queues_of_its_own(backend: QueueBackend) -> None:
    """None is read with another's, none counts against another's limit."""
    queue = await backend.open(limit=1)
    for priority in Priority:
        for job in (
            send_job("p1", priority=priority),
            expand_job("p1", priority=priority),
        ):
            assert await queue.enqueue(payload_for("p1"), [job])
            place = parse_queue_name(job.queue)
            assert place.priority is priority
            others = [n for n in queue_names("fcm") if n != job.queue]
            assert await queue.receive(others, limit=9, wait_s=0) == []
            [found] = await queue.receive([job.queue], limit=9, wait_s=0)
            assert found.job == job
            assert (await queue.waiting([job.queue])) == {job.queue: 0}
            await queue.settle(found)


async def test_many_workers_share_without_doubling(backend: QueueBackend) -> None:
    """Workers that read at once get every entry exactly once."""
    workers = [await backend.open(f"worker-{number}") for number in range(4)]
    jobs = [send_job("p1") for _ in range(80)]
    await workers[0].enqueue(payload_for("p1"), jobs)
    shares = await asyncio.gather(*(drain(worker, limit=3) for worker in workers))
    ids = [delivery.job.id for share in shares for delivery in share]
    assert sorted(ids) == sorted(job.id for job in jobs)


async def test_delayed_entry_waits_for_its_time(backend: QueueBackend) -> None:
    """A follow-up due later is waiting, is not handed out early, and then comes."""
    queue = await backend.open()
    await queue.enqueue(payload_for("p1"), [send_job("p1")])
    retry, due_ms = send_job("p1", attempt=1), now_ms() + 400
    await queue.settle(await receive_soon(queue), follow=[(retry, due_ms)])
    assert await queue.waiting([SEND, RETRY]) == {SEND: 0, RETRY: 1}
    assert await queue.receive([SEND, RETRY], limit=1, wait_s=0) == []
    delivery = await receive_soon(queue)
    assert now_ms() >= due_ms
    assert delivery.job == retry
    assert await queue.settle(delivery)
    assert await queue.waiting([SEND, RETRY]) == {SEND: 0, RETRY: 0}


only_places = partial(pytest.mark.parametrize, "backend", indirect=True)


@only_places(places(not_to=Ability.OWN_CLOCK))
async def test_without_a_clock_of_its_own_the_machine_s_counts(
    backend: QueueBackend,
) -> None:
    """The queue says so, and whoever asks goes by the same one."""
    assert await (await backend.open()).now_ms() is None


@only_places(places(able_to=Ability.OWN_CLOCK))
@pytest.mark.parametrize("off_s", [7200, -7200])
async def test_due_times_are_of_the_clock_of_the_queue(
    backend: QueueBackend, off_s: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker whose own is hours off is handed nothing early, and all in time."""
    queue = await backend.open()
    shift_wall_clock(monkeypatch, off_s)
    told = await queue.now_ms()
    assert told is not None
    monkeypatch.undo()
    assert abs(told - now_ms()) < 60_000
    shift_wall_clock(monkeypatch, off_s)
    await queue.enqueue(payload_for("p1"), [send_job("p1")], due_ms=told + 700)
    assert await queue.waiting([SEND], only_due=True) == {SEND: 0}
    assert await queue.receive([SEND], limit=1, wait_s=0) == []
    delivery = await receive_soon(queue)
    retried_at = await queue.now_ms()
    assert retried_at is not None
    assert retried_at >= told + 700
    retry = send_job("p1", attempt=1)
    await queue.settle(delivery, follow=[(retry, retried_at + 700)])
    assert await queue.receive([SEND, RETRY], limit=1, wait_s=0) == []
    assert (await receive_soon(queue)).job == retry


async def test_a_wrong_clock_takes_nothing_from_others(
    backend: QueueBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another holds stays with it, however late it is on this machine.

    Those who share a file share the machine's clock: set forward, it leaves holders
    the time to renew.
    """
    holder, other = await backend.open("holder"), await backend.open("other")
    await holder.enqueue(payload_for("p1"), [send_job("p1")])
    held = await receive_soon(holder)
    shift_wall_clock(monkeypatch, 7200)
    assert await other.receive([SEND], limit=1, wait_s=0) == []
    assert await holder.keep_alive([held]) == []
    shift_wall_clock(monkeypatch, -14_400)
    assert await holder.settle(held)


async def test_several_movers_neither_lose_nor_double(backend: QueueBackend) -> None:
    """Entries that fall due while several workers look come exactly once."""
    workers = [await backend.open(f"worker-{number}") for number in range(3)]
    await workers[0].enqueue(payload_for("p1"), [expand_job("p1")])
    jobs = [send_job("p1") for _ in range(150)]
    due_ms = now_ms() + 100
    await workers[0].settle(
        await receive_soon(workers[0], [EXPAND]), follow=[(job, due_ms) for job in jobs]
    )

    async def read_until_quiet(number: int) -> list[str]:
        ids: list[str] = []
        while found := await workers[number].receive([SEND], limit=7, wait_s=0.7):
            ids += [delivery.job.id for delivery in found]
        return ids

    shares = await asyncio.gather(*(read_until_quiet(number) for number in range(3)))
    ids = [id for share in shares for id in share]
    assert sorted(ids) == sorted(job.id for job in jobs)


async def test_silent_workers_entry_is_taken_over(backend: QueueBackend) -> None:
    """An entry that is neither settled nor kept alive goes to another, once."""
    silent = await backend.open("silent", takeover_s=QUICK_S)
    await silent.enqueue(payload_for("p1"), [send_job("p1")])
    lost = await receive_soon(silent)
    await silent.record_progress({lost.receipt: b"\x05"})
    other = await backend.open("other", takeover_s=QUICK_S)
    assert await other.receive([SEND], limit=5, wait_s=0) == []
    started = time.monotonic()
    taken = await receive_soon(other)
    assert time.monotonic() - started < 2 * QUICK_S
    assert (taken.job, taken.count, taken.done) == (lost.job, 2, b"\x05")
    assert await other.receive([SEND], limit=5, wait_s=0) == []


async def test_delivery_count_rises_with_each_take_over(backend: QueueBackend) -> None:
    """A job that no worker survives can be told by its count."""
    queue = await backend.open(takeover_s=0.15)
    await queue.enqueue(payload_for("p1"), [send_job("p1")])
    counts = [(await receive_soon(queue)).count for _ in range(4)]
    assert counts == [1, 2, 3, 4]


async def test_a_hand_out_whose_holder_lives_is_not_counted(
    backend: QueueBackend,
) -> None:
    """Taken from a worker that stood still, ten times and more: no death, no poison."""
    workers = [await backend.open(name, takeover_s=0.15) for name in ("one", "two")]
    await workers[0].enqueue(payload_for("p1"), [send_job("p1")])
    held = await receive_soon(workers[0])
    for turn in range(4):
        loser, taker = workers[turn % 2], workers[(turn + 1) % 2]
        taken = await receive_soon(taker)
        assert taken.count == 2
        assert await loser.keep_alive([held]) == [held.receipt]
        held = taken


async def test_a_worker_that_finds_its_own_hold_silent_can_excuse_itself(
    backend: QueueBackend,
) -> None:
    """Its own hand-out, however often, makes nothing poison; others' stay counted."""
    queue = await backend.open(takeover_s=0.15)
    await queue.enqueue(payload_for("p1"), [send_job("p1"), send_job("p1")])
    first = await queue.receive([SEND], limit=2, wait_s=1)
    assert len(first) == 2
    for _ in range(3):
        again = await receive_soon(queue)
        while again.receipt != first[0].receipt:
            again = await receive_soon(queue)
        assert again.count == 2
        await queue.excuse([again])
    await queue.excuse([])
    other = await backend.open("other", takeover_s=0.15)
    counts = {d.receipt: d.count for d in [await receive_soon(other) for _ in (1, 2)]}
    assert counts[first[0].receipt] == 2
    assert counts[first[1].receipt] > 2


async def test_a_hand_out_whose_holder_died_is_counted(backend: QueueBackend) -> None:
    """That another one lost its hold and lives takes back no hand-out but its own."""
    one, two, three = [
        await backend.open(name, takeover_s=0.15) for name in ("one", "two", "three")
    ]
    await one.enqueue(payload_for("p1"), [send_job("p1")])
    held = await receive_soon(one)
    assert (await receive_soon(two)).count == 2  # of which nothing is heard again
    assert (await receive_soon(three)).count == 3
    assert await one.keep_alive([held]) == [held.receipt]
    assert (await receive_soon(one)).count == 3


async def test_what_is_queued_is_found_whoever_holds_it(backend: QueueBackend) -> None:
    """Of entries taken over, settled and never there, only the first is found."""
    one = await backend.open("one", takeover_s=0.15)
    await one.enqueue(payload_for("p1"), [send_job("p1"), send_job("p1")])
    held = await one.receive([SEND], limit=2, wait_s=1)
    assert await one.find_queued(held) == {d.receipt for d in held}
    other = await backend.open("other", takeover_s=0.15)
    taken = await receive_soon(other)
    assert await one.find_queued(held) == {d.receipt for d in held}
    assert await other.settle(taken)
    assert taken.receipt not in await one.find_queued(held)
    assert len(await one.find_queued(held)) == 1
    assert await one.find_queued([]) == set()


async def test_a_queue_tells_its_data_and_how_far_it_has_come(
    backend: QueueBackend,
) -> None:
    """One name for all processes; every accepted request moves the number on."""
    one, two = await backend.open("one"), await backend.open("two")
    start = await one.position()
    assert start.epoch
    assert (start.certain, start.missing) == (0, 0)
    assert await one.enqueue(payload_for("p1"), [send_job("p1")], once_ttl_s=60)
    after = await one.position()
    assert after.epoch == start.epoch
    assert after.reached > start.reached
    assert 0 < after.certain <= after.reached
    assert not await two.enqueue(payload_for("p1"), [send_job("p1")], once_ttl_s=60)
    later = now_ms() + 60_000
    assert await two.enqueue(payload_for("p2"), [send_job("p2")], due_ms=later)
    seen = await two.position()
    assert seen.epoch == start.epoch
    assert seen.certain > after.certain
    assert seen.reached > after.reached
    assert (await one.position()).reached == seen.reached


async def test_work_that_ends_takes_the_number_nowhere_back(
    backend: QueueBackend,
) -> None:
    """An empty queue has come as far as it was when it was full."""
    queue = await backend.open()
    await queue.enqueue(payload_for("p1"), [send_job("p1") for _ in range(3)])
    before = await queue.position()
    for delivery in await drain(queue):
        await queue.settle(delivery)
    await asyncio.gather(
        *(queue.enqueue(payload_for(f"q{n}"), [send_job(f"q{n}")]) for n in range(20))
    )
    after = await queue.position()
    assert after.reached >= before.reached + 20
    assert after.missing == 0


async def test_kept_alive_entry_stays(backend: QueueBackend) -> None:
    """A worker that renews its hold keeps a long job from the others."""
    holder = await backend.open("holder", takeover_s=QUICK_S)
    other = await backend.open("other", takeover_s=QUICK_S)
    await holder.enqueue(payload_for("p1"), [send_job("p1"), send_job("p1")])
    kept = await holder.receive([SEND], limit=2, wait_s=1)
    assert len(kept) == 2
    until = time.monotonic() + 2 * QUICK_S
    while time.monotonic() < until:
        assert await holder.keep_alive(kept) == []
        assert await other.receive([SEND], limit=5, wait_s=0.1) == []
    assert await holder.settle(kept[0])
    assert await holder.keep_alive(kept) == [kept[0].receipt]


async def test_a_hold_says_until_when_it_can_be_trusted(
    backend: QueueBackend,
) -> None:
    """From before the queue was asked, and to before another may have it."""
    holder = await backend.open("holder", takeover_s=QUICK_S)
    other = await backend.open("other", takeover_s=QUICK_S)
    await holder.enqueue(payload_for("p1"), [send_job("p1")])
    asked_at = elapsed_s()
    held = await receive_soon(holder)
    assert asked_at < held.held_until < elapsed_s() + 0.8 * QUICK_S
    taken = await receive_soon(other)
    assert elapsed_s() > held.held_until
    assert taken.receipt == held.receipt
    until = held.held_until
    assert await holder.keep_alive([held]) == [held.receipt]
    assert held.held_until == until


async def test_a_renewed_hold_can_be_trusted_for_longer(backend: QueueBackend) -> None:
    """Each one that was renewed, of several at once; those lost stay as they were."""
    queue = await backend.open(takeover_s=30)
    await queue.enqueue(payload_for("p1"), [send_job("p1") for _ in range(3)])
    held = await drain(queue)
    assert await queue.settle(held[1])
    before = [each.held_until for each in held]
    asked_at = elapsed_s()
    assert await queue.keep_alive(held) == [held[1].receipt]
    assert held[1].held_until == before[1]
    for each, until in ((held[0], before[0]), (held[2], before[2])):
        assert until < each.held_until < elapsed_s() + 0.8 * 30
        assert each.held_until > asked_at


async def test_lost_entries_are_named(backend: QueueBackend) -> None:
    """A worker that stalled learns what was taken, and does not get it back."""
    stalled = await backend.open("stalled", takeover_s=QUICK_S)
    await stalled.enqueue(payload_for("p1"), [send_job("p1")])
    lost = await receive_soon(stalled)
    other = await backend.open("other", takeover_s=QUICK_S)
    taken = await receive_soon(other)
    assert await stalled.keep_alive([lost]) == [lost.receipt]
    assert await other.keep_alive([taken]) == []
    assert await stalled.keep_alive([]) == []


@pytest.mark.parametrize("first", ["stalled", "other"])
async def test_late_settlement_doubles_nothing(
    backend: QueueBackend, first: str
) -> None:
    """Of a stalled worker and its successor, one settles; follow-ups come once."""
    stalled = await backend.open("stalled", takeover_s=QUICK_S)
    await stalled.enqueue(payload_for("p1"), [expand_job("p1")])
    lost = await receive_soon(stalled, [EXPAND])
    other = await backend.open("other", takeover_s=QUICK_S)
    taken = await receive_soon(other, [EXPAND])
    pairs = [(stalled, lost), (other, taken)]
    for queue, delivery in pairs if first == "stalled" else reversed(pairs):
        follow = [(send_job("p1"), 0), (send_job("p1"), now_ms() + 60_000)]
        dead = [(send_job("p1"), "why")]
        settled = await queue.settle(delivery, follow=follow, dead=dead)
        assert settled == (queue is (stalled if first == "stalled" else other))
    assert await stalled.waiting([EXPAND, SEND]) == {EXPAND: 0, SEND: 2}
    assert len(await stalled.list_dead(limit=10)) == 1


async def test_settled_entry_never_comes_back(backend: QueueBackend) -> None:
    """After settlement neither waiting nor take-over finds it, nor its progress."""
    queue = await backend.open(takeover_s=0.15)
    await queue.enqueue(payload_for("p1"), [send_job("p1")])
    delivery = await receive_soon(queue)
    await queue.record_progress({delivery.receipt: b"\x01"})
    assert await queue.settle(delivery)
    assert not await queue.settle(delivery)
    await queue.record_progress({delivery.receipt: b"\x07"})
    assert await queue.receive([SEND], limit=5, wait_s=0.5) == []
    assert await queue.waiting([SEND]) == {SEND: 0}


async def test_progress_of_many_batches_at_once(backend: QueueBackend) -> None:
    """Each receipt keeps its own bitmap, the last one recorded."""
    queue = await backend.open(takeover_s=0.3)
    await queue.enqueue(payload_for("p1"), [send_job("p1") for _ in range(20)])
    held = await drain(queue)
    await queue.record_progress({d.receipt: b"\xff" for d in held})
    progress = {d.receipt: bytes([n + 1, 0]) for n, d in enumerate(held)}
    await queue.record_progress(progress)
    await queue.record_progress({})
    again: list[Delivery] = []
    while len(again) < len(held):
        again += await queue.receive([SEND], limit=50, wait_s=5)
    assert {d.receipt: d.done for d in again[:20]} == progress


async def test_payload_goes_with_the_last_job(backend: QueueBackend) -> None:
    """It stays while any job of the request is unfinished, delayed ones included."""
    queue = await backend.open()
    await queue.enqueue(payload_for("p1"), [expand_job("p1"), send_job("p1")])
    await queue.enqueue(payload_for("p2"), [send_job("p2")])
    first, second, other = sorted(await drain(queue), key=lambda d: d.job.id)
    await queue.settle(first, follow=[(send_job("p1"), 0), (send_job("p1"), 1)])
    await queue.settle(second)
    assert await queue.settle(other)
    assert await queue.fetch_payload("p2") is None
    assert await queue.fetch_payload("p1") == payload_for("p1")
    for delivery in await drain(queue):
        assert await queue.fetch_payload("p1") == payload_for("p1")
        assert await queue.settle(delivery)
    assert await queue.fetch_payload("p1") is None


async def test_follow_up_of_another_request_is_refused(backend: QueueBackend) -> None:
    """It would leave a payload behind or take one away; nothing is settled."""
    queue = await backend.open()
    await queue.enqueue(payload_for("p1"), [send_job("p1")])
    delivery = await receive_soon(queue)
    with pytest.raises(ValueError, match="another request"):
        await queue.settle(delivery, follow=[(send_job("p2"), 0)])
    assert await queue.settle(delivery)


async def test_dead_letters_are_listed_oldest_first(backend: QueueBackend) -> None:
    """With job, reason and time, page by page after an id."""
    queue = await backend.open()
    await queue.enqueue(payload_for("p1"), [send_job("p1")])
    jobs = [send_job("p1", attempt=n) for n in range(5)]
    before_ms = now_ms()
    await queue.settle(
        await receive_soon(queue), dead=[(job, f"reason {job.attempt}") for job in jobs]
    )
    page = await queue.list_dead(limit=3)
    assert {letter.uid for letter in page} == {"uid-1"}
    rest = await queue.list_dead(limit=3, after=page[-1].id)
    assert [(letter.job, letter.reason) for letter in page + rest] == [
        (job, f"reason {job.attempt}") for job in jobs
    ]
    assert all(before_ms <= letter.at_ms <= now_ms() for letter in page)
    assert await queue.list_dead(limit=3, after=rest[-1].id) == []
    with pytest.raises(BadRequest):
        await queue.list_dead(limit=3, after="no id")


async def test_replayed_letter_is_work_again(backend: QueueBackend) -> None:
    """With fresh attempts and its payload, once, however many ask for it."""
    queue, rival = await backend.open(), await backend.open("rival")
    await queue.enqueue(payload_for("p1"), [send_job("p1")])
    tired = send_job("p1", attempt=7, first_try_at_ms=99)
    await queue.settle(await receive_soon(queue), dead=[(tired, "too old")])
    assert await queue.fetch_payload("p1") is None
    ids = [letter.id for letter in await queue.list_dead(limit=9)]
    counts = await asyncio.gather(queue.replay_dead(ids), rival.replay_dead(ids))
    assert sorted(counts) == [0, 1]
    assert await queue.list_dead(limit=9) == []
    delivery = await receive_soon(queue)
    assert delivery.job == replace(tired, attempt=0, first_try_at_ms=0)
    assert await queue.fetch_payload("p1") == payload_for("p1")
    await queue.settle(delivery)
    assert await queue.fetch_payload("p1") is None


async def test_purged_letter_is_gone(backend: QueueBackend) -> None:
    """Purging counts what there was; unknown and senseless ids count nothing."""
    queue = await backend.open()
    await queue.enqueue(payload_for("p1"), [send_job("p1")])
    dead = [(send_job("p1"), "a"), (send_job("p1"), "b")]
    await queue.settle(await receive_soon(queue), dead=dead)
    first, second = await queue.list_dead(limit=9)
    assert await queue.purge_dead([first.id, "123456789", "?", "٣"]) == 1
    assert await queue.purge_dead([first.id]) == 0
    assert await queue.replay_dead([first.id, "?"]) == 0
    assert await queue.list_dead(limit=9) == [second]


@only_places(places(able_to=Ability.FOREIGN_BYTES))
async def test_undecodable_entry_goes_to_the_dead_letters(
    backend: QueueBackend,
) -> None:
    """At once and with the reason; it stops nobody and keeps its bytes."""
    queue = await backend.open()
    await queue.enqueue(payload_for("p2"), [send_job("p2")])
    await backend.plant(SEND, "p1", b"\xff\xff\xff")
    await queue.enqueue(payload_for("p3"), [send_job("p3")])
    found = await drain(queue)
    assert [d.job.push_id for d in found] == ["p2", "p3"]
    (letter,) = await queue.list_dead(limit=9)
    assert "undecodable" in letter.reason
    assert (letter.job.push_id, letter.job.queue) == ("p1", SEND)
    # Replayed, it is the same bytes again, so it dies the same death.
    assert await queue.replay_dead([letter.id]) == 1
    assert await queue.waiting([SEND]) == {SEND: 1}
    assert await drain(queue) == []
    (again,) = await queue.list_dead(limit=9)
    assert again.reason == letter.reason
    assert await queue.fetch_payload("p1") is None


async def test_waiting_counts_what_nobody_holds(backend: QueueBackend) -> None:
    """Due and delayed entries, by queue; queues that never were count none."""
    queue = await backend.open()
    assert await queue.waiting([SEND, "send:hms"]) == {SEND: 0, "send:hms": 0}
    await queue.enqueue(payload_for("p1"), [send_job("p1") for _ in range(3)])
    held = await receive_soon(queue)
    assert await queue.waiting([SEND, EXPAND]) == {SEND: 2, EXPAND: 0}
    await queue.settle(held, follow=[(send_job("p1"), now_ms() + 60_000)])
    assert await queue.waiting([SEND]) == {SEND: 3}
    assert await queue.waiting([]) == {}


async def test_jobs_for_later_wait_for_their_moment(backend: QueueBackend) -> None:
    """They count as waiting and unfinished, and come out once they are due."""
    clock = MovedClock(now_ms())
    queue = await backend.open(clock=clock, limit=2)
    jobs = [expand_job("p1"), send_job("p1"), send_job("p1")]
    due_ms = clock.now_ms() + 60_000
    assert await queue.enqueue(payload_for("p1"), jobs, due_ms=due_ms, once_ttl_s=60)
    again = await queue.enqueue(payload_for("p1"), jobs, due_ms=due_ms, once_ttl_s=60)
    assert not again
    assert await drain(queue) == []
    assert await queue.waiting([EXPAND, SEND]) == {EXPAND: 1, SEND: 2}
    assert await queue.waiting([SEND], only_due=True) == {SEND: 0}
    with pytest.raises(QueueFull):
        await queue.enqueue(payload_for("p2"), [send_job("p2")])
    clock.move_ms(59_999)
    assert await drain(queue) == []
    clock.move_ms(1)
    assert await queue.waiting([SEND], only_due=True) == {SEND: 2}
    found = await drain(queue)
    assert {d.job.id for d in found} == {job.id for job in jobs}
    assert await queue.fetch_payload("p1") == payload_for("p1")


async def test_only_due_counts_what_could_be_handed_out(backend: QueueBackend) -> None:
    """Fresh entries do, held ones and follow-ups for later do not."""
    queue = await backend.open()
    await queue.enqueue(payload_for("p1"), [send_job("p1") for _ in range(3)])
    held = await receive_soon(queue)
    await queue.settle(held, follow=[(send_job("p1"), now_ms() + 60_000)])
    await receive_soon(queue)
    assert await queue.waiting([SEND], only_due=True) == {SEND: 1}
    assert await queue.waiting([SEND]) == {SEND: 2}


async def test_a_request_for_later_is_taken_back_whole(backend: QueueBackend) -> None:
    """Its jobs come back to the caller, and nothing of it is left."""
    queue, api = await backend.open(), await backend.open("api")
    jobs = [expand_job("p1"), send_job("p1"), send_job("p1")]
    due_ms = now_ms() + 60_000
    await queue.enqueue(payload_for("p1"), jobs, due_ms=due_ms)
    taken = await api.cancel("uid-1")
    assert {job.id: job for job in taken} == {job.id: job for job in jobs}
    assert await queue.waiting([EXPAND, SEND]) == {EXPAND: 0, SEND: 0}
    assert await queue.fetch_payload("p1") is None
    assert await api.cancel("uid-1") == []


async def test_only_what_was_for_later_can_be_taken_back(
    backend: QueueBackend,
) -> None:
    """An unknown uid, another one, and a request for now are not touched."""
    queue = await backend.open()
    other = replace(payload_for("p2"), uid="uid-2")
    await queue.enqueue(payload_for("p1"), [send_job("p1")])
    await queue.enqueue(other, [send_job("p2")], due_ms=now_ms() + 60_000)
    assert await queue.cancel("uid-1") == []
    assert await queue.cancel("uid") == []
    assert await queue.cancel("") == []
    assert await queue.waiting([SEND]) == {SEND: 2}


async def test_what_was_handed_out_is_not_taken_back(backend: QueueBackend) -> None:
    """Neither in somebody's hands, nor put back for a retry, nor taken over."""
    clock = MovedClock(now_ms())
    queue = await backend.open(clock=clock)
    jobs = [send_job("p1"), send_job("p1")]
    await queue.enqueue(payload_for("p1"), jobs, due_ms=clock.now_ms() + 1000)
    clock.move_ms(1000)
    first, second = await drain(queue)
    retry = send_job("p1")
    await queue.settle(first, follow=[(retry, clock.now_ms() + 60_000)])
    assert await queue.cancel("uid-1") == []
    assert await queue.waiting([SEND]) == {SEND: 1}
    assert await queue.settle(second)
    assert await queue.fetch_payload("p1") == payload_for("p1")


async def test_a_uid_that_came_twice_is_taken_back_twice(
    backend: QueueBackend,
) -> None:
    """A uid that was forgotten and used again names both requests."""
    queue = await backend.open()
    for push_id in ("p1", "p2"):
        payload = payload_for(push_id)
        await queue.enqueue(payload, [send_job(push_id)], due_ms=now_ms() + 60_000)
    assert {job.push_id for job in await queue.cancel("uid-1")} == {"p1", "p2"}
    for push_id in ("p1", "p2"):
        assert await queue.fetch_payload(push_id) is None


async def test_cancel_and_hand_out_share_the_jobs(backend: QueueBackend) -> None:
    """At the moment itself each job goes to one of both, none to both or neither."""
    worker, api = await backend.open("worker"), await backend.open("api")
    for turn in range(5):
        push_id = f"p{turn}"
        payload = replace(payload_for(push_id), uid=push_id)
        jobs = [send_job(push_id) for _ in range(30)]
        await api.enqueue(payload, jobs, due_ms=now_ms() + 20)
        handed: list[str] = []
        taken: list[str] = []

        async def receive(into: list[str] = handed) -> None:
            deadline = time.monotonic() + 0.3
            while time.monotonic() < deadline:
                found = await worker.receive([SEND], limit=7, wait_s=0)
                for delivery in found:
                    into.append(delivery.job.id)
                    await worker.settle(delivery)

        async def cancel(uid: str = push_id, into: list[str] = taken) -> None:
            await asyncio.sleep(0.02)
            into += [job.id for job in await api.cancel(uid)]

        await asyncio.gather(receive(), cancel())
        assert sorted(handed + taken) == sorted(job.id for job in jobs)
        assert await api.fetch_payload(push_id) is None


async def test_unknown_payload_is_none(backend: QueueBackend) -> None:
    """Nothing is left of a request that never was."""
    assert await (await backend.open()).fetch_payload("nothing") is None


@only_places(places(able_to=Ability.FOREIGN_BYTES))
async def test_unreadable_payload_is_none(backend: QueueBackend) -> None:
    """Its jobs can still be read and ended; the log names the request."""
    queue = await backend.open()
    await queue.enqueue(payload_for("p1"), [send_job("p1")])
    await backend.spoil_payload("p1")
    with capture_logs() as logs:
        assert await queue.fetch_payload("p1") is None
    assert [line["push_id"] for line in logs] == ["p1"]
    assert await queue.settle(await receive_soon(queue))


async def test_request_without_jobs_leaves_nothing(backend: QueueBackend) -> None:
    """It is accepted, once, and has no payload that nobody would remove."""
    queue = await backend.open()
    assert await queue.enqueue(payload_for("p1"), [], once_ttl_s=60)
    assert not await queue.enqueue(payload_for("p1"), [], once_ttl_s=60)
    assert await queue.fetch_payload("p1") is None


async def test_closing_leaves_held_entries_for_take_over(
    backend: QueueBackend,
) -> None:
    """What a closed queue held is handed to another."""
    leaving = await backend.open("leaving", takeover_s=QUICK_S)
    await leaving.enqueue(payload_for("p1"), [send_job("p1")])
    await receive_soon(leaving)
    await leaving.close()
    other = await backend.open("other", takeover_s=QUICK_S)
    assert (await receive_soon(other)).count == 2


async def test_reachable_queue_passes_the_check(backend: QueueBackend) -> None:
    """The check is silent while the engine answers."""
    queue = await backend.open()
    await queue.check()
    await queue.close()
    await queue.check()
