"""What became of a send or of one recipient, as its caller is told it. Pure.

An event never holds a token or a payload. `docs/reference/results.md` says what each
field and each outcome means.
"""

from __future__ import annotations

import hashlib
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from tocsin.core.accounts import Account, Part
from tocsin.core.send_log import Progress

RECIPIENT, SEND = "recipient", "send"
DETAILS = (SEND, RECIPIENT)
"""What an event can be about."""


class ResultClass(StrEnum):
    """The outcomes of an event; the names that callers see."""

    DELIVERED = Part.DELIVERED.value
    UNCONFIRMED = Part.UNCONFIRMED.value
    REMOVED = Part.REMOVED.value
    EXPIRED = Part.EXPIRED.value
    CANCELLED = Part.CANCELLED.value
    DROPPED = Part.DROPPED.value
    ONLINE = Part.ONLINE.value
    DEAD_LETTERED = Part.DEAD.value
    RETRY = "retry"
    """Tried, and tried again later: no end."""
    FINISHED = Progress.FINISHED.value
    """Of a whole send: all of it has ended."""


OUTCOMES = frozenset(each.value for each in ResultClass)


@dataclass(frozen=True, slots=True)
class ResultEvent:
    """One event. Times are Unix milliseconds, 0 for none; texts are empty for none.

    `target_sha256` stands for a raw recipient, which has no `device_id`: the SHA-256 of
    the token in hex. `attempt` counts from 1, 0 where nothing was tried. `counts` has
    the numbers of a whole send by outcome. The store gives `position` and
    `recorded_at_ms`.
    """

    detail: str
    outcome: str
    push_id: str
    uid: str = ""
    analytics_uid: str = ""
    provider: str = ""
    integration: str = ""
    device_id: str = ""
    user: str = ""
    target_sha256: str = ""
    code: str = ""
    provider_code: str = ""
    message_id: str = ""
    unique_id: str = ""
    attempt: int = 0
    accepted_at_ms: int = 0
    answered_at_ms: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    position: int = 0
    recorded_at_ms: int = 0


@dataclass(frozen=True, slots=True)
class ResultFilter:
    """Which events are meant: any of each list, all lists together."""

    uids: Sequence[str] = ()
    outcomes: Sequence[str] = ()
    providers: Sequence[str] = ()
    details: Sequence[str] = ()

    def fits(self, event: ResultEvent) -> bool:
        """Whether this event is meant."""
        return (
            (not self.uids or event.uid in self.uids)
            and (not self.outcomes or event.outcome in self.outcomes)
            and (not self.providers or event.provider in self.providers)
            and (not self.details or event.detail in self.details)
        )


def hash_target(target: str) -> str:
    """What stands for a token in an event."""
    return hashlib.sha256(target.encode("utf-8", "surrogateescape")).hexdigest()


def sent_at_ms(push_id: str) -> int:
    """When a send was accepted, by its id; 0 for an id that does not tell."""
    try:
        value = uuid.UUID(push_id)
    except ValueError:
        return 0
    return value.int >> 80 if value.version == 7 else 0


def end_of_send(
    push_id: str,
    account: Account,
    progress: Progress,
    *,
    uid: str,
    analytics_uid: str,
    at_ms: int,
) -> ResultEvent:
    """The event of a send that is over; `account` is that of all its generations."""
    counts = Counter({part: n for part, n in account.parts.items() if n})
    counts["matched"] = account.matched
    return ResultEvent(
        SEND,
        progress.value,
        push_id,
        uid=uid,
        analytics_uid=analytics_uid,
        accepted_at_ms=sent_at_ms(push_id),
        answered_at_ms=at_ms,
        counts=dict(counts),
    )
