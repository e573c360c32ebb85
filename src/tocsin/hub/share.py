"""Hub room: who has more to do than fits into a turn goes on in a later one.

It must not know what is done, nor for whom. Without it a client that sends without end
would have the loop for itself, and everybody else would wait.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from typing import Protocol

AT_ONCE = 4
"""So many of those who wait go on in one turn, each with a share of its own size."""
GAP_S = 0.002
"""After such a turn, for everybody else: a call takes many turns of the loop, and would
wait in each of them for the shares of others."""

log = logging.getLogger(__name__)


class Waiting(Protocol):
    """Somebody with more to do."""

    def go_on(self) -> None:
        """Do a share of it; must not raise, and may wait again."""
        ...


class TurnShare:
    """Lets those who wait go on in order, `AT_ONCE` in a turn, `GAP_S` between.

    However many they are and however much they have, those who do not wait come
    between.
    """

    __slots__ = ("_is_set", "_loop", "_taken", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._loop = loop or asyncio.get_running_loop()
        self._waiting: deque[Waiting] = deque()
        self._is_set = False
        self._taken = 0

    @property
    def is_taken(self) -> bool:
        """Whether so many had a whole share just now that others should wait first."""
        return self._taken >= AT_ONCE

    def wait(self, entry: Waiting) -> None:
        """`entry` goes on in a later turn, once for each call."""
        self._waiting.append(entry)
        self._taken += 1
        if not self._is_set:
            self._is_set = True
            self._loop.call_soon(self._run)

    async def pause(self) -> None:
        """Wait like the others; for what runs as a task."""
        pause = _Pause(self._loop.create_future())
        self.wait(pause)
        await pause.ended

    def _run(self) -> None:
        began_s = time.perf_counter()
        for _ in range(min(AT_ONCE, len(self._waiting))):
            entry = self._waiting.popleft()
            try:
                entry.go_on()
            except Exception:
                # A mistake about one must not leave all others waiting.
                log.exception("what one client had sent is not read to its end")
        # A loop may count from the beginning of its turn.
        spent_s = time.perf_counter() - began_s
        self._loop.call_later(spent_s + GAP_S, self._after_gap)

    def _after_gap(self) -> None:
        self._taken = 0
        if self._waiting:
            self._run()
        else:
            self._is_set = False


class _Pause:
    """A task that waits."""

    __slots__ = ("ended",)

    def __init__(self, ended: asyncio.Future[None]) -> None:
        self.ended = ended

    def go_on(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)
