"""Tells callers what became of each recipient, before the queue forgets it.

It decides nothing. What was answered, or has ended, is in the registry before the queue
is told: a crash between the two repeats an event, and loses none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence

from tocsin.core.errors import ApiError
from tocsin.core.outcome import Outcome, Result, Verdict
from tocsin.core.ports.clock import Clock
from tocsin.core.ports.results import ResultStore
from tocsin.core.push import Job, Payload, SendJob
from tocsin.core.results import (
    RECIPIENT,
    ResultClass,
    ResultEvent,
    hash_target,
    sent_at_ms,
)
from tocsin.delivery.outages import Outages
from tocsin.delivery.reports import EXPIRED, ONLINE
from tocsin.delivery.run import FINAL, Run
from tocsin.telemetry.metrics import Metrics

FollowUps = Iterable[tuple[Job, int]]
DeadEnds = Iterable[tuple[Job, str]]

_NOTHING: Mapping[str, Sequence[int]] = {}
_RETRY_S = 0.5
_FINAL = {
    Verdict.DELIVERED: ResultClass.DELIVERED,
    Verdict.UNREGISTERED: ResultClass.REMOVED,
}


class ResultLog:
    """Writes an event for each recipient; with `retries` also for each try that failed.

    All calls wait until the registry has the events, however long it is away: sending
    waits with them.
    """

    def __init__(
        self,
        store: ResultStore,
        *,
        clock: Clock,
        metrics: Metrics,
        outages: Outages | None = None,
        retries: bool = False,
    ) -> None:
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._outages = outages or Outages()
        self._retries = retries

    async def answered(self, taken: Iterable[tuple[Run, Sequence[Result]]]) -> None:
        """New answers of providers, of which those that end a recipient are told."""
        await self._write(
            [
                _event(run.job, run.payload, index, _FINAL[outcome.verdict], result)
                for run, results in taken
                for result in results
                for index, outcome, _ in (result,)
                if outcome.verdict in FINAL and index not in run.held
            ]
        )

    async def ended(
        self,
        payload: Payload | None,
        run: Run | None,
        *,
        follow: FollowUps,
        dead: DeadEnds,
        dropped: Mapping[str, Sequence[int]] = _NOTHING,
    ) -> None:
        """A batch is about to be settled: what ends of it without an answer."""
        if run is None:
            events = list(self._buried(payload, dead))
        else:
            events = list(self._rest(run, follow, dead, dropped))
        await self._write(events)

    async def left_out(
        self,
        job: SendJob,
        payload: Payload,
        dropped: Mapping[str, Sequence[int]],
        spared: Sequence[int],
    ) -> None:
        """Recipients of a page that are in no batch."""
        now_ms = self._clock.now_ms()
        events = list(_dropped(job, payload, dropped, now_ms))
        gone = Outcome(Verdict.REJECTED, ONLINE)
        events += [
            _event(job, payload, index, ResultClass.ONLINE, (index, gone, now_ms))
            for index in spared
        ]
        await self._write(events)

    async def _write(self, events: Sequence[ResultEvent]) -> None:
        while events:
            try:
                await self._store.add(events)
            except ApiError as error:
                self._outages.note(error, doing="keep results")
                await asyncio.sleep(_RETRY_S)
            else:
                break
        for event in events:
            self._metrics.push_results.add(1, event.detail, event.outcome)

    def _buried(self, payload: Payload | None, dead: DeadEnds) -> Iterator[ResultEvent]:
        """Of jobs that nothing was tried of; walks have no recipients yet."""
        now_ms = self._clock.now_ms()
        for job, reason in dead:
            if isinstance(job, SendJob):
                outcome = Outcome(Verdict.REJECTED, code_of(reason))
                for index in range(len(job.work.recipients)):
                    result = (index, outcome, now_ms)
                    yield _event(
                        job, payload, index, ResultClass.DEAD_LETTERED, result, tried=0
                    )

    def _rest(
        self,
        run: Run,
        follow: FollowUps,
        dead: DeadEnds,
        dropped: Mapping[str, Sequence[int]],
    ) -> Iterator[ResultEvent]:
        """What becomes of those that no answer has ended, each by elimination."""
        job, payload, now_ms = run.job, run.payload, self._clock.now_ms()
        answers = {result[0]: result for result in run.results}
        buried = {
            target: reason
            for part, reason in dead
            if isinstance(part, SendJob)
            for target in part.work.recipients.targets
        }
        going = {
            target: part.attempt
            for part, _ in follow
            if isinstance(part, SendJob)
            for target in part.work.recipients.targets
        }
        left_out = {index for indexes in dropped.values() for index in indexes}
        yield from _dropped(job, payload, dropped, now_ms)
        for index in run.recipients.undone(run.delivery.done):
            answer = answers.get(index)
            if index in left_out or _is_told(run, answer):
                continue
            target = run.recipients.targets[index]
            if target in buried:
                code = code_of(buried[target])
                found = answer or (index, Outcome(Verdict.REJECTED, code), now_ms)
                kind = ResultClass.DEAD_LETTERED
            elif target in going:
                if not (self._retries and answer and going[target] > job.attempt):
                    continue
                found, kind = answer, ResultClass.RETRY
            elif answer is None:
                found = (index, Outcome(Verdict.RETRY, EXPIRED), now_ms)
                kind = ResultClass.EXPIRED
            elif answer[1].verdict is Verdict.SUSPECT:
                found, kind = answer, ResultClass.REMOVED
            else:
                found = answer
                unsure = answer[1].maybe_sent
                kind = ResultClass.UNCONFIRMED if unsure else ResultClass.EXPIRED
            tried = None if answer else 0
            yield _event(job, payload, index, kind, found, tried=tried)


def code_of(reason: str) -> str:
    """The stable word of a dead letter's reason."""
    for start, code in _REASONS.items():
        if reason.startswith(start):
            return code
    first, _, rest = reason.partition(":")
    if first == _EXHAUSTED:
        return code_of(rest.strip())
    return first if first.replace("_", "").isalnum() else "other"


