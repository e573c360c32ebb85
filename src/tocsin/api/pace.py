"""API room: limits how often a caller without the key is answered at once.

gRPC answers calls in the order of their arrival, so that many calls of a stranger delay
everybody's. While a stranger's calls are held, its connection has no room for new ones.
It must not know what is asked.
"""

from __future__ import annotations

import asyncio

from tocsin.api.grpc_streams import Drain

WINDOW_S = 1.0
MOST_HELD = 20_000
"""Calls that are held at the same time; with more, further ones are answered at once,
since held calls take memory."""
_MOST_CALLERS = 10_000


class AnswerPace:
    """Lets `at_once` calls of a caller through in a second; holds others `hold_s`."""

    def __init__(self, drain: Drain, *, at_once: int, hold_s: float) -> None:
        self._drain = drain
        self._at_once = at_once
        self._hold_s = hold_s
        self._window_ends_s = 0.0
        self._counts: dict[str, int] = {}
        self._held = 0

    async def keep(self, caller: str) -> None:
        """Return at once, or after `hold_s`; earlier when the server shuts down."""
        if self._is_within(caller) or self._held >= MOST_HELD:
            return
        self._held += 1
        try:
            async with asyncio.timeout(self._hold_s):
                await self._drain.wait()
        except TimeoutError:
            pass
        finally:
            self._held -= 1

    def _is_within(self, caller: str) -> bool:
        now_s = asyncio.get_running_loop().time()
        if now_s >= self._window_ends_s:
            self._window_ends_s = now_s + WINDOW_S
            self._counts.clear()
        count = self._counts.get(caller, 0)
        if not count and len(self._counts) >= _MOST_CALLERS:
            return False  # not counted, so that callers cannot fill the memory
        self._counts[caller] = count + 1
        return count < self._at_once
