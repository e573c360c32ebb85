"""Takes jobs from the queue and keeps its hold on them until they end.

One lane per provider, so that a slow provider never holds up another; plus one
for expanding. It knows no provider and no queue technology.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

import structlog

from tocsin.core.accounts import NOTHING, Counts, Part, recorded
from tocsin.core.errors import (
    ApiError,
    InternalError,
    QueueUnavailable,
    StatementRefused,
)
from tocsin.core.ports.providers import PushProvider
from tocsin.core.ports.queue import Delivery, JobConsumer
from tocsin.core.push import Job, SendJob, queue_name
from tocsin.delivery.accounting import rest_of
from tocsin.delivery.dispatch import Dispatcher
from tocsin.delivery.outages import QUEUE, Outages
from tocsin.delivery.recipients import Expander
from tocsin.delivery.reports import LostJobs, count_recipients, find_uid, job_fields
from tocsin.delivery.run import Journal
from tocsin.telemetry.metrics import Metrics

WAIT_S = 1.0
"""How long a lane waits for work, and so how late it may see that it shall stop."""
MAX_DELIVERIES = 10
"""How often a job is handed out before it counts as poison.

Each hand-out that counts ended with a dead worker, or with a fault of the job itself.
Faults of our own stores do not count: the job is given back then. Nor do hand-outs
whose worker turned out to live (`JobConsumer.keep_alive`)."""
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 5.0
"""How long a lane waits after a store failed, before it takes the next job."""
RECIPIENTS_AHEAD = 2000
"""Recipients that a lane holds at most. More would only wait here, while other
workers could send to them."""
LAG_INTERVAL_S = 5.0

_NO_ANSWER = QueueUnavailable("no answer in time")

_log = structlog.get_logger(__name__)


class Lane:
    """Receives from some queues and works on what comes, up to a limit."""

    def __init__(
        self,
        *,
        queues: Sequence[str],
        queue: JobConsumer,
        work_on: Callable[[Delivery], Awaitable[None]],
        concurrency: int,
        metrics: Metrics,
        renewed: Callable[[], None],
        outages: Outages,
        lost: LostJobs,
    ) -> None:
        """`renewed` is called when a hold that had run out stands again."""
        self._renewed = renewed
        self._lost = lost
        self._outages = outages
        self._queues = queues
        self._queue = queue
        self._work_on = work_on
        self._concurrency = concurrency
        self._metrics = metrics
        self.held: dict[str, Delivery] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._recipients = 0
        # A moving average of recipients per job: the queue is asked for a number of
        # jobs, while the limit is a number of recipients.
        self._usual_size = 1.0
        self._free = asyncio.Event()
        self._stopped = asyncio.Event()
        self._met_fault = False
        self._pause_s = 0.0

    async def run(self) -> None:
        """Receive until stopped; a queue that is away is asked again."""
        while not self._stopped.is_set():
            if self._met_fault:
                self._met_fault = False
                self._pause_s = min(
                    LONGEST_PAUSE_S, max(FIRST_PAUSE_S, 2 * self._pause_s)
                )
                await self._pause(self._pause_s)
                continue
            limit = self._limit()
            if limit < 1:
                # No await since `_limit` looked, so no job can end unnoticed between.
                self._free.clear()
                await self._free.wait()
                continue
            try:
                deliveries = await self._queue.receive(
                    self._queues, limit=limit, wait_s=WAIT_S
                )
            except ApiError as error:
                self._outages.note(error, doing="read the queue")
                await self._pause(WAIT_S)
                continue
            self._outages.fine(QUEUE)
            # After an outage this worker may take over jobs from itself, if it is the
            # first to see that their holds have run out.
            if mine := self.take(deliveries):
                await self._excuse(mine)

    def take(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Start work on these; returns those that this lane is at work on already."""
        return [delivery for delivery in deliveries if not self._start(delivery)]

    async def _excuse(self, mine: Sequence[Delivery]) -> None:
        """Take back the hand-outs of jobs that this lane already has: nobody died."""
        try:
            await self._queue.excuse(mine)
        except ApiError as error:
            self._outages.note(error, doing="read the queue")

    async def stop(self, deadline_s: float) -> None:
        """Receive no more; wait for what is held, then leave it for take-over."""
        self._stopped.set()
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
        if self._pause_s:
            return min(free, 1)  # one job finds out whether the store is back
        room = (RECIPIENTS_AHEAD - self._recipients) / self._usual_size
        # An idle lane always takes one, or a large batch would never be taken.
        if self._tasks and room < 1:
            return 0
        return min(free, max(1, int(room)))

    def _start(self, delivery: Delivery) -> bool:
        if (held := self.held.get(delivery.receipt)) is not None:
            # The hold had run out, and this worker took the job over from itself. The
            # work under way goes on; a second start would send everything twice.
            held.held_until = max(held.held_until, delivery.held_until)
            self._renewed()
            return False
        size = _size(delivery)
        self._usual_size += 0.1 * (size - self._usual_size)
        self._recipients += size
        self.held[delivery.receipt] = delivery
        self._lost.begin(delivery)
        task = asyncio.create_task(self._work(delivery, size))
        self._tasks.add(task)
        task.add_done_callback(self._finish)
        return True

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
                await self._try(delivery)
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
            # A job that was lost may be back in hand, under the same receipt.
            if self.held.get(delivery.receipt) is delivery:
                del self.held[delivery.receipt]
            self._lost.end(delivery)
            self._recipients -= size

    async def _try(self, delivery: Delivery) -> None:
        """Work on it; after a fault of our own stores, give it back uncounted."""
        try:
            await self.handle(delivery)
        except StatementRefused:
            raise  # not an outage: the statement fails however often it is tried
        except InternalError as error:
            self._met_fault = True
            self._outages.note(error, doing="work on jobs")
            # A new entry takes its place, so its hand-outs are counted from the start.
            rest = rest_of(delivery)
            await self._settle(delivery, follow=[(rest, 0)] if rest else [])
        else:
            self._pause_s = 0.0

    async def _settle(
        self,
        delivery: Delivery,
        *,
        follow: Sequence[tuple[Job, int]] = (),
        dead: Sequence[tuple[Job, str]] = (),
    ) -> bool:
        """Settle, however long the queue is away; `False` if another worker has it.

        The hold is renewed before each try. It tells the queue that nobody died, and
        tells us whether another worker has the job: then it must not be put back too.
        """
        job = delivery.job
        ended: Counts = NOTHING
        if isinstance(job, SendJob):
            ended = recorded(delivery.done, len(job.work.recipients))
            ended[Part.DEAD] += sum(count_recipients(each) for each, _ in dead)
        while True:
            try:
                if await self._queue.keep_alive([delivery]):
                    return False
                return await self._queue.settle(
                    delivery, follow=follow, dead=dead, ended=ended
                )
            except InternalError as error:
                self._outages.note(error, doing="settle jobs")
            if self._stopped.is_set() or delivery.lost:
                return False
            await self._pause(FIRST_PAUSE_S)

    async def _pause(self, seconds: float) -> None:
        """Wait, but not longer than until the end."""
        try:
            async with asyncio.timeout(seconds):
                await self._stopped.wait()
        except TimeoutError:
            return

    async def handle(self, delivery: Delivery) -> None:
        """Work on it, or bury it where it was handed out too often."""
        if delivery.count <= MAX_DELIVERIES:
            await self._work_on(delivery)
            return
        reason = f"handed out {delivery.count - 1} times without an end"
        job = delivery.job
        uid = await find_uid(self._queue, job.push_id)
        # `_settle` waits for the queue and never raises its faults: `_try` would give
        # the job back then, and its hand-outs would be counted from the start.
        rest = rest_of(delivery)
        if not await self._settle(delivery, dead=[(rest, reason)] if rest else []):
            return
        _log.error(
            "poison job goes to the dead letters",
            **job_fields(job, uid),
            recipients=_size(delivery),
            reason=reason,
        )
        self._metrics.push_dead_letters.add(_size(delivery), job.provider, "poison")


