"""Random histories of the queue: work is neither lost nor doubled, ever."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.job_queues import (
    EXPAND,
    MEMORY,
    SEND,
    QueueBackend,
    expand_job,
    payload_for,
    send_job,
)
from tests.support.redis_server import RedisServer

from tocsin.core.clock import SystemClock
from tocsin.core.ports.queue import Delivery, JobQueue
from tocsin.core.push import Job

WORKERS = 3
TAKEOVER_S = 0.05
"""So short that take-overs happen all the time, wanted and unwanted."""

_worker = st.integers(0, WORKERS - 1)
_STEPS = {  # step: what its number may be; frequent ones stand more than once
    "enqueue": st.integers(1, 4),
    "schedule": st.integers(1, 4),
    "cancel": st.integers(0, 9),
    "receive": st.integers(1, 3),
    "receive ": st.integers(1, 3),
    "settle": st.integers(0, 2),
    "settle ": st.integers(0, 2),
    "bury": st.just(0),
    "progress": st.integers(1, 7),
    "keep_alive": st.just(0),
    "crash": st.just(0),
    "stall": st.integers(10, 80),
}
_steps = st.lists(
    st.one_of(
        [
            st.tuples(st.just(name.strip()), _worker, number)
            for name, number in _STEPS.items()
        ]
    ),
    # Short histories have no past that could go wrong.
    min_size=30,
    max_size=60,
)


@dataclass
class History:
    """What the queue promised so far, beside what the workers hold."""

    backend: QueueBackend
    queues: list[JobQueue]
    held: list[list[Delivery]]
    accepted: set[str] = field(default_factory=set)
    settled: Counter[str] = field(default_factory=Counter)
    dead: set[str] = field(default_factory=set)
    requests: int = 0

    async def enqueue(self, worker: int, size: int) -> None:
        """A request of `size` jobs, sent twice with one push id."""
        push_id = f"p{self.requests}"
        self.requests += 1
        jobs = [expand_job(push_id), *(send_job(push_id) for _ in range(size))]
        for expected in (True, False):
            accepted = await self.queues[worker].enqueue(
                payload_for(push_id), jobs, once_ttl_s=600
            )
            assert accepted is expected
        self.accepted.update(job.id for job in jobs)

    async def schedule(self, worker: int, size: int) -> None:
        """A request of `size` jobs for a moment from now."""
        push_id = f"p{self.requests}"
        self.requests += 1
        jobs = [expand_job(push_id), *(send_job(push_id) for _ in range(size))]
        payload = replace(payload_for(push_id), uid=push_id)
        due_ms = SystemClock().now_ms() + 15
        assert await self.queues[worker].enqueue(payload, jobs, due_ms=due_ms)
        self.accepted.update(job.id for job in jobs)

    async def cancel(self, worker: int, number: int) -> None:
        """Take back what waits of some request; it must never come out again."""
        taken = await self.queues[worker].cancel(f"p{number}")
        for job in taken:
            assert job.id in self.accepted
            assert not self.settled[job.id]
            self.accepted.remove(job.id)

    async def receive(self, worker: int, limit: int) -> None:
        """Take some; none that was settled may come again."""
        found = await self.queues[worker].receive([EXPAND, SEND], limit=limit, wait_s=0)
        assert len(found) <= limit
        for delivery in found:
            assert delivery.job.id in self.accepted
            assert not self.settled[delivery.job.id]
        self.held[worker] += found

    async def settle(self, worker: int, follow: int) -> None:
        """End what is held the longest, perhaps with follow-ups, one delayed."""
        if not self.held[worker]:
            return
        delivery = self.held[worker].pop(0)
        jobs = [send_job(delivery.job.push_id) for _ in range(follow)]
        due_ms = SystemClock().now_ms() + 5
        plan = [(job, due_ms * (n % 2)) for n, job in enumerate(jobs)]
        if await self.queues[worker].settle(delivery, follow=plan):
            self._count(delivery.job, jobs)

    async def bury(self, worker: int, _: int) -> None:
        """End what is held the longest as a dead letter."""
        if not self.held[worker]:
            return
        delivery = self.held[worker].pop(0)
        dead = [(delivery.job, "no")]
        if await self.queues[worker].settle(delivery, dead=dead):
            self._count(delivery.job, [])
            self.dead.add(delivery.job.id)

    async def progress(self, worker: int, bits: int) -> None:
        """Record progress of all that is held, also of what was lost meanwhile."""
        await self.queues[worker].record_progress(
            {delivery.receipt: bytes([bits]) for delivery in self.held[worker]}
        )

    async def keep_alive(self, worker: int, _: int) -> None:
        """Renew all; what is lost is let go."""
        lost = set(await self.queues[worker].keep_alive(self.held[worker]))
        self.held[worker] = [d for d in self.held[worker] if d.receipt not in lost]

    async def crash(self, worker: int, _: int) -> None:
        """Forget everything and come back under another name."""
        self.held[worker] = []
        name = f"again-{self.requests}-{worker}"
        self.queues[worker] = await self.backend.open(name, takeover_s=TAKEOVER_S)

    async def stall(self, _: int, ms: int) -> None:
        """Let time pass."""
        await asyncio.sleep(ms / 1000)

    async def finish(self) -> None:
        """All workers die; one that comes after them does the rest."""
        for worker in range(WORKERS):
            await self.crash(worker, 0)
        queue = self.queues[0]
        async with asyncio.timeout(20):
            while sum(self.settled.values()) < len(self.accepted):
                for delivery in await queue.receive([EXPAND, SEND], limit=9, wait_s=1):
                    assert await queue.fetch_payload(delivery.job.push_id)
                    if await queue.settle(delivery):
                        self._count(delivery.job, [])
        assert set(self.settled) == self.accepted
        assert set(self.settled.values()) <= {1}
        assert await queue.waiting([EXPAND, SEND]) == {EXPAND: 0, SEND: 0}
        letters = await queue.list_dead(limit=1000)
        assert sorted(letter.job.id for letter in letters) == sorted(self.dead)
        for number in range(self.requests):
            assert await queue.fetch_payload(f"p{number}") is None

    def _count(self, job: Job, follow: list[Job]) -> None:
        self.settled[job.id] += 1
        self.accepted.update(one.id for one in follow)


async def _live_through(backend: QueueBackend, steps: list[tuple[Any, ...]]) -> None:
    queues = [
        await backend.open(f"worker-{number}", takeover_s=TAKEOVER_S)
        for number in range(WORKERS)
    ]
    history = History(backend, queues, [[] for _ in range(WORKERS)])
    try:
        await history.enqueue(0, 6)
        for name, worker, number in steps:
            await getattr(history, name)(worker, number)
        await history.finish()
    finally:
        await backend.close()


@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=_steps)
@pytest.mark.parametrize("engine", ["redis", "sqlite", MEMORY])
def test_no_history_loses_or_doubles_a_job(
    engine: str, request: pytest.FixtureRequest, steps: list[tuple[Any, ...]]
) -> None:
    """Whatever workers do or suffer, each accepted job is settled exactly once."""
    if engine == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        server.flush()
        asyncio.run(_live_through(QueueBackend(engine, server.address), steps))
        return
    if engine == MEMORY:
        asyncio.run(_live_through(QueueBackend(engine, ""), steps))
        return
    with tempfile.TemporaryDirectory() as directory:
        address = f"sqlite+aiosqlite:///{Path(directory) / 'queue.db'}"
        asyncio.run(_live_through(QueueBackend(engine, address), steps))
