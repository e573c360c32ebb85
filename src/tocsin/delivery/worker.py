"""All lanes of a process, and what keeps their holds on jobs.

A lane for each provider and priority, so that neither a slow provider holds up another,
nor a broadcast a single send; and one for each priority that reads recipients.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import structlog

from tocsin.core.errors import ApiError, QueueUnavailable
from tocsin.core.lanes import EXPAND, LaneChoice, Priority, queue_name, send_queues
from tocsin.core.ports.providers import PushProvider
from tocsin.core.ports.queue import Delivery, JobConsumer
from tocsin.core.push import SendJob
from tocsin.delivery.backlog import BacklogWatch
from tocsin.delivery.dispatch import Dispatcher
from tocsin.delivery.lane import Lane
from tocsin.delivery.outages import Outages
from tocsin.delivery.recipients import Expander
from tocsin.delivery.reports import LostJobs
from tocsin.delivery.result_log import ResultLog
from tocsin.delivery.run import Journal
from tocsin.delivery.shares import CredentialShares
from tocsin.telemetry.metrics import Metrics
from tocsin.telemetry.spans import Tracer

LAG_INTERVAL_S = 5.0

WALKS_AT_ONCE = 4
"""Walks of a provider in the urgent lane, which are one short page as a rule. In the
others a page is as much as the registry and the queue can take at a time."""
ALL_LANES = LaneChoice()

_NO_ANSWER = QueueUnavailable("no answer in time")

_log = structlog.get_logger(__name__)


class Worker:
    """All lanes of one process, and what keeps them honest.

    `providers` are adapters by integration, `lanes` those that it takes work from.
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
        shares: CredentialShares | None = None,
        lanes: LaneChoice = ALL_LANES,
        tracer: Tracer | None = None,
        results: ResultLog | None = None,
    ) -> None:
        self._on_death = on_death
        self._tracer = tracer
        self._results = results
        self._lost = lost or LostJobs(queue, metrics)
        self._outages = outages or Outages()
        self._queue = queue
        self._dispatcher = dispatcher
        self._expander = expander
        self._journal = journal
        self._metrics = metrics
        self._takeover_s = takeover_s
        # Integrations of one provider share its streams, and so its lanes.
        names = tuple(dict.fromkeys(each.name for each in providers.values()))
        self._backlog = BacklogWatch(queue, metrics, names, lanes)
        self.lanes = list(self._build_lanes(names, lanes, concurrency, shares))
        self._tasks: list[asyncio.Task[None]] = []
        self._finding: set[asyncio.Task[object]] = set()

    def start(self) -> None:
        """Start the lanes and the tasks beside them."""
        beside = [
            self._journal.write_for_ever(),
            self._keep_alive(),
            self._watch_backlog(),
        ]
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

    def _build_lanes(
        self,
        providers: Sequence[str],
        chosen: LaneChoice,
        concurrency: int,
        shares: CredentialShares | None,
    ) -> Iterator[Lane]:
        build = partial(
            Lane,
            queue=self._queue,
            work_on=self._work_on,
            metrics=self._metrics,
            renewed=self._dispatcher.renew,
            outages=self._outages,
            lost=self._lost,
            tracer=self._tracer,
            results=self._results,
        )
        for priority in Priority:
            taken = [name for name in providers if chosen.takes(name, priority)]
            for name in taken:
                fresh, tried = send_queues(name, priority)
                yield build(
                    queues=[fresh],
                    behind=[tried],
                    concurrency=concurrency,
                    shares=shares,
                )
            if taken:
                queues = [queue_name(EXPAND, name, priority) for name in taken]
                at_once = WALKS_AT_ONCE if priority is Priority.TRANSACTIONAL else 1
                yield build(queues=queues, concurrency=at_once * len(taken))

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

    async def _watch_backlog(self) -> None:
        while True:
            await self._backlog.look()
            try:
                await self._lost.look()
            except ApiError as error:
                self._outages.note(error, doing="read the queue")
            await asyncio.sleep(LAG_INTERVAL_S)
