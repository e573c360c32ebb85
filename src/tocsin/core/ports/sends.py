"""Ports of what is kept of accepted sends: uids, results, and marks of the queue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tocsin.core.outcome import Result
from tocsin.core.push import Payload, SendJob


@dataclass(frozen=True, slots=True)
class UidClaim:
    """The send that owns a uid. `accepted` means that its work is already queued.

    `epoch` names the queue's data that has the work; empty if that is not known.
    """

    push_id: str
    accepted: bool
    epoch: str = ""


UID_TAKEN = "uid: was used for a send with other content"
"""The text of the `Conflict` that every store raises for a uid."""


class UidStore(Protocol):
    """Remembers the uid of accepted sends, so that a repeat queues nothing."""

    async def claim(
        self, uid: str, *, fingerprint: bytes, push_id: str, ttl_s: float
    ) -> UidClaim:
        """Take the uid, or return the claim that exists.

        Of two first claims at once exactly one wins; both get its `push_id`. With
        `ttl_s` 0 a first claim expires at once, which asks without taking.
        Raises `Conflict(UID_TAKEN)` when the fingerprint differs.
        """
        ...

    async def confirm(self, uid: str, *, epoch: str = "") -> None:
        """Mark the claim as accepted; called after the work was queued.

        `epoch` names the data of the queue that has it.
        """
        ...

    async def purge_expired(self, *, limit: int) -> int:
        """Forget uids over their ttl; returns how many (0 where it is automatic)."""
        ...


@dataclass(frozen=True, slots=True)
class QueueMark:
    """What is remembered of the queue's data of one epoch.

    `accepted` is a `QueuePosition.reached` that was certainly reached. `lost` says what
    was last found lost, at `lost_at_ms` (Unix milliseconds, 0 for never).
    """

    epoch: str
    accepted: int = 0
    lost_at_ms: int = 0
    lost: str = ""


@dataclass(frozen=True, slots=True)
class Entered:
    """The mark of data that was found, and what follows from it.

    `is_loss`: other data with accepted work was at its place before, and this caller is
    the first to find out. `is_moved`: this data is new, and other data is known.
    """

    mark: QueueMark
    is_loss: bool
    is_moved: bool


LOSS_TOLD_ONCE_MS = 60_000
"""Processes that find the same loss within this time tell it once."""


class QueueMarkStore(Protocol):
    """Remembers the queue's data in another store, so that a loss shows."""

    async def fetch(self, epoch: str) -> QueueMark | None:
        """The mark of this epoch, or `None`."""
        ...

    async def enter(
        self,
        epoch: str,
        place: str,
        *,
        lost: str,
        now_ms: int,
        before: str = "",
        had_work: bool = False,
    ) -> Entered:
        """Note that data of this name was found at this place.

        Other data at the place is marked as replaced; not, however, data from before
        the queue moved to another place, unless it is `before`, which the caller itself
        has seen. Where replaced data had accepted work, by its mark or because the
        caller `had_work` in it, `lost` is noted in the new mark. Of several callers at
        once one is told of the loss.
        """
        ...

    async def advance(self, epoch: str, accepted: int, *, now_ms: int) -> None:
        """Raise the mark to this number, never lower it."""
        ...

    async def report_loss(
        self, epoch: str, *, reached: int, lost: str, now_ms: int
    ) -> bool:
        """The data is only at `reached`: lower the mark to that, and note the loss.

        `False` when somebody else noted a loss within `LOSS_TOLD_ONCE_MS`; that note
        stands then. Lowering a mark always moves its time on: a mark that is lower at
        the same time as before shows that the marks themselves went back.
        """
        ...

    async def is_replaced(self, epoch: str) -> bool:
        """Whether other data has come in its place; `False` for an unknown epoch."""
        ...


class ResultSink(Protocol):
    """Hears every result (analytics, the demo's summary). Must not block."""

    def record(self, job: SendJob, payload: Payload, results: Sequence[Result]) -> None:
        """Results of one batch."""
        ...
