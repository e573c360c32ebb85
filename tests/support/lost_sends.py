"""A send log, a queue that loses what it has, and what repairs it, all in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from tests.support.jobs import ManualClock, make_payload, make_send_job, make_walk_job
from tests.support.memory_queue import MemoryJobQueue
from tests.support.memory_send_log import MemoryLogData, MemorySendLog

from tocsin.core.accounts import Part, WalkPage
from tocsin.core.device import DeviceFilter
from tocsin.core.ports.queue import Delivery
from tocsin.core.push import Expand, ExpandJob, Job, SendJob
from tocsin.core.send_log import Accepting, SendRecord
from tocsin.push.log_keeper import SendLogKeeper
from tocsin.push.queue_watch import ProcessQueueMarks, QueueWatch
from tocsin.push.repair import FIRST_CALL_MS, Repair


class Places(ProcessQueueMarks):
    """Marks of a queue that may have moved: only `replaced` data is gone."""

    def __init__(self) -> None:
        super().__init__()
        self.replaced: set[str] = set()

    async def is_replaced(self, epoch: str) -> bool:
        return epoch in self.replaced


class LostSends:
    """One queue and one log, and any number of processes that work with them."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.queue = MemoryJobQueue(self.clock)
        self.log_data = MemoryLogData()
        self.log = self.open_log()
        self.marks = Places()
        self.watch = QueueWatch(self.queue, self.marks, place="here", clock=self.clock)
        self.repaired: Counter[str] = Counter()
        self.broken: list[tuple[str, str]] = []
        self.repair = self.open_repair()

    def open_log(self, **more: Any) -> MemorySendLog:
        """The same rows, as one process sees them."""
        return MemorySendLog(self.clock, data=self.log_data, **more)

    def open_repair(self, *, log: MemorySendLog | None = None, **more: Any) -> Repair:
        """What repairs, in one process."""
        return Repair(
            self.queue,
            self.queue.accounts,
            log or self.log,
            clock=self.clock,
            watch=self.watch,
            on_repaired=lambda result: self.repaired.update([result]),
            **more,
        )

    def open_keeper(self, owner: str = "a", **more: Any) -> SendLogKeeper:
        """The keeper of one process."""
        values: dict[str, Any] = {
            "owner": owner,
            "clock": self.clock,
            "lost_at_ms": lambda: self.watch.lost_at_ms,
            "epoch": lambda: self.watch.epoch,
            "on_broken": lambda *told: self.broken.append(told),
        }
        log, repair = more.pop("log", self.log), more.pop("repair", self.repair)
        return SendLogKeeper(log, self.queue.accounts, repair, **{**values, **more})

    async def accept(
        self,
        push_id: str = "p1",
        *,
        jobs: Sequence[Job] | None = None,
        queued: bool = True,
        age_ms: int = FIRST_CALL_MS,
        **more: Any,
    ) -> None:
        """A send with a walk over a topic, or with these jobs."""
        await self.watch.check()
        made = jobs or [make_walk_job(unit="0", push_id=push_id)]
        record = SendRecord(
            push_id,
            f"uid of {push_id}",
            accepted_at_ms=self.clock.now_ms() - age_ms,
            epoch=self.watch.epoch,
            **more,
        )
        payload = make_payload(push_id)
        await self.log.accept(Accepting(record, payload, made))
        if queued:
            await self.queue.enqueue(payload, made)

    async def record(self, push_id: str = "p1") -> SendRecord:
        """The row of a send."""
        found = await self.log.fetch(push_id=push_id)
        assert found is not None
        return found

    async def lose(self, epoch: str = "second") -> None:
        """The queue is empty, and its watch has noticed."""
        self.queue.data.lose(epoch=epoch)
        self.marks.replaced.add(self.watch.epoch)
        await self.watch.check()

    async def take(self, stage: str = "") -> list[Delivery]:
        """All that is due, of one stage or of both."""
        names = [name for name in self.queue.data.queues if name.startswith(stage)]
        return await self.queue.receive(names, limit=100, wait_s=0)

    async def walk(self, *pages: tuple[str, str], size: int = 3) -> None:
        """Take a walk some pages further: each (start, until), empty for the end."""
        for start, until in pages:
            (delivery,) = await self.take("expand")
            job = delivery.job
            assert isinstance(job, ExpandJob)
            number = job.work.page
            page = WalkPage(f"{job.unit}:{number}", size, start, until, bool(until))
            batch = make_send_job(
                size, unit=page.unit, push_id=job.push_id, id=page.unit
            )
            work = Expand(DeviceFilter(topics=("t",)), until, number + 1)
            further = make_walk_job(work, unit=job.unit, push_id=job.push_id)
            jobs: list[Job] = [batch, *([further] if until else [])]
            follow = [(each, 0) for each in jobs]
            await self.queue.settle(delivery, follow=follow, page=page)

    async def send(self, count: int = 1) -> None:
        """Deliver so many batches as a whole."""
        for delivery in (await self.take("send"))[:count]:
            assert isinstance(delivery.job, SendJob)
            size = len(delivery.job.work.recipients)
            await self.queue.settle(delivery, ended={Part.DELIVERED: size})

    def jobs(self) -> list[Job]:
        """What is in the queue, in its order."""
        return [entry.job for entry in self.queue.data.entries()]
