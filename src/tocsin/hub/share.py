"""Hub room: spreads long work over several turns of the event loop.

It must not know what is done, nor for whom. Without it a client that sends without end
would keep the loop busy, and everybody else would wait.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Protocol

import structlog

AT_ONCE = 4
"""Waiting entries that go on in one turn; each decides the size of its own share."""
TURN_S = 0.002
"""After this time no further waiting entry goes on in the same turn."""
SMALL_BYTES = 2_048
"""A read up to this size is handled at once, even while `is_taken`; a larger one then
waits."""
GAP_S = 0.002
"""The pause after such a turn, on top of the time that the turn took. An API call takes
many turns, and without the pause would wait for others' shares in each of them."""

_log = structlog.get_logger(__name__)


class Waiting(Protocol):
    """Something with more to do than one turn allows."""

    def go_on(self) -> None:
        """Do a share of it; must not raise, and may `wait` again."""
        ...


class _Pause:
    """A task that waits; with `is_long` it is the last to go on in its turn."""

    __slots__ = ("ended", "is_long")

    def __init__(self, ended: asyncio.Future[None], *, is_long: bool) -> None:
        self.ended = ended
        self.is_long = is_long

    def go_on(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


class TurnShare:
    """Lets waiting entries go on in order, `AT_ONCE` in a turn, then a gap.

    In the gaps the loop serves everybody else, however many entries wait.
    """

    __slots__ = ("_is_set", "_loop", "_taken", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._loop = loop or asyncio.get_running_loop()
        self._waiting: deque[Waiting] = deque()
        self._is_set = False
        self._taken = 0

    @property
    def is_taken(self) -> bool:
        """Whether the loop was so busy just now that a large read should wait."""
        return self._taken >= AT_ONCE

    def spend(self, spent_s: float) -> None:
        """Report work done without waiting; long work makes the next entries wait."""
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
        """Wait for a later turn, inside a task.

        `is_long` is for work that may take long: no other entry goes on after it in
        the same turn.
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
        # Twice: a loop may compute the delay from the time at which this turn began,
        # and then one `spent_s` is over already.
        self._loop.call_later(2 * spent_s + GAP_S, self._after_gap)

    def _after_gap(self) -> None:
        self._taken = 0
        if self._waiting:
            self._run()
        else:
            self._is_set = False
