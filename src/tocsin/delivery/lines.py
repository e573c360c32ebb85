"""Delivery room: what the log says of a job that has ended, as plain fields.

It writes nothing and decides nothing; tokens and payloads do not get in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from tocsin.core.errors import ApiError
from tocsin.core.outcome import Verdict
from tocsin.core.ports.queue import JobConsumer
from tocsin.core.push import Job, Payload, SendJob
from tocsin.delivery.run import Run

EXPIRED = "expired"

Fields = dict[str, object]

_NONE: Mapping[str, Sequence[int]] = {}


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

    `failed` and `retried` are code to count. `dead` are those of `failed` that are
    in the dead letters, `removed` those whose device is removed. `put_back` go to
    the queue untried, and `done_before` were sent by the worker that had the batch
    before; both stand there only where there are some. `dropped` are indexes by
    code that the request itself asked to leave out.
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
    """The uid in the stored payload, empty where it cannot be read.

    It costs a round trip: for jobs that end without having been sent.
    """
    try:
        payload = await queue.fetch_payload(push_id)
    except ApiError:
        return ""
    return "" if payload is None else payload.uid
