"""Hub room: who has more to do than fits into a turn goes on in a later one.

It must not know what is done, nor for whom. Without it a client that sends without end
would have the loop for itself, and everybody else would wait.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Protocol

import structlog

AT_ONCE = 4
"""So many of those who wait go on in one turn, each with a share of its own size."""
TURN_S = 0.002
"""Fewer, when they have taken so long."""
SMALL_BYTES = 2_048
"""So much of anybody is looked at in any turn; more waits where much was taken."""
GAP_S = 0.002
"""After such a turn, and as long as it took, the loop is everybody else's: a call takes
many turns, and would wait in each of them for the shares of others."""

_log = structlog.get_logger(__name__)


class Waiting(Protocol):
    """Somebody with more to do."""

    def go_on(self) -> None:
        """Do a share of it; must not raise, and may wait again."""
        ...


class _Pause:
    """A task that waits; `is_long` for one that takes a turn for itself."""

    __slots__ = ("ended", "is_long")

    def __init__(self, ended: asyncio.Future[None], *, is_long: bool) -> None:
        self.ended = ended
        self.is_long = is_long

    def go_on(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


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
        """Whether so much was taken just now that who sends much should wait first."""
        return self._taken >= AT_ONCE

    def spend(self, spent_s: float) -> None:
        """Somebody who did not wait has taken the loop for so long."""
        if spent_s > TURN_S and not self._is_set:
            self._taken = AT_ONCE
            self._is_set = True
            self._leave_a_gap(spent_s)

    def wait(self, entry: Waiting) -> None:
        """`entry` goes on in a later turn, once for each call."""
        self._waiting.append(entry)
        self._taken += 1
        if not self._is_set:
            self._is_set = True
            self._loop.call_soon(self._run)

    async def pause(self, *, is_long: bool = False) -> None:
        """Wait like the others, for what runs as a task.

        `is_long` is for what may take long: nobody else goes on behind it in its turn.
        """
        pause = _Pause(self._loop.create_future(), is_long=is_long)
        self.wait(pause)
        await pause.ended

    def _run(self) -> None:
        began_s, spent_s = time.perf_counter(), 0.0
        for _ in range(min(AT_ONCE, len(self._waiting))):
            entry = self._waiting.popleft()
            try:
                entry.go_on()
            except Exception:  # noqa: BLE001 - one must not keep all others waiting
                _log.exception("what one client had sent is not read to its end")
            spent_s = time.perf_counter() - began_s
            is_long = isinstance(entry, _Pause) and entry.is_long
            if is_long or spent_s > TURN_S:
                break
        self._leave_a_gap(spent_s)

    def _leave_a_gap(self, spent_s: float) -> None:
        # Twice, since a loop may count from the beginning of this very turn.
        self._loop.call_later(2 * spent_s + GAP_S, self._after_gap)

    def _after_gap(self) -> None:
        self._taken = 0
        if self._waiting:
            self._run()
        else:
            self._is_set = False
