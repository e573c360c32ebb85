"""A bound on what is under way at once, with turns by priority for those who wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tocsin.core.lanes import Priority
from tocsin.core.turns import WaitingLines


class Slots:
    """So many may be taken at once; a free one goes to whose turn it is."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: WaitingLines[asyncio.Future[None]] = WaitingLines()

    async def acquire(self, priority: Priority) -> None:
        """Take one, as soon as it is this caller's turn."""
        if self._free and not self._waiting:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.add(turn, priority)
        try:
            await turn
        except asyncio.CancelledError:
            if not self._waiting.remove(turn) and not turn.cancelled():
                self.release()  # it had its turn, and goes
            raise

    def release(self) -> None:
        """Give one back; whoever is next has it at once."""
        while self._waiting:
            turn = self._waiting.pop()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    @asynccontextmanager
    async def held(self, priority: Priority) -> AsyncIterator[None]:
        """One of them, for as long as the context lasts."""
        await self.acquire(priority)
        try:
            yield
        finally:
            self.release()
