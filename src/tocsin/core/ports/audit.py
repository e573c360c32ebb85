"""What the registry keeps of administrative calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

UNENDED = ""
"""The result of a call that has not ended, or whose process did not live to say so."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One call: who asked for what, from where, and what came of it.

    `subject` is JSON: the ids or the filter that was given. `count` is how many things
    changed. `result` is `done`, the text of an error, or `UNENDED`. `at_ms` is when it
    began, in Unix milliseconds. Ids rise with time.
    """

    id: str
    at_ms: int
    actor: str
    address: str
    door: str
    method: str
    subject: str
    count: int = 0
    result: str = UNENDED


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries are meant: any of each list, all together; as `LetterFilter`."""

    actors: Sequence[str] = ()
    methods: Sequence[str] = ()
    since_ms: int = 0
    until_ms: int = 0


class AuditStore(Protocol):
    """Entries are only added, ended once, and pruned by age."""

    async def begin(self, entry: AuditEntry) -> str:
        """Keep a call that begins; returns its id, whatever the entry says."""
        ...

    async def end(self, id: str, *, count: int, result: str) -> None:
        """Say what came of it; a second end, or that of an unknown id, does nothing."""
        ...

    async def fetch_page(
        self, chosen: AuditFilter, *, limit: int, before: str = ""
    ) -> list[AuditEntry]:
        """Entries that fit, newest first, older than the one with the id `before`.

        Raises `BadRequest` for a `before` that is no id.
        """
        ...

    async def prune(self, before_ms: int) -> int:
        """Forget calls that began before this; returns how many."""
        ...
