"""A dead letter as operators see it, and which ones they mean. Pure values, no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from tocsin.core.breaker import BODY_REFUSED, BREAKER_OPEN
from tocsin.core.device import Detail
from tocsin.core.push import Body, DeadLetter, ExpandJob, Job, SendJob

EXHAUSTED = "retries exhausted"
POISON = "poison"

_WITH_CODE = frozenset({EXHAUSTED, BODY_REFUSED, BREAKER_OPEN})
_POISON_WORDS = "handed out "


def group_of(reason: str) -> str:
    """The part of a reason that letters with the same cause share.

    Behind it stands what one provider said to one batch. Of exhausted retries, and of
    what was stopped, the code stays: `retries exhausted: unavailable`.
    """
    if reason.startswith(_POISON_WORDS):
        return POISON
    head, _, rest = reason.partition(": ")
    if head in _WITH_CODE and rest:
        return f"{head}: {rest.partition(': ')[0]}"
    return head


@dataclass(frozen=True, slots=True)
class LetterHead:
    """What a dead letter tells without its recipients and its payload.

    `recipients` is 0 for a walk. `uid` is empty where it cannot be read. `at_ms` is
    when it died, in Unix milliseconds.
    """

    id: str
    reason: str
    at_ms: int
    push_id: str
    uid: str
    stage: str
    provider: str
    integration: str = ""
    attempt: int = 0
    recipients: int = 0

    @property
    def group(self) -> str:
        """The part of its reason that its group shares."""
        return group_of(self.reason)

    @property
    def credential(self) -> str:
        """The integration that it goes through, or the provider's own."""
        return self.integration or self.provider


def head_of(letter: DeadLetter) -> LetterHead:
    """What a whole letter tells in short."""
    job = letter.job
    return LetterHead(
        id=letter.id,
        reason=letter.reason,
        at_ms=letter.at_ms,
        push_id=job.push_id,
        uid=letter.uid,
        stage="send" if isinstance(job, SendJob) else "expand",
        provider=job.provider,
        integration=job.integration,
        attempt=job.attempt,
        recipients=len(job.work.recipients) if isinstance(job, SendJob) else 0,
    )


@dataclass(frozen=True, slots=True)
class Mend:
    """Another body for the letters of one provider.

    Where it has no headers, those of the letter's own body stay. `details` are the
    columns of a device that its templates use: a walk reads them.
    """

    provider: str
    body: Body
    details: frozenset[Detail] = frozenset()

    def apply(self, job: Job, before: Body | None) -> Job:
        """The job with this body; `before` is the one that it died of."""
        body = self.body
        if before is not None and not body.headers:
            body = replace(body, headers=before.headers)
        job = replace(job, body=body)
        if isinstance(job, ExpandJob):
            details = job.work.details | self.details
            job = replace(job, work=replace(job.work, details=details))
        return job


def place_of(id: str) -> tuple[int, ...]:
    """Where a letter stands among those of its queue, as a value that sorts."""
    return tuple(int(part) for part in id.split("-"))


@dataclass(frozen=True, slots=True)
class DeadStock:
    """How many dead letters are kept, and the ids of the first and the last of them.

    Two that are equal may hold other letters; but if none was added behind a known
    last one, and the number is the same, none has gone either.
    """

    count: int = 0
    first_id: str = ""
    last_id: str = ""


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """Which dead letters are meant: any of each list, all lists together.

    `since_ms` is inside, `until_ms` outside; 0 is no bound. Without anything it fits
    all letters.
    """

    reasons: Sequence[str] = ()
    providers: Sequence[str] = ()
    integrations: Sequence[str] = ()
    push_ids: Sequence[str] = ()
    uids: Sequence[str] = ()
    since_ms: int = 0
    until_ms: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether it fits every letter."""
        return not any(getattr(self, each.name) for each in fields(self))

    def fits(self, head: LetterHead) -> bool:
        """Whether this letter is meant."""
        if self.reasons and not self._fits_reason(head):
            return False
        pairs = (
            (self.providers, head.provider),
            (self.integrations, head.credential),
            (self.push_ids, head.push_id),
            (self.uids, head.uid),
        )
        if any(wanted and value not in wanted for wanted, value in pairs):
            return False
        if head.at_ms < self.since_ms:
            return False
        return not self.until_ms or head.at_ms < self.until_ms

    def _fits_reason(self, head: LetterHead) -> bool:
        group = head.group
        return group in self.reasons or group.partition(": ")[0] in self.reasons
