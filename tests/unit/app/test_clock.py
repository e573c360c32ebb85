"""The clock of the queue's server, as a process goes by it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.support.clock import shift_wall_clock
from tests.support.memory_queue import MemoryJobQueue

from tocsin.app import clock as module
from tocsin.app.clock import SharedClock
from tocsin.core.elapsed import elapsed_s
from tocsin.core.errors import QueueUnavailable

HOUR_MS = 3_600_000


@dataclass
class Theirs:
    """The clock of a queue's server; it is off from what elapses here by so much."""

    off_ms: int

    def now_ms(self) -> int:
        return int(elapsed_s() * 1000) + self.off_ms


@pytest.fixture
def elapsing(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What has elapsed, as the list's only item."""
    now = [1000.0]
    monkeypatch.setattr(module, "elapsed_s", lambda: now[0])
    return now


async def test_until_it_is_told_it_is_the_machine_s() -> None:
    """Also where the queue has no other clock than that."""
    clock = SharedClock()
    assert abs(clock.now_ms() - time.time() * 1000) < 1000
    await clock.learn(MemoryJobQueue())
    assert abs(clock.now_ms() - time.time() * 1000) < 1000


@pytest.mark.parametrize("jump_s", [-7200, 7200])
async def test_jumps_of_the_machine_s_clock_do_not_move_it(
    jump_s: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on by what elapses."""
    clock = SharedClock()
    await clock.learn(MemoryJobQueue(Theirs(5 * HOUR_MS)))
    shift_wall_clock(monkeypatch, jump_s)
    expected_ms = elapsed_s() * 1000 + 5 * HOUR_MS
    assert abs(clock.now_ms() - expected_ms) < 1000


async def test_a_server_s_clock_that_was_set_is_followed() -> None:
    """The next look tells."""
    clock, theirs = SharedClock(), Theirs(5 * HOUR_MS)
    queue = MemoryJobQueue(theirs)
    await clock.learn(queue)
    theirs.off_ms = 4 * HOUR_MS
    await clock.learn(queue)
    assert abs(clock.now_ms() - elapsed_s() * 1000 - 4 * HOUR_MS) < 1000


async def test_a_slow_answer_does_not_spoil_it(elapsing: list[float]) -> None:
    """The first is better than nothing; later ones must be quick."""

    class SlowQueue(MemoryJobQueue):
        async def now_ms(self) -> int | None:
            elapsing[0] += 4
            return 1_000_000

    clock, queue = SharedClock(), SlowQueue()
    await clock.learn(queue)
    assert clock.now_ms() == 1_002_000  # half of the way was the way back
    await clock.learn(queue)
    assert clock.now_ms() == 1_006_000


async def test_a_queue_that_is_away_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The clock goes on meanwhile."""
    monkeypatch.setattr(module, "STEP_INTERVAL_S", 0.0)
    clock, queue = SharedClock(), MemoryJobQueue(Theirs(5 * HOUR_MS))
    queue.faults["now_ms"] = [
        QueueUnavailable("away"),
        StopAsyncIteration("looked again"),
    ]
    with pytest.raises(StopAsyncIteration):
        await clock.follow(queue)


async def test_a_difference_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """And again where it changes; a small one is nobody's concern."""

    async def learned(off_ms: int) -> list[Any]:
        theirs.off_ms = int(time.time() * 1000 - elapsed_s() * 1000) + off_ms
        with capture_logs() as lines:
            await clock.learn(queue)
        return [round(line["ahead_s"]) for line in lines]

    clock, theirs = SharedClock(), Theirs(0)
    queue = MemoryJobQueue(theirs)
    assert await learned(-2_000) == []
    assert await learned(-7_200_000) == [7200]
    assert await learned(-7_201_000) == []
    assert await learned(0) == [0]
