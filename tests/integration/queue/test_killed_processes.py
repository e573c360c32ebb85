"""Processes that die by SIGKILL or stall, on every engine: no job is lost."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from tests.support.job_queues import (
    EXPAND,
    SEND,
    QueueBackend,
    drain,
    expand_job,
    payload_for,
    receive_soon,
    send_job,
)
from tests.support.queue_process import (
    QueueProcess,
    expected_sends,
    follow_ups,
    start_process,
)

from tocsin.core.ports.queue import JobQueue

TAKEOVER_S = 2.0
SLACK_S = 0.5
"""For a busy machine; the promise itself is the take-over time."""


Starter = Callable[..., QueueProcess]


@pytest.fixture
def start(backend: QueueBackend) -> Iterator[Starter]:
    """Starts processes on the backend; ends those that a test left running."""
    with ExitStack() as stack:

        def start_one(mode: str, **options: Any) -> QueueProcess:
            process = start_process(mode, backend, **options)
            stack.callback(process.end)
            return process

        yield start_one


async def test_killed_holders_work_is_taken_over_with_its_progress(
    backend: QueueBackend, start: Starter
) -> None:
    """Killed between receive and settle: another has it in time."""
    api = await backend.open("api", takeover_s=TAKEOVER_S)
    job = send_job("p1")
    await api.enqueue(payload_for("p1"), [job])
    process = start("hold", takeover_s=TAKEOVER_S, progress="05")
    assert process.read_line()["count"] == 1
    killed_at = time.monotonic()
    process.kill()
    delivery = await receive_soon(api)
    assert time.monotonic() - killed_at < TAKEOVER_S + SLACK_S
    assert (delivery.job, delivery.count, delivery.done) == (job, 2, b"\x05")
    assert await api.fetch_payload("p1") == payload_for("p1")
    assert await api.settle(delivery)


async def test_kills_in_mid_walk_lose_and_double_nothing(
    backend: QueueBackend, start: Starter
) -> None:
    """Workers killed while they expand, settle and move delayed pages."""
    api = await backend.open("api", takeover_s=0.75)
    push_ids = [f"p{number}" for number in range(12)]
    for push_id in push_ids:
        await api.enqueue(payload_for(push_id), [expand_job(push_id)])
    processes = [start("walk", takeover_s=0.75) for _ in range(3)]
    for process in processes:
        assert process.read_line() == "ready"
        await asyncio.sleep(random.uniform(0, 0.1))
        process.kill()
    assert await _finish_walks(api, len(push_ids)) == Counter(
        id for push_id in push_ids for id in expected_sends(push_id)
    )


async def test_killed_door_accepted_whole_requests_only(
    backend: QueueBackend, start: Starter
) -> None:
    """What it had said to have accepted is all there; nothing is there in part."""
    process = start("accept", takeover_s=TAKEOVER_S)
    said = [process.read_line() for _ in range(5)]
    await asyncio.sleep(random.uniform(0, 0.05))
    said += process.kill()
    queue = await backend.open("reader")
    found = Counter(d.job.push_id for d in await drain(queue, limit=200))
    assert set(said) <= set(found)
    assert set(found.values()) == {3}
    assert len(found) <= len(said) + 1
    for push_id in found:
        assert await queue.fetch_payload(push_id) == payload_for(push_id)


async def test_stalled_worker_that_settles_late_doubles_nothing(
    backend: QueueBackend, start: Starter
) -> None:
    """Stopped beyond the take-over time, it is told that another was faster."""
    api = await backend.open("api", takeover_s=1)
    await api.enqueue(payload_for("p1"), [expand_job("p1")])
    process = start("hold_and_settle", takeover_s=1)
    receipt = process.read_line()["receipt"]
    process.pause()
    taken = await receive_soon(api, [EXPAND])
    assert taken.receipt == receipt
    follow = follow_ups(taken.job, delay_ms=60_000)
    assert await api.settle(taken, follow=follow)
    process.tell("settle now")
    process.resume()
    assert process.read_line() == {"settled": False, "lost": [receipt]}
    process.kill()
    assert await api.waiting([EXPAND, SEND]) == {EXPAND: 1, SEND: len(follow) - 1}


async def _finish_walks(queue: JobQueue, walks: int) -> Counter[str]:
    """Do the rest of the walks, then count every batch in the queue."""
    deadline = time.monotonic() + 30
    expected = walks * len(expected_sends(""))
    sends: Counter[str] = Counter()
    quiet_until = 0.0
    while time.monotonic() < deadline:
        found = await queue.receive([EXPAND, SEND], limit=50, wait_s=0.2)
        for delivery in found:
            if delivery.job.queue == EXPAND:
                assert await queue.settle(delivery, follow=follow_ups(delivery.job))
            elif await queue.settle(delivery):
                sends[delivery.job.id] += 1
        if found or sum(sends.values()) < expected:
            quiet_until = time.monotonic() + 1.2
        elif time.monotonic() > quiet_until:
            break  # complete, and nothing more came for longer than a take-over
    return sends
