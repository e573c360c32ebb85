"""Receives jobs from a few queues and keeps each in hand until it ends.

It knows neither a provider nor a queue technology, and not what a job asks for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import structlog

from tocsin.core.accounts import NOTHING, Counts, Part, recorded
from tocsin.core.errors import ApiError, InternalError, StatementRefused
from tocsin.core.lanes import parse_queue_name
from tocsin.core.ports.queue import Delivery, JobConsumer
from tocsin.core.push import Job, SendJob
from tocsin.delivery.accounting import rest_of
from tocsin.delivery.outages import QUEUE, Outages
from tocsin.delivery.reports import LostJobs, count_recipients, find_uid, job_fields
from tocsin.delivery.result_log import ResultLog
from tocsin.delivery.shares import SLOW_AFTER_S, CredentialShares, Room
from tocsin.delivery.tracing import traced
from tocsin.telemetry.metrics import Metrics
from tocsin.telemetry.spans import Tracer

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

_NO_ROOM = Room(0, 0)

_log = structlog.get_logger(__name__)


class Lane:
    """Receives from some queues and works on what comes, up to a limit.

    `behind` are queues that come after the others, see `JobConsumer.receive`. With
    `shares`, which need all queues to be of one provider and priority, no credential
    takes the whole limit for long.
    """

    def __init__(
        self,
        *,
        queues: Sequence[str],
        behind: Sequence[str] = (),
        queue: JobConsumer,
        work_on: Callable[[Delivery], Awaitable[None]],
        concurrency: int,
        metrics: Metrics,
        renewed: Callable[[], None],
        outages: Outages,
        lost: LostJobs,
        shares: CredentialShares | None = None,
        tracer: Tracer | None = None,
        results: ResultLog | None = None,
    ) -> None:
        """`renewed` is called when a hold that had run out stands again."""
        self._tracer = tracer
        self._results = results
        self._renewed = renewed
        self._lost = lost
        self._outages = outages
        self.queues = queues
        self._behind = behind
        self._place = parse_queue_name(queues[0])
        self._shares = shares
        self._surplus: list[Delivery] = []
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
                await self._wait_for_room()
                continue
            try:
                deliveries = await self._queue.receive(
                    self.queues, limit=limit, wait_s=WAIT_S, behind=self._behind
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
            if self._surplus:
                await self._put_back()

    def take(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Start work on these; returns those that this lane is at work on already.

        What is more than its credential may hold is kept for `_put_back`.
        """
        return [delivery for delivery in deliveries if not self._start(delivery)]

    async def _wait_for_room(self) -> None:
        """Until a job ends; or a credential may have become slow, which makes room."""
        try:
            async with asyncio.timeout(None if self._shares is None else SLOW_AFTER_S):
                await self._free.wait()
        except TimeoutError:
            return

    async def _put_back(self) -> None:
        """Put the surplus of slow credentials back, to be handed out later."""
        surplus, self._surplus = self._surplus, []
        shares = self._shares
        settled = []
        for delivery in surplus:
            job = rest_of(delivery)
            if shares is None or not isinstance(job, SendJob):
                settled.append(self._settle(delivery, is_fresh=True))  # done before
                continue
            shares.report(job)
            due_ms = shares.put_off(job)
            if job.expire_at_ms:
                # What expires meanwhile ends then: it must not stay open for longer.
                due_ms = min(due_ms, job.expire_at_ms)
            settled.append(
                self._settle(delivery, follow=[(job, due_ms)], is_fresh=True)
            )
        for fault in await asyncio.gather(*settled, return_exceptions=True):
            if isinstance(fault, BaseException):
                # It stays in the queue and is handed out again.
                _log.error("a job could not be put back", exc_info=fault)

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
        aside = _NO_ROOM
        if self._shares is not None:
            place = self._place
            aside = self._shares.set_aside(place.provider, place.priority)
        busy = len(self._tasks) - aside.jobs
        free = self._concurrency - busy
        if self._pause_s:
            return min(free, 1)  # one job finds out whether the store is back
        held = self._recipients - aside.recipients
        room = (RECIPIENTS_AHEAD - held) / self._usual_size
        # An idle lane always takes one, or a large batch would never be taken.
        if busy > 0 and room < 1:
            return 0
        return min(free, max(1, int(room)))

    def _start(self, delivery: Delivery) -> bool:
        if (held := self.held.get(delivery.receipt)) is not None:
            # The hold had run out, and this worker took the job over from itself. The
            # work under way goes on; a second start would send everything twice.
            held.held_until = max(held.held_until, delivery.held_until)
            self._renewed()
            return False
        if self._shares is not None and self._shares.is_full(delivery.job):
            self._surplus.append(delivery)
            return True
        size = _size(delivery)
        self._usual_size += 0.1 * (size - self._usual_size)
        self._recipients += size
        self.held[delivery.receipt] = delivery
        if self._shares is not None:
            self._shares.begin(delivery, size)
        self._lost.begin(delivery)
        work = self._work(delivery, size)
        if self._tracer is not None:
            work = traced(self._tracer, delivery, work)
        task = asyncio.create_task(work)
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
            if self._shares is not None:
                self._shares.end(delivery)
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
        is_fresh: bool = False,
    ) -> bool:
        """Settle, however long the queue is away; `False` if another worker has it.

        The hold is renewed before each try. It tells the queue that nobody died, and
        tells us whether another worker has the job: then it must not be put back too.
        One that `is_fresh` was handed out just now, and needs that only if it fails.
        """
        job = delivery.job
        ended: Counts = NOTHING
        if isinstance(job, SendJob):
            ended = recorded(delivery.done, len(job.work.recipients))
            ended[Part.DEAD] += sum(count_recipients(each) for each, _ in dead)
        while True:
            try:
                if not is_fresh and await self._queue.keep_alive([delivery]):
                    return False
                is_fresh = False
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
        if self._results is not None and isinstance(rest, SendJob):
            await self._results.ended(None, None, follow=(), dead=[(rest, reason)])
        if not await self._settle(delivery, dead=[(rest, reason)] if rest else []):
            return
        _log.error(
            "poison job goes to the dead letters",
            **job_fields(job, uid),
            recipients=_size(delivery),
            reason=reason,
        )
        self._metrics.push_dead_letters.add(_size(delivery), job.provider, "poison")


def _size(delivery: Delivery) -> int:
    return count_recipients(delivery.job)
