"""Stage two: hands one batch to its provider and settles it.

It decides nothing about results; that is `settlement.py`.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import structlog

from tocsin.core.analytics import BREAKER, RATE, WINDOW, SendEvent
from tocsin.core.errors import ApiError
from tocsin.core.outcome import Outcome, Verdict
from tocsin.core.ports.clock import Clock
from tocsin.core.ports.providers import Batch, PushProvider, Report
from tocsin.core.ports.queue import Delivery, JobConsumer, RateLimiter
from tocsin.core.push import Body, Payload, SendJob, TargetKind, Templating
from tocsin.core.templates import TemplateFault
from tocsin.delivery.accounting import ended_in_batch, rest_of
from tocsin.delivery.body_trials import BodyTrial
from tocsin.delivery.breakers import Permit
from tocsin.delivery.credentials import CredentialState
from tocsin.delivery.limits import BatchLimits, MemoryRateLimiter
from tocsin.delivery.outages import Outages
from tocsin.delivery.rendering import BodyRenderer, RenderFault
from tocsin.delivery.reports import EventLog, LostJobs, settled_line
from tocsin.delivery.run import Journal, Run, RunPace
from tocsin.delivery.settlement import (
    DeadEnd,
    FollowUp,
    Settlement,
    no_integration,
)
from tocsin.delivery.shares import CredentialShares
from tocsin.delivery.tracing import send_traced
from tocsin.telemetry.metrics import Metrics
from tocsin.telemetry.spans import Tracer

KEPT_PAYLOADS = 64
"""Requests whose payload, and whose compiled bodies, stay in memory. The batches of
a broadcast come one after the other, so a few are enough."""
RENDERED_PER_TURN = 100
"""Bodies rendered before other tasks have a turn: rendering never waits by itself."""
SETTLE_RETRY_S = 0.5

_NOTHING: Mapping[str, Sequence[int]] = {}

_log = structlog.get_logger(__name__)


class Dispatcher:
    """Works on `Send` deliveries of all providers of this worker."""

    def __init__(
        self,
        *,
        queue: JobConsumer,
        providers: Mapping[str, PushProvider],
        journal: Journal,
        settlement: Settlement,
        clock: Clock,
        metrics: Metrics,
        validate_only: bool = False,
        limiter: RateLimiter | None = None,
        events: EventLog | None = None,
        outages: Outages | None = None,
        lost: LostJobs | None = None,
        shares: CredentialShares | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self._tracer = tracer
        self._shares = shares
        self._lost = lost or LostJobs(queue, metrics)
        self._outages = outages = outages or Outages()
        self._queue = queue
        self._events = events or EventLog(None, clock)
        self._providers = providers
        self._journal = journal
        self._settlement = settlement
        self._breakers = settlement.breakers
        self._trials = settlement.trials
        self._reports = settlement.reports
        self._clock = clock
        self._metrics = metrics
        self._validate_only = validate_only
        self._limits = BatchLimits(
            limiter=limiter or MemoryRateLimiter(clock),
            settlement=settlement,
            clock=clock,
            metrics=metrics,
            outages=outages,
        )
        self._payloads: OrderedDict[str, Payload] = OrderedDict()
        self._renderers: OrderedDict[tuple[str, str], BodyRenderer] = OrderedDict()
        self._runs: dict[str, Run] = {}
        self._stopping = False

    def stop(self) -> None:
        """Start no further request; runs end with what is in flight."""
        self._stopping = True
        for run in self._runs.values():
            run.stopped = True
        self._journal.wake_waiters()

    @property
    def idle(self) -> bool:
        """Whether no batch is under way."""
        return not self._runs

    def lose(self, delivery: Delivery) -> None:
        """Another worker has this delivery now: start no further request of it."""
        delivery.lost = True
        self._journal.wake_waiters()

    def renew(self) -> None:
        """Holds were renewed: wake the runs that waited for theirs."""
        self._journal.wake_waiters()

    async def work_on(self, delivery: Delivery, job: SendJob) -> None:
        """Send one batch and settle it, or leave it to the worker that has it now."""
        payload = await self._fetch_payload(job.push_id)
        if job.credential not in self._providers:
            await self._bury(delivery, payload, no_integration(job))
            return
        if payload is None:
            await self._bury(delivery, None, "the payload is not stored any more")
            return
        run = Run(delivery, job, payload, self._clock.now_ms())
        credential = run.credential = self._settlement.credential(job)
        if job.expire_at_ms and self._clock.now_ms() >= job.expire_at_ms:
            run.expired = len(run.pending)
            if await self._end(delivery, payload, [], [], run=run):
                self._events.tell(SendEvent.EXPIRED, job, payload)
            return
        if (halt := await self._trials.find_halt(job)) is not None:
            await self._bury(delivery, payload, halt.reason())
            return
        if self._breakers.must_wait(credential):
            await self._postpone(run, credential)
            return
        if await self._hold_back(run):
            return
        permit = await self._breakers.ask(credential)
        if permit is Permit.WAIT:
            await self._postpone(run, credential)
            return
        run.is_probe = permit is Permit.PROBE
        await self._send(run, credential)

    async def _hold_back(self, run: Run) -> bool:
        """Whether limits split the batch up, so that nothing of it is sent now."""
        payload = run.payload
        if payload.window is None and payload.rate is None:
            return False
        held = await self._limits.hold_back(run)
        if held is None:
            return False
        if await self._end(
            run.delivery, payload, held.follow, [], run=run, dropped=held.dropped
        ):
            for code, indexes in held.dropped.items():
                self._reports.drop(run.job, payload, indexes, code)
            if held.follow:
                self._tell_waiting(run, held.follow)
        return True

    def _tell_waiting(self, run: Run, follow: Sequence[FollowUp]) -> None:
        due_ms = max(due_ms for _, due_ms in follow)
        if due_ms:
            payload = run.payload
            reason = RATE if payload.rate is not None else WINDOW
            self._events.tell(
                SendEvent.WAITING, run.job, payload, due_ms=due_ms, reason=reason
            )

    async def _send(self, run: Run, credential: CredentialState) -> None:
        job = run.job
        provider = self._providers[job.credential]
        # `stop` reaches only runs that are registered; this one may come after it.
        run.stopped = self._stopping
        self._runs[run.delivery.receipt] = run
        try:
            report = self._journal.reporter(run)
            batch = Batch(
                body=job.body or run.payload.bodies[job.provider],
                kind=job.work.kind,
                targets=run.recipients.targets,
                # A probe asks for one recipient: any, since one may have a fault of its
                # own.
                pending=[random.choice(run.pending)]  # noqa: S311 - hides nothing
                if run.is_probe and run.pending
                else run.pending,
                deadline_ms=job.expire_at_ms,
                validate_only=self._validate_only,
                priority=job.priority,
            )
            if (templating := run.payload.templating) is not None:
                batch = await self._render(run, templating, batch, report)
            run.trial = self._trial_of(run, batch)
            pace = RunPace(run, self._journal, credential, self._clock)
            try:
                if self._tracer is None:
                    await provider.send(batch, report, pace)
                else:
                    await send_traced(self._tracer, provider, batch, report, pace)
            finally:
                await self._end_trial(run, pace)
            # From here on the journal leaves the run alone: settling records it.
            run.complete = True
            # Taken in before `_conclude` plans, which needs to know which verdicts are
            # believed and whether the credential is paused.
            await self._settlement.take_in([run])
            if run.is_probe:
                answer = run.results[-1][1] if run.results else None
                await self._breakers.end_probe(credential, answer)
            await self._conclude(run)
        finally:
            run.complete = True
            self._journal.release(run)
            # A lost delivery may have come back, with a new run under its receipt.
            if self._runs.get(run.delivery.receipt) is run:
                del self._runs[run.delivery.receipt]

    def _trial_of(self, run: Run, batch: Batch) -> BodyTrial | None:
        """The trial of the body, where all recipients of the send get the same one."""
        if batch.bodies is not None or batch.kind is not TargetKind.TOKEN:
            return None
        trial = self._trials.of(run.job)
        trial.proven = trial.proven or run.done_before > 0
        return trial

    async def _end_trial(self, run: Run, pace: RunPace) -> None:
        trial = run.trial
        if trial is None:
            return
        trial.end(pace.started_on_trial - len(run.results))
        if trial.halt is not None:
            await self._trials.share(trial, run.job, run.payload)

    async def _render(
        self, run: Run, templating: Templating, batch: Batch, report: Report
    ) -> Batch:
        """The batch with a body for each pending recipient that can have one."""
        try:
            renderer = self._renderer(run.job, templating, batch.body)
        except TemplateFault as fault:
            # Templates are checked when a send is accepted. One that fails here was
            # accepted by a newer release, which knows more of the language.
            outcome = Outcome(Verdict.REJECTED, "template_failed", fault.reason)
            for index in batch.pending:
                report(index, outcome)
            return replace(batch, pending=())
        if renderer.is_constant:
            return batch
        bodies = [batch.body] * len(batch.targets)
        pending: list[int] = []
        for number, index in enumerate(batch.pending, start=1):
            if not number % RENDERED_PER_TURN:
                await asyncio.sleep(0)  # others have work too
            try:
                bodies[index] = renderer.render(run.recipients[index])
            except RenderFault as fault:
                report(index, Outcome(Verdict.REJECTED, "template_failed", str(fault)))
            else:
                pending.append(index)
        return replace(batch, pending=pending, bodies=bodies)

    def _renderer(
        self, job: SendJob, templating: Templating, body: Body
    ) -> BodyRenderer:
        key = (job.body_key, job.provider)
        renderer = self._renderers.get(key)
        if renderer is None:
            renderer = self._renderers[key] = BodyRenderer(body, templating)
            if len(self._renderers) > KEPT_PAYLOADS:
                self._renderers.popitem(last=False)
        return renderer

    async def _conclude(self, run: Run) -> None:
        if run.lost:
            await self._lost.tell(run.delivery, unsent=len(run.unsent()))
            return
        job, unsent = run.job, []
        if job.expire_at_ms and self._clock.now_ms() >= job.expire_at_ms:
            unsent = run.unsent()
            run.expired += len(unsent)
            # No longer pending, so that `plan` does not put them back into the queue.
            late = set(unsent)
            run.pending = [index for index in run.pending if index not in late]
        follow, dead = self._settlement.plan(run)
        if await self._end(run.delivery, run.payload, follow, dead, run=run) and unsent:
            self._events.tell(SendEvent.EXPIRED, job, run.payload)

    async def _postpone(self, run: Run, credential: CredentialState) -> None:
        """Put the batch back until the credential's pause ends; that is no attempt."""
        follow, dead = self._settlement.postpone(run, credential)
        breaker = credential.breaker
        if self._shares is not None and breaker and not breaker.needs_probe:
            # In line after the pause, since all at once would only bring the next one.
            follow = [
                (job, self._shares.put_off(run.job, until_ms=due_ms))
                for job, due_ms in follow
            ]
        done = await self._end(
            run.delivery, run.payload, follow, dead, run=run, level=logging.DEBUG
        )
        # Once, not each time that it is looked at again.
        if done and follow and not run.job.first_try_at_ms:
            self._events.tell(
                SendEvent.WAITING,
                run.job,
                run.payload,
                due_ms=follow[0][1],
                reason=BREAKER,
            )

    async def _bury(
        self, delivery: Delivery, payload: Payload | None, reason: str
    ) -> None:
        """Put into the dead letters what an earlier holder has left of the batch."""
        rest = rest_of(delivery)
        await self._end(delivery, payload, [], [(rest, reason)] if rest else [])

    async def _end(
        self,
        delivery: Delivery,
        payload: Payload | None,
        follow: list[FollowUp],
        dead: list[DeadEnd],
        *,
        run: Run | None = None,
        dropped: Mapping[str, Sequence[int]] = _NOTHING,
        level: int = logging.INFO,
    ) -> bool:
        """Settle the delivery, then count and log what became of it.

        `False` means that another worker settled it: nothing was written here, so
        nothing is counted or reported.
        """
        results = self._settlement.results
        if results is not None and not delivery.lost:
            await results.ended(payload, run, follow=follow, dead=dead, dropped=dropped)
        # Settled before it is counted: a crash in between leaves a count too low. In
        # the other order another worker would send the same again and count it twice.
        if not await self._settle(delivery, follow, dead, run, dropped):
            await self._lost.tell(delivery)
            return False
        if run is not None:
            self._reports.count_ends(run)
        for job, reason in dead:
            self._reports.bury(job, reason, "" if payload is None else payload.uid)
        if _log.is_enabled_for(level):
            fields = settled_line(
                delivery.job, payload, run, follow=follow, dead=dead, dropped=dropped
            )
            _log.log(level, "batch settled", **fields)
        return True

    async def _settle(
        self,
        delivery: Delivery,
        follow: list[FollowUp],
        dead: list[DeadEnd],
        run: Run | None,
        dropped: Mapping[str, Sequence[int]],
    ) -> bool:
        """Settle, however long the queue is away; `False` if another worker has it."""
        job = delivery.job
        assert isinstance(job, SendJob)  # noqa: S101 - stage two has no other jobs
        ended = ended_in_batch(
            delivery,
            job,
            run,
            follow=[each for each, _ in follow],
            dead=[each for each, _ in dead],
            dropped=dropped,
        )
        while True:
            try:
                return await self._queue.settle(
                    delivery, follow=follow, dead=dead, ended=ended
                )
            except ApiError as error:
                if delivery.lost:
                    return False
                self._outages.note(error, doing="settle batches")
                await asyncio.sleep(SETTLE_RETRY_S)

    async def _fetch_payload(self, push_id: str) -> Payload | None:
        payload = self._payloads.get(push_id)
        if payload is None:
            payload = await self._queue.fetch_payload(push_id)
            if payload is not None:
                self._payloads[push_id] = payload
                if len(self._payloads) > KEPT_PAYLOADS:
                    self._payloads.popitem(last=False)
        return payload
