"""What a dead letter becomes when it goes back to work. Part of the queue room.

It must not talk to any engine.
"""

from __future__ import annotations

from dataclasses import dataclass

from tocsin.core.accounts import Change, replayed
from tocsin.core.dead_letters import Mend
from tocsin.core.push import Body, Job
from tocsin.protocol.job_codec import (
    Undecodable,
    encode_job,
    parse_dead_job,
    parse_payload,
    refresh,
)


@dataclass(frozen=True, slots=True)
class ReplayedWork:
    """The entry that comes into the queue, and how the account of its send changes.

    What was tried before is fresh again, so it goes into `queue`.
    """

    queue: str
    job: bytes
    change: Change | None = None


def find_work(
    letter: bytes, raw: bytes, payload: bytes, *, queue: str, mend: Mend | None
) -> ReplayedWork | None:
    """The work of a letter as the engine keeps it, or `None` if it cannot be mended."""
    job = parse_dead_job(letter)
    if job is None:
        # What could not be read goes back as it came: this release may read it.
        return ReplayedWork(queue, raw) if mend is None else None
    job = refresh(job)
    if mend is not None:
        if job.provider != mend.provider:
            return None
        job = mend.apply(job, find_body(job, payload))
    return ReplayedWork(job.queue, encode_job(job), replayed(job))


def find_body(job: Job, payload: bytes) -> Body | None:
    """What a letter's job was sent with, if that can be read."""
    try:
        return job.body or parse_payload(payload).bodies.get(job.provider)
    except Undecodable:
        return None