_EXHAUSTED = "retries exhausted"
_REASONS = {
    "the payload is not stored any more": "payload_lost",
    "handed out ": "poison",
}
"""Reasons in words of our own that do not begin with a code."""


def _is_told(run: Run, answer: Result | None) -> bool:
    """Whether `answered` had it."""
    if answer is None:
        return False
    index, outcome, _ = answer
    return outcome.verdict in FINAL and index not in run.held


def _dropped(
    job: SendJob,
    payload: Payload,
    dropped: Mapping[str, Sequence[int]],
    now_ms: int,
) -> Iterator[ResultEvent]:
    for code, indexes in dropped.items():
        kind = ResultClass.EXPIRED if code == EXPIRED else ResultClass.DROPPED
        outcome = Outcome(Verdict.REJECTED, code)
        for index in indexes:
            yield _event(job, payload, index, kind, (index, outcome, now_ms), tried=0)


def _event(
    job: SendJob,
    payload: Payload | None,
    index: int,
    kind: ResultClass,
    result: Result,
    *,
    tried: int | None = None,
) -> ResultEvent:
    _, outcome, at_ms = result
    recipients = job.work.recipients
    ids, users = recipients.device_ids, recipients.users
    return ResultEvent(
        RECIPIENT,
        kind.value,
        job.push_id,
        uid="" if payload is None else payload.uid,
        analytics_uid="" if payload is None else payload.analytics_uid,
        provider=job.provider,
        integration=job.credential,
        device_id=ids[index] if ids else "",
        user=users[index] if users else "",
        target_sha256="" if ids else hash_target(recipients.targets[index]),
        code=outcome.code,
        provider_code=outcome.provider_code,
        message_id=outcome.message_id,
        unique_id=outcome.unique_id,
        attempt=job.attempt + 1 if tried is None else tried,
        accepted_at_ms=sent_at_ms(job.push_id),
        answered_at_ms=at_ms,
    )
