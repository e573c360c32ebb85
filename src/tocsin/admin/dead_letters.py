"""Dead letters: which there are, and what an operator does with them. Part of `admin`.

It looks through them page by page, so that any number of them takes little memory.
"""

from __future__ import annotations

from dataclasses import dataclass

from tocsin.core.dead_letters import LetterFilter, LetterHead
from tocsin.core.errors import BadRequest, NotAvailable
from tocsin.core.ports.queue import JobOperator

SCAN = 500
"""Letters of one look into the queue."""
MAX_SCANNED = 20_000
"""Letters that one call looks at; the answer says where to go on."""
MAX_PAGE = 1000
DEFAULT_PAGE = 100


@dataclass(frozen=True, slots=True)
class LetterPage:
    """Some letters, and the cursor to go on from, empty after the last one."""

    items: list[LetterHead]
    next_cursor: str = ""


class DeadLetterService:
    """The dead letters of one queue; `queue` is `None` where push is off."""

    def __init__(self, queue: JobOperator | None) -> None:
        self._given = queue

    @property
    def _queue(self) -> JobOperator:
        if self._given is None:
            raise NotAvailable("no queue is configured: push_notifications is off")
        return self._given

    async def page(
        self, chosen: LetterFilter, *, cursor: str = "", limit: int = 0
    ) -> LetterPage:
        """Letters that fit, oldest first, after the cursor.

        `limit` 0 is 100, above 1,000 it is 1,000. A page ends early where many letters
        did not fit; then it has a cursor all the same.
        """
        if limit < 0:
            raise BadRequest("limit", "must not be negative")
        wanted = min(limit or DEFAULT_PAGE, MAX_PAGE)
        found: list[LetterHead] = []
        scanned = 0
        while scanned < MAX_SCANNED:
            heads = await self._scan(cursor, SCAN)
            for head in heads:
                cursor = head.id
                if chosen.fits(head):
                    found.append(head)
                    if len(found) == wanted:
                        more = head is not heads[-1] or await self._scan(cursor, 1)
                        return LetterPage(found, cursor if more else "")
            if len(heads) < SCAN:
                return LetterPage(found)
            scanned += len(heads)
        return LetterPage(found, cursor)

    async def _scan(self, after: str, limit: int) -> list[LetterHead]:
        try:
            return await self._queue.scan_dead(limit=limit, after=after)
        except BadRequest as error:
            raise BadRequest("cursor", error.reason) from None
