"""Finds dead letters that fit, page by page. Part of `admin`: it changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

from tocsin.admin.letter_choice import LetterChoice
from tocsin.core.dead_letters import LetterFilter, LetterHead, head_of, place_of
from tocsin.core.errors import BadRequest, NotAvailable
from tocsin.core.ports.queue import JobOperator

SCAN = 200
"""Letters of one look into the queue; other tasks have a turn after it."""
MAX_CHANGED = 10_000
"""Letters that one page of a change has."""


@dataclass(frozen=True, slots=True)
class LetterPage:
    """Some letters, and the cursor to go on from, empty after the last one."""

    items: list[LetterHead]
    next_cursor: str = ""


class LetterSearch:
    """Over the letters of one queue; `queue` is `None` where push is off."""

    def __init__(self, queue: JobOperator | None) -> None:
        self._given = queue

    @property
    def queue(self) -> JobOperator:
        """The queue, or `NotAvailable`."""
        if self._given is None:
            raise NotAvailable("no queue is configured: push_notifications is off")
        return self._given

    async def all(self, after: str = "", until: str = "") -> AsyncIterator[LetterHead]:
        """Letters after one id and, if it is given, up to another."""
        end = place_of(until) if until else ()
        while True:
            try:
                heads = await self.queue.scan_dead(limit=SCAN, after=after)
            except BadRequest as error:
                raise BadRequest("cursor", error.reason) from None
            for head in heads:
                if end and place_of(head.id) > end:
                    return
                yield head
            if len(heads) < SCAN:
                return
            after = heads[-1].id
            await asyncio.sleep(0)

    async def page(
        self,
        chosen: LetterFilter,
        cursor: str,
        *,
        limit: int,
        look_at: int = 0,
        until: str = "",
    ) -> LetterPage:
        """Up to `limit` letters that fit, after the cursor.

        With `look_at` it ends after so many letters, whether they fit or not.
        """
        found: list[LetterHead] = []
        seen = 0
        async for head in self.all(cursor, until):
            if len(found) == limit or (look_at and seen == look_at):
                return LetterPage(found, cursor)
            seen += 1
            cursor = head.id
            if chosen.fits(head):
                found.append(head)
        return LetterPage(found)

    async def pages(
        self, choice: LetterChoice, *, whole: bool
    ) -> AsyncIterator[LetterPage]:
        """The letters of a choice: one page, or with `whole` all pages.

        Those end with the letter that was the last one at the first page: what dies
        again meanwhile is behind it, and is not met twice.
        """
        if choice.ids:
            yield LetterPage(await self._these(choice.ids))
            return
        limit = min(choice.limit or MAX_CHANGED, MAX_CHANGED)
        until = (await self.queue.count_dead()).last_id if whole else ""
        while True:
            page = await self.page(
                choice.filter, choice.cursor, limit=limit, until=until
            )
            yield page
            if not (whole and page.next_cursor):
                return
            choice = replace(choice, cursor=page.next_cursor)

    async def _these(self, ids: Sequence[str]) -> list[LetterHead]:
        heads = []
        for id in dict.fromkeys(ids):
            found = await self.queue.fetch_dead(id)
            if found is not None:
                heads.append(head_of(found[0]))
        return heads