class Worker:
    """All lanes of one process, and what keeps them honest.

    `providers` are adapters by integration.
    """

    def __init__(
        self,
        *,
        queue: JobConsumer,
        providers: Mapping[str, PushProvider],
        dispatcher: Dispatcher,
        expander: Expander,
        journal: Journal,
        metrics: Metrics,
        concurrency: int = 64,
        takeover_s: float = 15.0,
        on_death: Callable[[str], None] | None = None,
        outages: Outages | None = None,
        lost: LostJobs | None = None,
    ) -> None:
        self._on_death = on_death
        self._lost = lost = lost or LostJobs(queue, metrics)
        self._outages = outages = outages or Outages()
        self._queue = queue
        self._dispatcher = dispatcher
        self._expander = expander
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
                work_on=self._work_on,
                concurrency=concurrency,
                metrics=metrics,
                renewed=dispatcher.renew,
                outages=outages,
                lost=lost,
            )
            for name in names
        ]
        self.lanes.append(
            Lane(
                queues=expand_queues,
                queue=queue,
                work_on=self._work_on,
                concurrency=max(1, len(names)),
                metrics=metrics,
                renewed=dispatcher.renew,
                outages=outages,
                lost=lost,
            )
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._finding: set[asyncio.Task[object]] = set()

    def start(self) -> None:
        """Start the lanes and the tasks beside them."""
        beside = [self._journal.write_for_ever(), self._keep_alive(), self._watch_lag()]
        for coroutine in [*(lane.run() for lane in self.lanes), *beside]:
            task = asyncio.create_task(coroutine)
            task.add_done_callback(self._watch)
            self._tasks.append(task)

    async def stop(self, deadline_s: float) -> None:
        """Drain: start nothing, end what is in flight, requeue the rest."""
        # The journal and the renewals end last, since batches in flight need them:
        # without renewals another worker would begin them before they are put back.
        self._dispatcher.stop()
        await asyncio.gather(*(lane.stop(deadline_s) for lane in self.lanes))
        left = [*self._tasks, *self._finding]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _work_on(self, delivery: Delivery) -> None:
        """Hand it to the stage that the type of the job names."""
        job = delivery.job
        if isinstance(job, SendJob):
            await self._dispatcher.work_on(delivery, job)
        else:
            await self._expander.work_on(delivery, job)

    def _watch(self, task: asyncio.Task[None]) -> None:
        """Report a task that died: without it the worker would do nothing, unseen."""
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.critical("a task of the worker died", exc_info=error)
            if self._on_death is not None:
                self._on_death("a task of the worker died")

    async def _keep_alive(self) -> None:
        while True:
            # A hold is trusted for three fifths of the take-over time. So two beats
            # in a row may fail before sending stops, and after a failed one the next
            # comes in half the time.
            beat_s = self._takeover_s / (5 if await self._renew() else 10)
            await asyncio.sleep(beat_s)

    async def _renew(self) -> bool:
        """Renew the holds of all lanes in one call.

        `True` if every job was renewed or lost, `False` if some could not be judged.
        """
        held = [each for lane in self.lanes for each in lane.held.values()]
        if not held:
            return True
        before = [each.held_until for each in held]
        try:
            # One that hangs must not keep the next from being tried.
            async with asyncio.timeout(self._takeover_s):
                receipts = set(await self._queue.keep_alive(held))
        except (ApiError, TimeoutError) as error:
            fault = error if isinstance(error, ApiError) else _NO_ANSWER
            self._outages.note(fault, doing="renew the hold on jobs")
            return False
        # A lost job may have come back into hand during the call, under the same
        # receipt but as another delivery: that one is not lost.
        lost = [
            (lane, each)
            for lane in self.lanes
            for each in held
            if each.receipt in receipts and lane.held.get(each.receipt) is each
        ]
        for lane, each in lost:
            lane.forget(each.receipt)
            self._dispatcher.lose(each)
        self._dispatcher.renew()
        if lost:
            self._find_out([each for _, each in lost])
        return all(
            each.held_until > until or each.receipt in receipts
            for each, until in zip(held, before, strict=True)
        )

    def _find_out(self, lost: Sequence[Delivery]) -> None:
        """Ask the queue what became of these, in a task that no renewal waits for."""
        task = asyncio.create_task(self._lost.find(lost))
        self._finding.add(task)
        task.add_done_callback(self._finding.discard)

    async def _watch_lag(self) -> None:
        names = {
            queue_name(stage, provider): provider
            for provider in self._providers
            for stage in ("expand", "send")
        }
        while True:
            try:
                waiting = await self._queue.waiting(list(names), only_due=True)
                await self._lost.look()
            except ApiError:
                waiting = {}  # the lanes report a queue that is away
            for name, count in waiting.items():
                self._metrics.push_queue_consuming_lag.set(count, names[name], name)
            await asyncio.sleep(LAG_INTERVAL_S)


def _size(delivery: Delivery) -> int:
    return count_recipients(delivery.job)
