"""The account of a send: what became of each of its recipients. Pure, no I/O.

`matched` is what its walks have found so far; each of these is in one part, or open.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from tocsin.core.push import Expand, ExpandJob, Job, SendJob


class Part(StrEnum):
    """The ways in which a recipient can end; the names that users see."""

    DELIVERED = "delivered"
    """The provider took the push."""
    UNCONFIRMED = "unconfirmed"
    """It may have been sent: an answer never came, and no further try was made."""
    REMOVED = "removed"
    """The provider called the token dead or wrong; a device was removed or marked."""
    EXPIRED = "expired"
    """`expire_at` came first."""
    CANCELLED = "cancelled"
    """Taken back before it was due."""
    DROPPED = "dropped"
    """Left out by a rule of the send: a rate limit, or a device without timezone."""
    ONLINE = "online"
    """Reached through a channel instead."""
    DEAD = "dead_lettered"
    """In the dead letters, until they are replayed."""


AGAIN = "!"
"""Ends the name of a unit that came back from the dead letters."""

FIRST = "first"
"""The generation of the work that a send is accepted with, whoever queues it."""

Counts = Mapping[Part, int]
NOTHING: Counts = MappingProxyType({})


class WalkEnd(StrEnum):
    """How a walk ends whose recipients were not all read."""

    EXPIRED = "expired"
    CANCELLED = "cancelled"
    DEAD = "dead_lettered"


@dataclass(frozen=True, slots=True)
class WalkPage:
    """A page of a walk: its recipients are one unit of the account.

    They are the devices after `start` up to `until`, both ids; an empty `until` is the
    end of the filter. `left` says whether the walk goes on after it.
    """

    unit: str
    matched: int
    start: str
    until: str
    left: bool


@dataclass(slots=True)
class Unit:
    """Recipients that can be sent again together: a page of a walk, or a first batch.

    `parts` are those of its recipients that have ended while others are open.
    """

    open: int = 0
    start: str = ""
    until: str = ""
    parts: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Walk:
    """Where a walk goes on: after the device `cursor`, up to `until` or the end."""

    page: int = 0
    cursor: str = ""
    until: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """What one step of the queue changes in an account.

    `open` and `matched` are differences. `walk` names the walk that moves on to
    `goes_on`, or ends where that is `None`: as `walk_ends` says, if it is set.
    """

    unit: str = ""
    open: int = 0
    start: str = ""
    until: str = ""
    matched: int = 0
    parts: Counts = field(default_factory=lambda: NOTHING)
    walk: str = ""
    goes_on: Walk | None = None
    walk_ends: WalkEnd | None = None
    walks_ended: int = 1


@dataclass(slots=True)
class Account:
    """What became of a send's recipients, as one queue has counted it.

    `generation` names this count: work that is queued anew after a loss is counted
    anew. `version` rises with each change. `ended` says that no work is left in the
    queue; `unread` counts its entries that went to the dead letters unread.
    """

    generation: str = ""
    version: int = 0
    matched: int = 0
    parts: Counter[str] = field(default_factory=Counter)
    units: dict[str, Unit] = field(default_factory=dict)
    walks: dict[str, Walk] = field(default_factory=dict)
    walk_ends: Counter[str] = field(default_factory=Counter)
    unread: int = 0
    ended: bool = False

    @property
    def open(self) -> int:
        """Recipients that have not ended."""
        return sum(unit.open for unit in self.units.values())

    @property
    def is_planned(self) -> bool:
        """Whether it is a plan to queue work again that no queue has told of yet."""
        return not (self.version or self.ended)

    def apply(self, change: Change) -> None:
        """Make one change."""
        self.version += 1
        self.matched += change.matched
        unit = None
        if change.unit:
            unit = self.units.setdefault(change.unit, Unit())
            unit.open += change.open
            if change.matched:
                unit.start, unit.until = change.start, change.until
        for part, count in change.parts.items():
            self.parts[part.value] += count
            if unit is not None:
                unit.parts[part.value] += count
        if unit is not None and not unit.open:
            del self.units[change.unit]
        if change.walk:
            if change.goes_on is not None:
                self.walks[change.walk] = change.goes_on
            else:
                self.walks.pop(change.walk, None)
            if change.walk_ends is not None:
                self.walk_ends[change.walk_ends.value] += change.walks_ended

    def add(self, other: Account) -> None:
        """Add the numbers of another count, which has nothing open any more."""
        self.matched += other.matched
        self.parts.update(other.parts)
        self.walk_ends.update(other.walk_ends)
        self.unread += other.unread

    def find_fault(self) -> str:
        """Why the account does not close, or empty."""
        told = sum(self.parts.values())
        if self.matched != told + self.open:
            return (
                f"{self.matched} matched, but {told} ended and {self.open} are open:"
                f" {self.matched - told - self.open} are not accounted for"
            )
        names = [name for name, count in self.parts.items() if count < 0]
        names += [name for name, unit in self.units.items() if unit.open < 0]
        if names:
            return f"below zero: {', '.join(sorted(names))}"
        if self.ended and self.open:
            return f"no work is left in the queue, but {self.open} are open"
        if self.ended and self.walks:
            left = ", ".join(sorted(self.walks))
            return f"no work is left in the queue, but walks have not ended: {left}"
        return ""

    def checkpoint(self) -> Account:
        """What is to be queued again if the queue has lost all of it.

        A unit that is open is sent as a whole: which of its recipients have ended is
        not kept. So its ended ones are taken out of the numbers.
        """
        kept = Account(self.generation, self.version)
        kept.add(self)
        for name, unit in self.units.items():
            kept.parts.subtract(unit.parts)
            kept.matched -= unit.open + sum(unit.parts.values())
            kept.units[name] = Unit(unit.open, unit.start, unit.until)
        kept.parts = Counter({part: n for part, n in kept.parts.items() if n})
        kept.walks = dict(self.walks)
        return kept


def is_kept(jobs: Sequence[Job]) -> bool:
    """Whether these jobs count in an account; those of older releases do not."""
    return any(job.unit for job in jobs)


def first_account(jobs: Sequence[Job], generation: str) -> Account:
    """The account of a send whose first jobs these are, before any work on them."""
    account = Account(generation, version=1)
    for job in jobs:
        if not job.unit:
            continue
        if isinstance(job, SendJob):
            size = len(job.work.recipients)
            account.matched += size
            account.units.setdefault(job.unit, Unit()).open += size
        else:
            account.walks[job.unit] = _walk_of(job.work)
    account.ended = not jobs
    return account


def cancelled_account(jobs: Sequence[Job], generation: str) -> Account:
    """The account of a send, or of the rest of one, that was taken back unqueued."""
    account = first_account(jobs, generation)
    for job in jobs:
        if (change := cancelled(job)) is not None:
            account.apply(change)
    account.ended = True
    return account


def expired_account(jobs: Sequence[Job]) -> Account:
    """The account of a send that expired before it was queued."""
    account = first_account(jobs, "")
    account.parts[Part.EXPIRED.value] = account.matched
    account.walk_ends[WalkEnd.EXPIRED.value] = len(account.walks)
    account.units, account.walks, account.ended = {}, {}, True
    return account


def settled(
    job: Job,
    follow: Iterable[Job],
    *,
    ended: Counts,
    page: WalkPage | None,
    is_dead: bool,
) -> Change | None:
    """The change that a settlement makes, or `None` for a job without an account.

    `ended` are recipients of this job, those in dead letters too. `page` is what a
    walk has found; without it a walk that nothing follows ends, dead or expired.
    """
    if not job.unit:
        return None
    if isinstance(job, SendJob):
        return Change(job.unit, open=-sum(ended.values()), parts=ended)
    going = [each for each in follow if isinstance(each, ExpandJob)]
    walk = _walk_of(going[0].work) if going else None
    if page is None:
        how = None if going else (WalkEnd.DEAD if is_dead else WalkEnd.EXPIRED)
        return Change(walk=job.unit, goes_on=walk, walk_ends=how)
    return Change(
        page.unit if page.matched else "",
        open=page.matched - sum(ended.values()),
        start=page.start,
        until=page.until,
        matched=page.matched,
        parts=ended,
        walk=job.unit,
        goes_on=walk,
    )


def cancelled(job: Job) -> Change | None:
    """The change when a job is taken back before it began."""
    if not job.unit:
        return None
    if isinstance(job, SendJob):
        size = len(job.work.recipients)
        return Change(job.unit, open=-size, parts={Part.CANCELLED: size})
    return Change(walk=job.unit, walk_ends=WalkEnd.CANCELLED)


def replayed(job: Job) -> Change | None:
    """The change when a dead letter goes back to work."""
    if not job.unit:
        return None
    if isinstance(job, SendJob):
        size = len(job.work.recipients)
        return Change(job.unit, open=size, parts={Part.DEAD: -size})
    return Change(
        walk=job.unit,
        goes_on=_walk_of(job.work),
        walk_ends=WalkEnd.DEAD,
        walks_ended=-1,
    )


def recorded(done: bytes, size: int) -> Counter[Part]:
    """How the recipients ended that a progress record names; see `Delivery.done`."""
    gone, length = removed_half(done, size), (size + 7) // 8
    ended = int.from_bytes(done[:length], "little").bit_count()
    removed = int.from_bytes(gone, "little").bit_count()
    counts = Counter({Part.DELIVERED: ended - removed, Part.REMOVED: removed})
    return +counts


def removed_half(done: bytes, size: int) -> bytes:
    """The second half of a progress record; empty where an older release wrote it."""
    length = (size + 7) // 8
    return done[length : 2 * length]


def encode_account(account: Account) -> str:
    """The account as JSON; what is empty is left out."""
    return json.dumps(account_data(account), separators=(",", ":"))


def parse_account(text: str | bytes) -> Account:
    """The account in this JSON."""
    return account_of(json.loads(text))


def account_data(account: Account) -> dict[str, Any]:
    """The account as plain values for JSON."""
    shown: dict[str, Any] = {
        "generation": account.generation,
        "version": account.version,
        "matched": account.matched,
        "parts": _some(account.parts),
        "units": {
            name: [unit.open, unit.start, unit.until, _some(unit.parts)]
            for name, unit in account.units.items()
        },
        "walks": {
            name: [walk.page, walk.cursor, walk.until]
            for name, walk in account.walks.items()
        },
        "walk_ends": _some(account.walk_ends),
        "unread": account.unread,
        "ended": account.ended,
    }
    return {key: value for key, value in shown.items() if value}


def account_of(data: Mapping[str, Any]) -> Account:
    """The account in these values of `account_data`."""
    return Account(
        data.get("generation", ""),
        data.get("version", 0),
        data.get("matched", 0),
        Counter(data.get("parts", {})),
        {
            name: Unit(open, start, until, Counter(parts))
            for name, (open, start, until, parts) in data.get("units", {}).items()
        },
        {name: Walk(*walk) for name, walk in data.get("walks", {}).items()},
        Counter(data.get("walk_ends", {})),
        data.get("unread", 0),
        data.get("ended", False),
    )


def _walk_of(work: Expand) -> Walk:
    return Walk(work.page, work.cursor, work.until)


def _some(counts: Mapping[str, int]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count}
