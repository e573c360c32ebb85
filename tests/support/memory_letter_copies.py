"""Copies of dead letters in memory; see `tests/contracts/test_letter_copies.py`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace

from tocsin.core.ports.queue_stock import StoredLetter


async def _nothing(_: str) -> None:
    return


class MemoryLetterCopies:
    """`LetterCopies`; `begin` is called with the name of each method."""

    def __init__(self, begin: Callable[[str], Awaitable[None]] = _nothing) -> None:
        self.kept: dict[str, StoredLetter] = {}
        self._begin = begin

    async def add(self, letters: Sequence[StoredLetter]) -> None:
        await self._begin("copies.add")
        for letter in letters:
            self.kept.setdefault(letter.digest, replace(letter, id=""))

    async def fetch(self, *, after: str, limit: int) -> dict[str, StoredLetter]:
        await self._begin("copies.fetch")
        digests = sorted(digest for digest in self.kept if digest > after)[:limit]
        return {digest: self.kept[digest] for digest in digests}

    async def list_digests(self, *, after: str, limit: int) -> list[str]:
        await self._begin("copies.list_digests")
        return sorted(digest for digest in self.kept if digest > after)[:limit]

    async def remove(self, digests: Collection[str]) -> None:
        await self._begin("copies.remove")
        for digest in digests:
            self.kept.pop(digest, None)
