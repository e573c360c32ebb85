"""The audit log: who asked for which change, and what came of it. Part of `admin`.

It decides nothing about the call itself, and keeps no payload and no token.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias

import structlog

from tocsin.admin.actor import Actor
from tocsin.core.errors import ApiError, BadRequest, InternalError, NotAvailable
from tocsin.core.ports.audit import AuditEntry, AuditFilter, AuditStore
from tocsin.core.ports.clock import Clock
from tocsin.push import checks

DONE = "done"
SHOWN_VALUES = 20
"""Values of one list that an entry names; the number of the others follows."""
SHOWN_CHARACTERS = 256
MAX_PAGE = 1000
DEFAULT_PAGE = 100

Subject: TypeAlias = Mapping[str, str | int | bool | Sequence[str]]
"""What a call was about, by the names of its fields; empty values are left out."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Changes:
    """What a call changed; its service counts as it goes, so that a crash tells too."""

    count: int = 0


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Some entries, newest first, and the cursor to go on from."""

    items: list[AuditEntry]
    next_cursor: str = ""


class AuditTrail:
    """Writes an entry for each call that changes something, and reads them.

    `store` is `None` without a database: then the log lines are all there is.
    """

    def __init__(self, store: AuditStore | None, *, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    @asynccontextmanager
    async def entry(
        self, actor: Actor, method: str, subject: Subject
    ) -> AsyncIterator[Changes]:
        """Around a call. An error of the call passes, and is its result.

        The entry is kept before the call begins, so that one that breaks off half-way
        is known. A store that is away keeps no operator from working: the log line
        says the same.
        """
        text = _describe(subject)
        entry = AuditEntry(
            "",
            self._clock.now_ms(),
            actor.name,
            actor.address,
            actor.door,
            method,
            text,
        )
        id = await self._begin(entry)
        outcome = Changes()
        result = "broke off"
        try:
            yield outcome
            result = DONE
        except ApiError as error:
            result = error.message
            raise
        finally:
            _log.info(
                "administrative call",
                actor=actor.name,
                address=actor.address,
                door=actor.door,
                method=method,
                subject=text,
                count=outcome.count,
                result=result,
            )
            await self._end(id, outcome.count, result)

    async def page(
        self, chosen: AuditFilter, *, cursor: str = "", limit: int = 0
    ) -> AuditPage:
        """Entries that fit, newest first; `limit` 0 is 100, and 1,000 are the most."""
        if limit < 0:
            raise BadRequest("limit", "must not be negative")
        for name in ("since_ms", "until_ms"):
            if getattr(chosen, name) < 0:
                raise BadRequest(name, "must not be negative")
        checks.check_texts("actors", chosen.actors, checks.NAME_LENGTH)
        checks.check_texts("methods", chosen.methods, checks.NAME_LENGTH)
        if self._store is None:
            raise NotAvailable(
                "no database is configured: administrative calls are in the log alone"
            )
        wanted = min(limit or DEFAULT_PAGE, MAX_PAGE)
        try:
            found = await self._store.fetch_page(
                chosen, limit=wanted + 1, before=cursor
            )
        except BadRequest as error:
            raise BadRequest("cursor", error.reason) from None
        items = found[:wanted]
        return AuditPage(items, items[-1].id if len(found) > wanted else "")

    async def prune(self, older_than_s: float) -> int:
        """Forget entries older than this; returns how many."""
        if self._store is None:
            return 0
        return await self._store.prune(self._clock.now_ms() - int(older_than_s * 1000))

    async def _begin(self, entry: AuditEntry) -> str:
        if self._store is None:
            return ""
        try:
            return await self._store.begin(entry)
        except InternalError as error:
            _log.error(
                "audit log cannot be written; the log lines are all there is of this"
                " call",
                method=entry.method,
                error=error.message,
                reason=error.reason,
            )
            return ""

    async def _end(self, id: str, count: int, result: str) -> None:
        if self._store is None or not id:
            return
        try:
            await self._store.end(id, count=count, result=result)
        except InternalError as error:
            _log.error(
                "audit log cannot be written; the entry stays without its result",
                entry=id,
                error=error.message,
                reason=error.reason,
            )


def _describe(subject: Subject) -> str:
    shown: dict[str, object] = {}
    for name, value in subject.items():
        if not value:
            continue
        if isinstance(value, str | int):
            shown[name] = _cut(value)
            continue
        shown[name] = [_cut(each) for each in value[:SHOWN_VALUES]]
        if (more := len(value) - SHOWN_VALUES) > 0:
            shown[f"{name}_more"] = more
    return json.dumps(shown, ensure_ascii=False)


def _cut(value: str | int) -> str | int:
    return value[:SHOWN_CHARACTERS] if isinstance(value, str) else value
