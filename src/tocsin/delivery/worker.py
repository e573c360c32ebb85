"""Takes jobs from the queue and keeps its hold on them until they end.

One lane per provider, so that a slow provider never holds up another; plus one
for expanding. It knows no provider and no queue technology.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

import structlog

from tocsin.core.errors import ApiError
from tocsin.core.ports import Delivery, JobQueue, PushProvider
from tocsin.core.push import queue_name
from tocsin.delivery.dispatch import Dispatcher
from tocsin.delivery.journal import Journal
from tocsin.delivery.lines import count_recipients, find_uid, job_fields
from tocsin.delivery.recipients import Expander
from tocsin.telemetry.metrics import Metrics

WAIT_S = 1.0
MAX_DELIVERIES = 10
"""Times a job is handed out before it counts as poison: each of them ended
with a worker that died or failed on it."""
RECIPIENTS_AHEAD = 2000
"""Recipients a lane takes into its hands; more would only wait here, where no
other worker can have them."""
LAG_INTERVAL_S = 5.0

_log = structlog.get_logger("tocsin.delivery")


class Lane:
    """Receives from some queues and works on what comes, up to a limit."""

    def __init__(
        self,
        *,
        queues: Sequence[str],
        queue: JobQueue,
        work_on: Callable[[Delivery], Awaitable[None]],
        concurrency: int,
        metrics: Metrics,
        renewed: Callable[[], None],
    ) -> None:
        """`renewed` is called when a hold that had run out stands again."""
        self._renewed = renewed
        self._queues = queues
        self._queue = queue
        self._work_on = work_on
        self._concurrency = concurrency
        self._metrics = metrics
        self.held: dict[str, Delivery] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._recipients = 0
        self._usual_size = 1.0
        self._free = asyncio.Event()
        self._stopping = False

    async def run(self) -> None:
        """Receive until stopped; a queue that is away is asked again."""
        while not self._stopping:
            limit = self._limit()
            if limit < 1:
                self._free.clear()
                await self._free.wait()
                continue
            try:
                deliveries = await self._queue.receive(
                    self._queues, limit=limit, wait_s=WAIT_S
                )
            except ApiError as error:
                _log.warning(
                    "queue cannot be read, trying again",
                    queues=list(self._queues),
                    error=error.message,
                )
                await asyncio.sleep(WAIT_S)
                continue
            self.take(deliveries)

    def take(self, deliveries: Sequence[Delivery]) -> None:
        """Start to work on these, but for what is in hand already."""
        for delivery in deliveries:
            self._start(delivery)

    async def stop(self, deadline_s: float) -> None:
        """Receive no more; wait for what is held, then leave it for take-over."""
        self._stopping = True
        self._free.set()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=deadline_s)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=1)

    def forget(self, receipt: str) -> None:
        """Stop renewing the hold on a delivery that another worker has now."""
        self.held.pop(receipt, None)

    def _limit(self) -> int:
        free = self._concurrency - len(self._tasks)
        room = (RECIPIENTS_AHEAD - self._recipients) / self._usual_size
        if self._tasks and room < 1:
            return 0
        return min(free, max(1, int(room)))

    def _start(self, delivery: Delivery) -> None:
        if (held := self.held.get(delivery.receipt)) is not None:
            # Its hold had run out, and this worker took it over from itself: the
            # work on it goes on where it is, and must not begin a second time.
            held.held_until = max(held.held_until, delivery.held_until)
            self._renewed()
            return
        size = _size(delivery)
        self._usual_size += 0.1 * (size - self._usual_size)
        self._recipients += size
        self.held[delivery.receipt] = delivery
        task = asyncio.create_task(self._work(delivery, size))
        self._tasks.add(task)
        task.add_done_callback(self._finish)

    def _finish(self, task: asyncio.Task[None]) -> None:
        # Only now is the place free: waking earlier would find it still taken.
        self._tasks.discard(task)
        self._free.set()

    async def _work(self, delivery: Delivery, size: int) -> None:
        job = delivery.job
        labels = (job.provider, job.queue)
        self._metrics.push_consuming_inflight_jobs.add(1, *labels)
        started = time.perf_counter()
        try:
            with structlog.contextvars.bound_contextvars(
                push_id=job.push_id, job_id=job.id, request_id=job.correlation_id
            ):
                await self.handle(delivery)
        except Exception:  # noqa: BLE001 - the border of a job
            # The border of a job: it stays in the queue and is handed out again.
            _log.exception(
                "job failed; it is handed out again after the take-over time",
                job_id=job.id,
                push_id=job.push_id,
                queue=job.queue,
                handed_out=delivery.count,
            )
        finally:
            self._metrics.push_consuming_inflight_jobs.add(-1, *labels)
            self._metrics.observe_job(
                time.perf_counter() - started, job.provider, job.recipient_type.value
            )
            if self.held.get(delivery.receipt) is delivery:
                del self.held[delivery.receipt]
            self._recipients -= size

    async def handle(self, delivery: Delivery) -> None:
        """Work on it, or bury it where it was handed out too often."""
        if delivery.count <= MAX_DELIVERIES:
            await self._work_on(delivery)
            return
        reason = f"handed out {delivery.count - 1} times without an end"
        job = delivery.job
        uid = await find_uid(self._queue, job.push_id)
        if not await self._queue.settle(delivery, dead=[(job, reason)]):
            return
        _log.error(
            "poison job goes to the dead letters",
            **job_fields(job, uid),
            recipients=_size(delivery),
            reason=reason,
        )
        self._metrics.push_dead_letters.add(
            _size(delivery), delivery.job.provider, "poison"
        )


class Worker:
    """All lanes of one process, and what keeps them honest.

    `providers` are adapters by integration.
    """

    def __init__(
        self,
        *,
        queue: JobQueue,
        providers: Mapping[str, PushProvider],
        dispatcher: Dispatcher,
        expander: Expander,
        journal: Journal,
        metrics: Metrics,
        concurrency: int = 64,
        takeover_s: float = 15.0,
        on_death: Callable[[str], None] | None = None,
    ) -> None:
        self._on_death = on_death
        self._queue = queue
        self._dispatcher = dispatcher
        self._journal = journal
        self._metrics = metrics
        self._takeover_s = takeover_s
        # Integrations of one provider share its streams, and so its lanes.
        names = tuple(dict.fromkeys(each.name for each in providers.values()))
        self._providers = names
        expand_queues = [queue_name("expand", name) for name in names]
        self.lanes = [
            Lane(
                queues=[queue_name("send", name)],
                queue=queue,
                work_on=dispatcher.work_on,
                concurrency=concurrency,
                metrics=metrics,
                renewed=dispatcher.renew,
            )
            for name in names
        ]
        self.lanes.append(
            Lane(
                queues=expand_queues,
                queue=queue,
                work_on=expander.work_on,
                concurrency=max(1, len(names)),
                metrics=metrics,
                renewed=dispatcher.renew,
            )
        )
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start the lanes and the tasks beside them."""
        beside = [self._journal.write_for_ever(), self._keep_alive(), self._watch_lag()]
        for coroutine in [*(lane.run() for lane in self.lanes), *beside]:
            task = asyncio.create_task(coroutine)
            task.add_done_callback(self._watch)
            self._tasks.append(task)

    async def stop(self, deadline_s: float) -> None:
        """Drain: start nothing, end what is in flight, requeue the rest."""
        self._dispatcher.stop()
        await asyncio.gather(*(lane.stop(deadline_s) for lane in self.lanes))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _watch(self, task: asyncio.Task[None]) -> None:
        """A worker without one of its tasks would stand still unnoticed."""
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.critical("a task of the worker died", exc_info=error)
            if self._on_death is not None:
                self._on_death("a task of the worker died")

    async def _keep_alive(self) -> None:
        while True:
            beat_s = self._takeover_s / (5 if await self._renew() else 10)
            await asyncio.sleep(beat_s)

    async def _renew(self) -> bool:
        """Renew what all lanes hold, at once; whether each was renewed or lost."""
        held = [each for lane in self.lanes for each in lane.held.values()]
        if not held:
            return True
        before = [each.held_until for each in held]
        try:
            # One that hangs must not keep the next from being tried.
            async with asyncio.timeout(self._takeover_s):
                lost = set(await self._queue.keep_alive(held))
        except (ApiError, TimeoutError) as error:
            _log.warning(
                "hold on jobs not renewed, trying again; nothing of them is sent"
                " meanwhile once it runs out",
                error=error.message if isinstance(error, ApiError) else "no answer",
                jobs=len(held),
            )
            return False
        for lane in self.lanes:
            # Only what was asked about: it may have come back into hand meanwhile.
            for each in held:
                if each.receipt in lost and lane.held.get(each.receipt) is each:
                    lane.forget(each.receipt)
                    self._dispatcher.lose(each)
        self._dispatcher.renew()
        return all(
            each.held_until > until or each.receipt in lost
            for each, until in zip(held, before, strict=True)
        )

    async def _watch_lag(self) -> None:
        names = {
            queue_name(stage, provider): provider
            for provider in self._providers
            for stage in ("expand", "send")
        }
        while True:
            try:
                waiting = await self._queue.waiting(list(names), only_due=True)
            except ApiError:
                waiting = {}  # the lanes report a queue that is away
            for name, count in waiting.items():
                self._metrics.push_queue_consuming_lag.set(count, names[name], name)
            await asyncio.sleep(LAG_INTERVAL_S)


def _size(delivery: Delivery) -> int:
    return count_recipients(delivery.job)
