"""What a worker reports of its work: metrics, analytics rows, and log lines.

It decides nothing, and writes no token or payload into a line. `Reports` is about
recipients, `EventLog` about whole sends, `LostJobs` about jobs that left the hands of
this worker.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum

import structlog

from tocsin.core.analytics import SendEvent, event_row
from tocsin.core.errors import ApiError
from tocsin.core.outcome import Outcome, Result, Verdict
from tocsin.core.ports.analytics import RowSink
from tocsin.core.ports.clock import Clock
from tocsin.core.ports.queue import Delivery, JobConsumer
from tocsin.core.ports.sends import ResultSink
from tocsin.core.push import Job, Payload, SendJob
from tocsin.delivery.run import Run
from tocsin.telemetry.metrics import Metrics

EXPIRED = "expired"
ONLINE = "online"
"""The code in analytics of a recipient that a channel reached without a push."""

Fields = dict[str, object]

_NONE: Mapping[str, Sequence[int]] = {}

_log = structlog.get_logger(__name__)


class Reports:
    """Counts recipients as they end, and tells the sinks; a walk counts as one."""

    def __init__(
        self, metrics: Metrics, clock: Clock, sinks: Sequence[ResultSink] = ()
    ) -> None:
        self._metrics = metrics
        self._clock = clock
        self._sinks = sinks

    def results(
        self, job: SendJob, payload: Payload, results: Sequence[Result]
    ) -> None:
        """Count answers of a provider and hand them to the sinks; each answer once."""
        self._count(job, results)
        for sink in self._sinks:
            sink.record(job, payload, results)

    def count_ends(self, run: Run) -> None:
        """Count retries and expiries of `plan`; called once the batch is settled."""
        for code, count in (run.retried + run.too_late).items():
            self._metrics.push_retries.add(count, run.job.provider, code)
        if expired := run.expired + run.too_late.total():
            self.expire(run.job, expired)

    def expire(self, job: Job, count: int) -> None:
        """Count recipients whose time ran out before they could be sent."""
        self._metrics.push_notifications.add(
            count, job.provider, job.recipient_type.value, "", "false", "expired"
        )

    def bury(self, job: Job, reason: str, uid: str) -> None:
        """Count and log a job that ended in the dead letters; a walk counts as one."""
        size = count_recipients(job)
        self._metrics.push_dead_letters.add(size, job.provider, reason.split(":")[0])
        _log.error(
            "recipients ended in the dead letters; see `tocsin queue dead`",
            **job_fields(job, uid),
            recipients=size,
            reason=reason,
        )

    def drop(
        self, job: SendJob, payload: Payload, indexes: Sequence[int], code: str
    ) -> None:
        """Count recipients of a batch that its request asked to leave out."""
        now_ms = self._clock.now_ms()
        outcome = Outcome(Verdict.REJECTED, code)
        results = [(index, outcome, now_ms) for index in indexes]
        self.results(job, payload, results)

    def spare(self, job: SendJob, payload: Payload, indexes: Sequence[int]) -> None:
        """Count recipients of a batch whose user was reached in a channel.

        That is no failure, so it has a counter of its own; sinks hear `online`.
        """
        now_ms = self._clock.now_ms()
        platforms = job.work.recipients.platforms
        for platform, count in Counter(platforms[i] for i in indexes).items():
            self._metrics.push_online_skipped.add(count, job.provider, platform)
        outcome = Outcome(Verdict.REJECTED, ONLINE)
        for sink in self._sinks:
            sink.record(job, payload, [(i, outcome, now_ms) for i in indexes])

    def _count(self, job: SendJob, results: Sequence[Result]) -> None:
        platforms = job.work.recipients.platforms
        counts: Counter[tuple[str, bool, str]] = Counter(
            (
                platforms[index] if platforms else "",
                outcome.verdict is Verdict.DELIVERED,
                outcome.code,
            )
            for index, outcome, _ in results
        )
        for (platform, success, code), count in counts.items():
            self._metrics.push_notifications.add(
                count,
                job.provider,
                job.recipient_type.value,
                platform,
                "true" if success else "false",
                code,
            )


class EventLog:
    """Rows about sends; without a sink nothing is kept."""

    def __init__(self, rows: RowSink | None, clock: Clock) -> None:
        self._rows = rows
        self._clock = clock

    @property
    def is_on(self) -> bool:
        """Whether rows are kept, so that a payload is worth a look-up."""
        return self._rows is not None

    def tell(
        self,
        event: SendEvent,
        job: Job,
        payload: Payload | None,
        *,
        due_ms: int = 0,
        reason: str = "",
    ) -> None:
        """Add a row, which is stored soon; a full buffer drops and counts it."""
        if self._rows is None or payload is None:
            return
        self._rows.add(
            event_row(
                event,
                payload.analytics_uid or payload.uid,
                at_ms=self._clock.now_ms(),
                due_ms=due_ms,
                provider=job.provider,
                type=job.recipient_type.value,
                reason=reason,
            )
        )


class Whereabouts(StrEnum):
    """What became of a job that this worker lost; also the `reason` of the metric."""

    TAKEN_OVER = "taken_over"
    GONE = "gone"
    DATA_LOST = "data_lost"
    UNKNOWN = "unknown"


_WORDS = {
    Whereabouts.TAKEN_OVER: "job was taken over by another worker while this one was at"
    " work on it",
    Whereabouts.GONE: "job left the queue while this worker was at work on it: another"
    " worker ended it, or an earlier try whose answer was lost, or somebody deleted it",
    Whereabouts.DATA_LOST: "the queue lost its data, and this job with it: what was not"
    " sent of it is lost",
    Whereabouts.UNKNOWN: "job is not in this worker's hands any more, and the queue"
    " cannot be asked why",
}


class LostJobs:
    """Finds out what became of jobs that this worker had in hand and lost.

    For that it remembers of each job the epoch of the queue's data it came from.
    """

    def __init__(self, queue: JobConsumer, metrics: Metrics) -> None:
        self._queue = queue
        self._metrics = metrics
        self._epoch = ""
        self._epochs: dict[str, str] = {}
        self._found: dict[str, Whereabouts] = {}

    async def look(self) -> None:
        """Ask which data the queue holds; raises `ApiError` while it is away."""
        self._epoch = epoch = (await self._queue.position()).epoch
        # Jobs that came before the first look have no epoch yet; it is taken to be
        # the one that the queue has now.
        for receipt, known in self._epochs.items():
            self._epochs[receipt] = known or epoch

    def begin(self, delivery: Delivery) -> None:
        """A job came into the hands of this worker."""
        self._epochs[delivery.receipt] = self._epoch

    def end(self, delivery: Delivery) -> None:
        """Its work has ended, whichever way."""
        self._epochs.pop(delivery.receipt, None)
        self._found.pop(delivery.receipt, None)

    async def find(self, deliveries: Sequence[Delivery]) -> dict[str, Whereabouts]:
        """Where these went, by receipt; to be asked as soon as they are lost."""
        try:
            queued = await self._queue.find_queued(deliveries)
            epoch = (await self._queue.position()).epoch
        except ApiError:
            return {}
        found: dict[str, Whereabouts] = {}
        for delivery in deliveries:
            before = self._epochs.get(delivery.receipt, "")
            if delivery.receipt in queued:
                where = Whereabouts.TAKEN_OVER
            elif before and before != epoch:
                where = Whereabouts.DATA_LOST
            else:
                where = Whereabouts.GONE
            found[delivery.receipt] = where
        # Nobody asks about a job that has ended meanwhile: it would stay here for ever.
        self._found.update(
            {receipt: found[receipt] for receipt in found if receipt in self._epochs}
        )
        return found

    async def tell(self, delivery: Delivery, *, unsent: int | None = None) -> None:
        """Say once what happened to a job that could not be settled here."""
        where = self._found.get(delivery.receipt)
        if where is None:
            found = await self.find([delivery])
            where = found.get(delivery.receipt, Whereabouts.UNKNOWN)
        job = delivery.job
        self._metrics.push_lost_jobs.add(1, job.provider, where.value)
        log = _log.error if where is Whereabouts.DATA_LOST else _log.warning
        more: dict[str, object] = {} if unsent is None else {"unsent": unsent}
        log(
            _WORDS[where],
            push_id=job.push_id,
            job_id=job.id,
            queue=job.queue,
            recipients=count_recipients(job),
            reason=where.value,
            **more,
        )


def job_fields(job: Job, uid: str) -> Fields:
    """The ids by which a send is followed, and where this job of it goes."""
    return {
        "uid": uid,
        "push_id": job.push_id,
        "request_id": job.correlation_id,
        "job_id": job.id,
        "provider": job.provider,
        "integration": job.credential,
        "attempt": job.attempt,
    }


def count_recipients(job: Job) -> int:
    """How many a batch has; a walk counts as one."""
    return len(job.work.recipients) if isinstance(job, SendJob) else 1


def settled_line(
    job: Job,
    payload: Payload | None,
    run: Run | None,
    *,
    follow: Sequence[tuple[Job, int]],
    dead: Sequence[tuple[Job, str]],
    dropped: Mapping[str, Sequence[int]] = _NONE,
) -> Fields:
    """What became of every recipient of a batch, each counted once.

    `failed` and `retried` are numbers by code. Of `failed`, `dead` are in the dead
    letters and the device of `removed` is removed. `put_back` return to the queue
    untried, and `done_before` were sent by a worker that had the batch earlier; both
    are left out when zero. The argument `dropped` has indexes by code, of recipients
    that the limits of the request leave out.
    """
    retried: Counter[str] = Counter()
    delivered = removed = done_before = 0
    failed = Counter({code: len(indexes) for code, indexes in dropped.items()})
    if run is not None:
        retried, removed = run.retried, run.removed
        done_before = run.done_before
        codes = Counter(
            "" if outcome.verdict is Verdict.DELIVERED else outcome.code
            for _, outcome, _ in run.results
        )
        delivered = codes.pop("", 0)
        failed += codes - retried - run.too_late
        if expired := run.expired + run.too_late.total():
            failed[EXPIRED] += expired
    if run is None or not run.results:  # nothing was tried: the letters tell why
        for part, reason in dead:
            failed[reason.partition(":")[0]] += count_recipients(part)
    fields = job_fields(job, "" if payload is None else payload.uid)
    fields |= {
        "recipients": count_recipients(job),
        "delivered": delivered,
        "failed": dict(failed),
        "retried": dict(retried),
        "removed": removed,
        "dead": sum(count_recipients(part) for part, _ in dead),
    }
    put_back = sum(count_recipients(part) for part, _ in follow) - retried.total()
    if put_back:
        fields["put_back"] = put_back
    if done_before:
        fields["done_before"] = done_before
    return fields


async def find_uid(queue: JobConsumer, push_id: str) -> str:
    """The uid in the stored payload, or empty if that cannot be read.

    It costs a round trip, so it is only for jobs that end without having been sent.
    """
    try:
        payload = await queue.fetch_payload(push_id)
    except ApiError:
        return ""
    return "" if payload is None else payload.uid
