"""Finds out early that a provider refuses the body of a send, and stops that send.

A body is on trial until the first recipient got it: few requests are under way, and
the first few refusals stop the walk and every batch, in all workers. It decides
nothing about recipients; that is `settlement.py`.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping

import structlog

from tocsin.core.breaker import (
    HALT_KEPT_MS,
    BodyHalt,
    body_name,
    read_halt,
)
from tocsin.core.errors import ApiError
from tocsin.core.outcome import Outcome, Verdict
from tocsin.core.ports.breakers import BreakerStore
from tocsin.core.ports.clock import Clock
from tocsin.core.push import Job, Payload
from tocsin.delivery.outages import Outages
from tocsin.telemetry.metrics import Metrics

REFUSALS = 5
"""Answers that refuse the body, with nothing delivered, after which a send is stopped.
One answer may stand for all recipients of a request."""
FIRST_REQUESTS = 8
"""Requests of a send under way at once until it is known what comes of the first."""
WIDENED_BY = 2
"""... and so many more for each answer that says nothing against the body."""
KEPT_TRIALS = 512
"""Sends of which a worker remembers whether their body was taken."""
PATIENCE_S = 3.0

_log = structlog.get_logger(__name__)


class BodyTrial:
    """What this worker was answered to one body at one provider."""

    __slots__ = ("_last", "_refused", "_room", "halt", "in_flight", "name", "proven")

    def __init__(self, name: str) -> None:
        self.name = name
        self.proven = False
        self.halt: BodyHalt | None = None
        self.in_flight = 0
        self._room = FIRST_REQUESTS
        self._refused = 0
        self._last: Outcome | None = None

    def has_room(self) -> bool:
        """Whether one more request may start."""
        return self.proven or self.in_flight < self._room

    def note(self, outcome: Outcome, now_ms: int) -> None:
        """Take one answer in; there is nothing to note once the body is proven."""
        if self.in_flight:
            self.in_flight -= 1
        if outcome.verdict is Verdict.DELIVERED:
            self.proven = True
        elif not outcome.of_body:
            self._room += WIDENED_BY
        # The recipients of one request share one answer.
        elif outcome is not self._last:
            self._last = outcome
            self._refused += 1
            if self._refused >= REFUSALS and self.halt is None:
                self.halt = BodyHalt(outcome.code, outcome.detail, now_ms)

    def end(self, unanswered: int) -> None:
        """A run has ended, with so many of its requests never answered."""
        self.in_flight = max(0, self.in_flight - unanswered)


class BodyTrials:
    """The trials of one worker, and the sends that any worker has stopped."""

    def __init__(
        self,
        store: BreakerStore,
        *,
        clock: Clock,
        metrics: Metrics,
        outages: Outages | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._outages = outages or Outages()
        self._trials: OrderedDict[str, BodyTrial] = OrderedDict()
        self._halts: dict[str, str] = {}

    def of(self, job: Job) -> BodyTrial:
        """The trial of a job's body."""
        name = _name(job)
        trial = self._trials.get(name)
        if trial is None:
            trial = self._trials[name] = BodyTrial(name)
            if len(self._trials) > KEPT_TRIALS:
                self._trials.popitem(last=False)
        return trial

    def learn(self, texts: Mapping[str, str]) -> None:
        """All that stands in the store now."""
        self._halts = {
            name: text for name, text in texts.items() if read_halt(text) is not None
        }

    async def find_halt(self, job: Job) -> BodyHalt | None:
        """Why a job that is not begun yet must end; asks the store only if it may be.

        So that a replay begins anew at once, wherever it is handed out.
        """
        name = _name(job)
        if name not in self._halts:
            return None
        try:
            async with asyncio.timeout(PATIENCE_S):
                self.learn(await self._store.fetch())
                return await self._keep(name)
        except (ApiError, TimeoutError):
            return read_halt(self._halts.get(name, ""))

    async def share(self, trial: BodyTrial, job: Job, payload: Payload) -> None:
        """Stop the send in all workers; of those who find the same one tells."""
        halt = trial.halt
        # Whoever meets the body again, after a replay, tries it anew.
        self._trials.pop(trial.name, None)
        if halt is None:
            return
        try:
            async with asyncio.timeout(PATIENCE_S):
                is_first = await self._stop(trial.name, halt)
        except (ApiError, TimeoutError) as error:
            if isinstance(error, ApiError):
                self._outages.note(error, doing="stop a send whose body is refused")
            is_first = trial.name not in self._halts
            self._halts[trial.name] = halt.to_text()
        if not is_first:
            return
        self._metrics.push_halted_sends.add(1, job.provider, halt.code)
        _log.error(
            "the provider refuses the body of a send, so it is stopped; what is left of"
            " it is in the dead letters, to be mended and replayed",
            uid=payload.uid,
            push_id=job.push_id,
            request_id=job.correlation_id,
            provider=job.provider,
            integration=job.credential,
            code=halt.code,
            detail=halt.detail,
        )

    async def _stop(self, name: str, halt: BodyHalt) -> bool:
        """Whether this is the first that stops it."""
        text = halt.to_text()
        is_first = await self._store.swap(name, None, text)
        if not is_first:
            stands = (await self._store.fetch()).get(name, "")
            known = read_halt(stands)
            if known is None or self._is_over(known):
                is_first = await self._store.swap(name, stands or None, text)
        self._halts[name] = text
        return is_first

    def _is_over(self, halt: BodyHalt) -> bool:
        return self._clock.now_ms() - halt.at_ms > HALT_KEPT_MS

    async def _keep(self, name: str) -> BodyHalt | None:
        """The halt that stands; it stands longer for those who still meet it."""
        text = self._halts.get(name)
        halt = None if text is None else read_halt(text)
        if text is None or halt is None:
            return None
        if self._is_over(halt):
            return None
        now_ms = self._clock.now_ms()
        if now_ms - halt.at_ms > HALT_KEPT_MS // 4:
            longer = BodyHalt(halt.code, halt.detail, now_ms)
            await self._store.swap(name, text, longer.to_text())
        return halt


def _name(job: Job) -> str:
    return body_name(job.body_key, job.provider, job.credential)
