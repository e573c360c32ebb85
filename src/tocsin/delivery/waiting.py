"""What waits for a credential: no attempt is used up, and it does not wait for ever.

Pure: a job in, the job that waits or the reason of its end out.
"""

from __future__ import annotations

from dataclasses import replace

from tocsin.core.breaker import BREAKER_OPEN, Breaker
from tocsin.core.push import ExpandJob, SendJob

_WORDS = "waited longer than retry.max_wait"


def wait_for_credential(
    job: SendJob,
    breaker: Breaker | None,
    *,
    now_ms: int,
    due_ms: int,
    max_wait_s: float,
) -> SendJob | str:
    """The batch that waits until `due_ms`, or why it ends in the dead letters.

    Before its first failed try a job notes in `first_try_at_ms` since when it waits.
    Later that is the time of its first try, and is moved on: waiting does not use up
    the age of the tries.
    """
    if job.attempt:
        since_ms = now_ms if breaker is None else breaker.opened_at_ms
        first_try_ms = (job.first_try_at_ms or now_ms) + max(0, due_ms - now_ms)
    else:
        since_ms = first_try_ms = job.first_try_at_ms or now_ms
    if is_over(since_ms, now_ms, max_wait_s):
        return give_up_reason(breaker)
    return replace(job, first_try_at_ms=first_try_ms)


def wait_with_walk(
    job: ExpandJob, breaker: Breaker, *, now_ms: int, max_wait_s: float
) -> ExpandJob | str:
    """The same for a walk, which makes no batches while their credential waits."""
    if job.work.online is not None:
        # There `first_try_at_ms` is about the channel engine.
        since_ms = max(breaker.opened_at_ms, job.accepted_at_ms)
        return give_up_reason(breaker) if is_over(since_ms, now_ms, max_wait_s) else job
    since_ms = job.first_try_at_ms or now_ms
    if is_over(since_ms, now_ms, max_wait_s):
        return give_up_reason(breaker)
    return replace(job, first_try_at_ms=since_ms)


def first_try_ms(job: SendJob, now_ms: int) -> int:
    """When the tries of a batch began: now, unless one has failed before."""
    return (job.first_try_at_ms or now_ms) if job.attempt else now_ms


def is_over(since_ms: int, now_ms: int, max_wait_s: float) -> bool:
    """Whether something has waited too long."""
    return now_ms - since_ms > int(max_wait_s * 1000)


def give_up_reason(breaker: Breaker | None) -> str:
    """Why it ends; the same for all that waited for one fault."""
    if breaker is None:
        return f"{BREAKER_OPEN}: {_WORDS}"
    return f"{BREAKER_OPEN}: {breaker.code}: {_WORDS}; {breaker.detail}".rstrip("; ")
