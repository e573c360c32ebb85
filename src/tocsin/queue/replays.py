"""What a dead letter becomes when it goes back to work. Part of the queue room.

It must not talk to any engine.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tocsin.core.accounts import Change, replayed
from tocsin.core.dead_letters import Mend
from tocsin.core.push import Payload
from tocsin.protocol.job_codec import (
    Undecodable,
    encode_job,
    encode_payload,
    parse_dead_job,
    parse_payload,
    refresh,
)


@dataclass(frozen=True, slots=True)
class ReplayedWork:
    """The entry, and the payload that it needs, with the push id of both.

    `change` is that of the account under this push id.
    """

    push_id: str
    job: bytes
    payload: bytes
    change: Change | None = None


def find_work(
    letter: bytes, raw: bytes, payload: bytes, *, push_id: str, mend: Mend | None
) -> ReplayedWork | None:
    """The work of a letter as the engine keeps it, or `None` if it cannot be mended."""
    job = parse_dead_job(letter)
    if job is None:
        # What could not be read goes back as it came: this release may read it.
        return ReplayedWork(push_id, raw, payload) if mend is None else None
    job = refresh(job)
    if mend is None:
        return ReplayedWork(push_id, encode_job(job), payload, replayed(job))
    if job.provider != mend.provider:
        return None
    try:
        kept = parse_payload(payload)
    except Undecodable:
        kept = Payload(push_id, "", "", {})
    mended = mend.apply(kept, push_id)
    job = replace(job, push_id=mended.push_id)
    return ReplayedWork(
        mended.push_id, encode_job(job), encode_payload(mended), replayed(job)
    )
