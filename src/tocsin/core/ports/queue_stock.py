"""All that a queue keeps, for moving it into another engine."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tocsin.core.accounts import Account, Change


@dataclass(frozen=True, slots=True)
class Stored:
    """A queue entry as another engine takes it over: bytes, not nouns.

    `id` names it in the engine that it leaves. `due_ms` is Unix milliseconds, 0
    for now. `scheduled_uid` is the uid under which it can be cancelled, or empty.
    `ended` is what becomes of recipients that were left out of the job, since their
    result was recorded.
    """

    id: str
    queue: str
    push_id: str
    job: bytes
    due_ms: int = 0
    scheduled_uid: str = ""
    ended: Change | None = None


@dataclass(frozen=True, slots=True)
class StoredLetter:
    """A dead letter as another engine takes it over."""

    id: str
    queue: str
    push_id: str
    letter: bytes
    raw: bytes
    payload: bytes

    @property
    def digest(self) -> str:
        """What names it in every engine: no two letters hold the same."""
        held = hashlib.sha256()
        for part in (self.queue.encode(), self.push_id.encode(), self.letter, self.raw):
            held.update(b"%d:" % len(part) + part)
        return held.hexdigest()


class LetterShelf(Protocol):
    """The dead letters of a queue as they are kept, for whoever copies them."""

    async def fetch(self, *, after: str, limit: int) -> list[StoredLetter]:
        """Some letters in the order of their ids, after this one."""
        ...

    async def put_back(self, letters: Sequence[StoredLetter]) -> None:
        """Keep these too, under ids of the queue's own; their accounts stay as is."""
        ...


class LetterCopies(Protocol):
    """Copies of the queue's dead letters in another store, by digest."""

    async def add(self, letters: Sequence[StoredLetter]) -> None:
        """Keep copies of these; one that is there already stays."""
        ...

    async def fetch(self, *, after: str, limit: int) -> dict[str, StoredLetter]:
        """Some copies by digest, in the order of digests, after this one."""
        ...

    async def list_digests(self, *, after: str, limit: int) -> list[str]:
        """Digests alone, in order, after this one."""
        ...

    async def remove(self, digests: Collection[str]) -> None:
        """Forget these copies."""
        ...


class QueueStock(Protocol):
    """All that a queue keeps, for moving it into another engine.

    The queue that gives must have no worker meanwhile. Every step can be repeated.
    """

    async def origin(self) -> str:
        """The name of this queue, made once and never given to another."""
        ...

    async def count_held(self) -> int:
        """Entries in the hands of a worker that is alive."""
        ...

    async def fetch_entries(
        self, *, limit: int
    ) -> tuple[list[Stored], dict[str, bytes]]:
        """Some entries that no living worker holds, and payloads by push id.

        Recipients whose result was recorded are left out of the job.
        """
        ...

    async def fetch_letters(self, *, limit: int) -> list[StoredLetter]:
        """Some dead letters, oldest first."""
        ...

    async def fetch_accounts(self, push_ids: Collection[str]) -> dict[str, Account]:
        """The accounts of these sends; those of older releases have none."""
        ...

    async def take_in(
        self,
        entries: Sequence[Stored],
        payloads: Mapping[str, bytes],
        letters: Sequence[StoredLetter] = (),
        *,
        origin: str,
        accounts: Mapping[str, Account] | None = None,
    ) -> None:
        """Store each of these in an atomic step; the backlog limit does not count.

        The first entry of a send brings its account. Entries of a send whose account
        here is of another generation are left out: it was queued again meanwhile.

        What was taken in from this `origin` under the same id before is left out,
        so that a move that broke off can begin anew.
        """
        ...

    async def give_up(
        self, entries: Sequence[Stored], letters: Sequence[StoredLetter] = ()
    ) -> None:
        """Forget what another engine has now.

        Payload and account of a send go with its last entry.
        """
        ...
