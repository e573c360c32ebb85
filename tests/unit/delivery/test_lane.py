"""One lane with two credentials: who has room, who is put back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.support.jobs import ManualClock, ScriptedProvider, make_send_job
from tests.support.memory_queue import MemoryJobQueue

from tocsin.core.ports.queue import Delivery
from tocsin.delivery import lane as lane_module
from tocsin.delivery import shares as shares_module
from tocsin.delivery.lane import Lane
from tocsin.delivery.outages import Outages
from tocsin.delivery.reports import LostJobs
from tocsin.delivery.shares import CredentialShares, Room
from tocsin.telemetry.metrics import Metrics

ROOM = Room(4, 2000)


class TwoCredentials:
    """A lane whose credential `a` never ends anything, while `b` does at once."""

    def __init__(self, *names: str) -> None:
        self.clock = ManualClock()
        self.queue = MemoryJobQueue(self.clock)
        providers = {name: ScriptedProvider() for name in names or ("a", "b")}
        self.shares = CredentialShares(providers, self.clock, room=ROOM)
        metrics = Metrics()
        self.ended: list[str] = []
        self.hanging: list[str] = []
        self.answer = asyncio.Event()
        self.lane = Lane(
            queues=["send:fcm"],
            behind=["send:fcm:retry"],
            queue=self.queue,
            work_on=self.work_on,
            concurrency=ROOM.jobs,
            metrics=metrics,
            renewed=lambda: None,
            outages=Outages(),
            lost=LostJobs(self.queue, metrics),
            shares=self.shares,
        )

    async def work_on(self, delivery: Delivery) -> None:
        if delivery.job.integration == "a":
            self.hanging.append(delivery.job.id)
            await self.answer.wait()
        await self.queue.settle(delivery)
        self.ended.append(delivery.job.id)

    def put(self, integration: str, count: int, *, expire_at_ms: int = 0) -> None:
        for number in range(count):
            id = f"{integration}{len(self.queue.jobs)}{number}"
            job = make_send_job(
                1, id=id, integration=integration, expire_at_ms=expire_at_ms
            )
            self.queue.put(job)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.lane.run())
        try:
            yield
        finally:
            self.answer.set()
            await self.lane.stop(1)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until_ended(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.ended) < count:  # noqa: ASYNC110 - any state may be waited for
                await asyncio.sleep(0.001)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A credential is slow after a moment, and the lane waits no longer than that."""
    monkeypatch.setattr(shares_module, "SLOW_AFTER_S", 0.01)
    monkeypatch.setattr(lane_module, "SLOW_AFTER_S", 0.01)
    monkeypatch.setattr(lane_module, "WAIT_S", 0.01)


@pytest.mark.usefixtures("quick")
async def test_a_credential_that_hangs_leaves_the_lane_to_the_others() -> None:
    """It keeps what it holds; what is more waits in the queue, for later."""
    bench = TwoCredentials()
    bench.put("a", 30)
    bench.put("b", 10)
    async with bench.running():
        await bench.until_ended(10)
        assert all(id.startswith("b") for id in bench.ended)
        assert len(bench.hanging) == ROOM.jobs
        waiting = bench.queue.waiting_jobs("send:fcm")
        assert len(waiting) == 30 - ROOM.jobs
        dues = [due_ms for _, due_ms in waiting]
        assert min(dues) > bench.clock.now_ms()
        assert len(set(dues)) == len(dues)
    assert bench.queue.dead == []


@pytest.mark.usefixtures("quick")
async def test_what_was_put_back_comes_when_the_provider_answers_again() -> None:
    """All of it, each once."""
    bench = TwoCredentials()
    bench.put("a", 30)
    bench.put("b", 1)
    async with bench.running():
        await bench.until_ended(1)
        bench.answer.set()
        bench.clock.advance(60)
        await bench.until_ended(31)
    assert sorted(set(bench.hanging)) == sorted(bench.hanging)


@pytest.mark.usefixtures("quick")
async def test_what_is_put_back_is_due_before_it_expires() -> None:
    """So that it is counted as expired in time."""
    bench = TwoCredentials()
    expire_at_ms = bench.clock.now_ms() + 100
    bench.put("a", 30, expire_at_ms=expire_at_ms)
    bench.put("b", 1)
    async with bench.running():
        await bench.until_ended(1)
        assert {due for _, due in bench.queue.waiting_jobs("send:fcm")} == {
            expire_at_ms
        }


@pytest.mark.usefixtures("quick")
async def test_one_credential_alone_waits_in_its_queue() -> None:
    """There is nobody to make room for: nothing goes round."""
    bench = TwoCredentials("a")
    bench.put("a", 30)
    async with bench.running():
        async with asyncio.timeout(10):
            while len(bench.hanging) < ROOM.jobs:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.001)
        await bench.queue.called("receive", 0)
        await asyncio.sleep(0.05)  # longer than it takes to be slow
        waiting = bench.queue.waiting_jobs("send:fcm")
        assert [due_ms for _, due_ms in waiting] == [0] * (30 - ROOM.jobs)
