"""The port `RateLimiter` on every store, and on one process alone."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.clock import MovedClock, shift_wall_clock
from tests.support.job_queues import PLACES, QueueBackend, backend_for

from tocsin.core.ports.queue import RateLimiter
from tocsin.core.rates import US_PER_MS, RateLimit, take_token
from tocsin.delivery.limits import MemoryRateLimiter
from tocsin.queue.rates import RedisRateLimiter, SqlRateLimiter
from tocsin.queue.redis_connection import connect

START_MS = 1_800_000_000_000
TWO_A_SECOND = [RateLimit(2, 1000)]


@dataclass
class Store:
    """One store, seen by any number of workers that share a clock."""

    clock: MovedClock
    backend: QueueBackend | None
    memory: MemoryRateLimiter

    def worker(self) -> RateLimiter:
        if self.backend is None:
            return self.memory
        if self.backend.engine == "redis":
            return RedisRateLimiter(self.backend.redis(), clock=self.clock)
        return SqlRateLimiter(self.backend.sql(), clock=self.clock)


@pytest.fixture(params=[*PLACES, "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """A store without any bucket."""
    clock = MovedClock(START_MS)
    if request.param == "memory":
        yield Store(clock, None, MemoryRateLimiter(clock))
        return
    async for backend in backend_for(request, request.param, tmp_path):
        await backend.open()  # makes the tables
        yield Store(clock, backend, MemoryRateLimiter(clock))


async def test_tokens_and_when_the_next_one_comes(store: Store) -> None:
    """A full bucket at once, then one token each share of the interval."""
    limiter = store.worker()
    assert await limiter.take(["a", "a", "a"], TWO_A_SECOND) == [0, 0, START_MS + 500]
    store.clock.move_ms(499)
    assert await limiter.take(["a"], TWO_A_SECOND) == [START_MS + 500]
    store.clock.move_ms(1)
    assert await limiter.take(["a", "a"], TWO_A_SECOND) == [0, START_MS + 1000]
    store.clock.move_ms(10_000)
    assert await limiter.take(["a", "a", "a"], TWO_A_SECOND) == [
        0,
        0,
        START_MS + 11_000,
    ]


async def test_keys_do_not_share(store: Store) -> None:
    """Each key has its own buckets, whatever it is made of; none asks for nothing."""
    limiter = store.worker()
    keys = ["a", "b", "", "a,b", "a|b", "ü🙂", "'; DROP TABLE queue_jobs; --"]
    assert await limiter.take(keys, [RateLimit(1, 1000)]) == [0] * len(keys)
    assert all(await limiter.take(keys, [RateLimit(1, 1000)]))
    assert await limiter.take(keys, [RateLimit(1, 2000)]) == [0] * len(keys)
    assert await limiter.take([], TWO_A_SECOND) == []


async def test_all_limits_or_none(store: Store) -> None:
    """What the slow limit refuses takes no token of the fast one."""
    limiter = store.worker()
    limits = [RateLimit(3, 1000), RateLimit(1, 60_000)]
    assert await limiter.take(["a"], limits) == [0]
    assert await limiter.take(["a"] * 5, limits) == [START_MS + 60_000] * 5
    store.clock.move_ms(60_000)
    assert await limiter.take(["a"], limits) == [0]


async def test_workers_share_and_races_pass_nothing(store: Store) -> None:
    """However many ask at once, together they get what one bucket holds."""
    workers = [store.worker() for _ in range(4)]
    keys = ["a", "b", "c"] * 5
    limits = [RateLimit(7, 60_000)]

    async def ask(worker: RateLimiter, turn: int) -> list[str]:
        order = random.Random(turn).sample(keys, len(keys))
        answers = await worker.take(order, limits)
        return [key for key, at_ms in zip(order, answers, strict=True) if not at_ms]

    asked = [ask(worker, turn) for turn in range(3) for worker in workers]
    passed = Counter(key for keys in await asyncio.gather(*asked) for key in keys)
    assert passed == {"a": 7, "b": 7, "c": 7}


async def test_a_whole_batch_at_once(store: Store) -> None:
    """More keys than any one step takes, answered in their order."""
    limiter = store.worker()
    keys = [f"k{number}" for number in range(1200)]
    assert await limiter.take(keys, [RateLimit(1, 1000)]) == [0] * 1200
    again = await limiter.take([*keys[:3], "new", *keys[3:6]], [RateLimit(1, 1000)])
    assert [bool(at_ms) for at_ms in again] == [True] * 3 + [False] + [True] * 3


async def test_every_store_counts_as_the_core_does(store: Store) -> None:
    """Over a random history each answer is that of the pure arithmetic."""
    limiter, dice = store.worker(), random.Random(5)
    limits = [RateLimit(7, 1000), RateLimit(11, 4001)]
    states: dict[str, list[int]] = {}
    for _ in range(25):
        keys = [dice.choice("ab") for _ in range(dice.randint(1, 4))]
        now_us = store.clock.now_ms() * US_PER_MS
        expected = []
        for key in keys:
            allowed_us, states[key] = take_token(
                states.get(key, [0, 0]), limits, now_us
            )
            expected.append(-(-allowed_us // US_PER_MS))
        assert await limiter.take(keys, limits) == expected
        store.clock.move_ms(dice.randint(0, 400))


async def test_workers_whose_clocks_differ_share_the_buckets(
    redis_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In Redis they are judged by its clock: who is ahead gets no token more."""
    client = connect(redis_address)
    one, other = RedisRateLimiter(client), RedisRateLimiter(client)
    limits = [RateLimit(2, 3_600_000)]
    assert await one.take(["a", "a"], limits) == [0, 0]
    shift_wall_clock(monkeypatch, 7200)
    (allowed_ms,) = await other.take(["a"], limits)
    monkeypatch.undo()
    assert 0 < allowed_ms - time.time() * 1000 < 3_600_000
    await client.aclose()
