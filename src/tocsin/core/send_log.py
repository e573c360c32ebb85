"""A send as the log keeps it: what was accepted, and what became of it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from tocsin.core.accounts import Account, Part, WalkEnd
from tocsin.core.push import Job, Payload


class Progress(StrEnum):
    """How far a send has come; the words that users see as its state."""

    ACCEPTED = "accepted"
    SCHEDULED = "scheduled"
    """Its work is due later."""
    SENDING = "sending"
    FINISHED = "finished"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    """Its time ran out before anything of it was sent."""
    REFUSED = "refused"
    """Its caller was told an error: it is not sent, unless the call is repeated."""

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self not in _OPEN


_OPEN = frozenset({Progress.ACCEPTED, Progress.SCHEDULED, Progress.SENDING})


@dataclass(frozen=True, slots=True)
class SendRecord:
    """A send in the log. Times are Unix milliseconds, 0 for none.

    `epoch` names the queue's data that got the work. `accounts` has the numbers of each
    generation, see `Account.generation`; work that is queued again starts another one.
    """

    push_id: str
    uid: str
    analytics_uid: str = ""
    correlation_id: str = ""
    trace_id: str = ""
    recipient: str = ""
    priority: str = ""
    progress: Progress = Progress.ACCEPTED
    accepted_at_ms: int = 0
    due_at_ms: int = 0
    expire_at_ms: int = 0
    ended_at_ms: int = 0
    epoch: str = ""
    repairs: int = 0
    note: str = ""
    accounts: Mapping[str, Account] = field(default_factory=dict)

    @property
    def account(self) -> Account:
        """The numbers of all generations together."""
        return sum_of(self.accounts.values(), ended=self.progress.is_over)


@dataclass(frozen=True, slots=True)
class Accepting:
    """A send that is to be accepted: its record, and the work it is made of."""

    record: SendRecord
    payload: Payload
    jobs: Sequence[Job]
    fingerprint: bytes | None = None
    """Of a send whose caller gave the uid: it is claimed for `uid_ttl_s` seconds."""
    uid_ttl_s: float = 0


@dataclass(frozen=True, slots=True)
class Taken:
    """What the log answers to an `Accepting`.

    `push_id` is that of the send that has the uid, which is another one where `is_new`
    is not set. Its `progress` is `None` where the log has no row of it: an older
    release accepted it, or the row is gone. `epoch` is that of the claim, `accepted`
    whether its work was queued.
    """

    push_id: str
    is_new: bool
    progress: Progress | None
    accepted: bool = True
    epoch: str = ""


def sum_of(accounts: Iterable[Account], *, ended: bool) -> Account:
    """All generations as one account, named by none."""
    whole = Account(ended=ended)
    for account in accounts:
        whole.add(account)
        whole.version += account.version
        whole.units.update(account.units)
        whole.walks.update(account.walks)
    whole.parts = Counter({part: n for part, n in whole.parts.items() if n})
    whole.walk_ends = Counter({end: n for end, n in whole.walk_ends.items() if n})
    return whole


def progress_of(accounts: Mapping[str, Account], *, due_later: bool) -> Progress:
    """How far a send has come by its accounts."""
    if any(not account.ended for account in accounts.values()):
        whole = sum_of(accounts.values(), ended=False)
        has_begun = bool(whole.parts or (whole.matched and whole.walks))
        if has_begun or not due_later:
            return Progress.SENDING
        return Progress.SCHEDULED
    whole = sum_of(accounts.values(), ended=True)
    for part, end, progress in (
        (Part.CANCELLED, WalkEnd.CANCELLED, Progress.CANCELLED),
        (Part.EXPIRED, WalkEnd.EXPIRED, Progress.EXPIRED),
    ):
        only_parts = set(whole.parts) <= {part.value}
        only_ends = set(whole.walk_ends) <= {end.value}
        if (whole.parts or whole.walk_ends) and only_parts and only_ends:
            return progress
    return Progress.FINISHED
