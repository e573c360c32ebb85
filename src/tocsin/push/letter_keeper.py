"""Push room: keeps copies of the queue's dead letters, and gives them back.

A queue that loses its data loses its dead letters too; they are accepted work.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import structlog

from tocsin.core.dead_letters import DeadStock
from tocsin.core.ports.queue import JobOperator
from tocsin.core.ports.queue_stock import LetterCopies, LetterShelf, StoredLetter

PAGE = 100
"""Letters that are in memory at once; each has a payload."""
DIGESTS = 5_000

_log = structlog.get_logger(__name__)


class LetterKeeper:
    """Used by the one process that keeps the send log.

    `is_whole` looks at the queue once more, and tells whether it has lost nothing since
    the last loss that was answered with `restore`.
    """

    def __init__(
        self,
        queue: JobOperator,
        shelf: LetterShelf,
        copies: LetterCopies,
        *,
        is_whole: Callable[[], Awaitable[bool]],
    ) -> None:
        self._queue = queue
        self._shelf = shelf
        self._copies = copies
        self._is_whole = is_whole
        # Of the last look: what the queue had, and whether the copies were the same.
        self._stock: DeadStock | None = None

    def forget(self) -> None:
        """Another process has kept the copies meanwhile."""
        self._stock = None

    async def look(self) -> None:
        """Copy new letters, and forget the copies of those that are gone."""
        known, stock = self._stock, await self._queue.count_dead()
        if stock == known:
            return
        if known is None:
            await self._compare()
        else:
            # What was added stands behind the last one, in every engine.
            added = 0
            async for letters in self._pages(after=known.last_id):
                await self._copies.add(letters)
                added += len(letters)
            if known.count + added != stock.count:
                await self._compare()
        self._stock = stock

    async def restore(self) -> int:
        """Put letters back that the queue has lost; returns how many."""
        self._stock = None
        present = {digest async for digest in self._digests()}
        restored, after = 0, ""
        while copies := await self._copies.fetch(after=after, limit=PAGE):
            after = max(copies)
            lost = [copy for digest, copy in copies.items() if digest not in present]
            await self._shelf.put_back(lost)
            restored += len(lost)
        if restored:
            _log.warning(
                "dead letters that the queue had lost are back from their copies",
                letters=restored,
            )
        return restored

    async def _compare(self) -> None:
        """Make the copies the same as the letters."""
        copied: set[str] = set()
        after = ""
        while digests := await self._copies.list_digests(after=after, limit=DIGESTS):
            copied.update(digests)
            after = digests[-1]
        present: set[str] = set()
        async for letters in self._pages():
            new = [each for each in letters if each.digest not in copied]
            await self._copies.add(new)
            present.update(each.digest for each in letters)
        gone = sorted(copied - present)
        # Asked after the letters were read: were they lost meanwhile, nothing goes.
        if gone and await self._is_whole():
            for start in range(0, len(gone), DIGESTS):
                await self._copies.remove(gone[start : start + DIGESTS])

    async def _digests(self) -> AsyncIterator[str]:
        async for letters in self._pages():
            for letter in letters:
                yield letter.digest

    async def _pages(self, *, after: str = "") -> AsyncIterator[list[StoredLetter]]:
        while letters := await self._shelf.fetch(after=after, limit=PAGE):
            yield letters
            after = letters[-1].id
