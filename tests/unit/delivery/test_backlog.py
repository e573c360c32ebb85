from __future__ import annotations

import pytest
from structlog.testing import capture_logs
from tests.support.jobs import ManualClock, make_send_job
from tests.support.memory_queue import MemoryJobQueue

from tocsin.core.errors import QueueUnavailable
from tocsin.core.lanes import LaneChoice, Priority
from tocsin.delivery import backlog
from tocsin.delivery.backlog import BacklogWatch
from tocsin.telemetry.metrics import Metrics

BULK = Priority.BULK


class Watched:
    """A worker's look at the lanes; time passes when told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *lanes: str) -> None:
        self.now_s = 1000.0
        monkeypatch.setattr(backlog, "elapsed_s", lambda: self.now_s)
        self.queue, self.metrics = MemoryJobQueue(ManualClock()), Metrics()
        choice = LaneChoice(lanes)
        self.watch = BacklogWatch(self.queue, self.metrics, ["fcm"], choice)

    async def look(self, times: int = 1, every_s: float = 5) -> list[str]:
        """The queues that a line was written of."""
        with capture_logs() as lines:
            for _ in range(times):
                await self.watch.look()
                self.now_s += every_s
        return [line["queue"] for line in lines]


async def test_every_lane_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of other workers too: else nobody sees a lane without one."""
    watched = Watched(monkeypatch, "transactional")
    watched.queue.put(make_send_job(1, priority=BULK))
    watched.queue.put(make_send_job(1))
    await watched.look()
    lag = watched.metrics.push_queue_consuming_lag
    assert lag.get("fcm", "send:fcm:bulk") == 1
    assert lag.get("fcm", "send:fcm") == 1
    assert lag.get("fcm", "send:fcm:transactional") == 0


async def test_work_that_nobody_takes_is_told_of_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After half a minute; and again if it comes to that again."""
    watched = Watched(monkeypatch, "transactional")
    for _ in range(2):
        watched.queue.put(make_send_job(1, priority=BULK))
        assert await watched.look(6) == []
        assert await watched.look(6) == ["send:fcm:bulk"]
        watched.queue.drop("send:fcm:bulk")
        assert await watched.look(3) == []


async def test_work_that_becomes_less_has_a_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However slowly."""
    watched = Watched(monkeypatch, "transactional")
    receipts = [
        watched.queue.put(make_send_job(1, id=f"j{n}", priority=BULK)) for n in range(9)
    ]
    for receipt in receipts[:-1]:
        assert await watched.look(4) == []
        watched.queue.finish(receipt)


async def test_its_own_lanes_are_no_matter_of_another_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Work that waits there waits for this worker."""
    watched = Watched(monkeypatch)
    watched.queue.put(make_send_job(1, priority=BULK))
    assert await watched.look(20) == []


async def test_a_queue_that_is_away_is_left_to_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The lanes report it."""
    watched = Watched(monkeypatch)
    watched.queue.failure = QueueUnavailable("away")
    assert await watched.look(2) == []
