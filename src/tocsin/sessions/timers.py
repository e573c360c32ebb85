"""Sessions room: one timer wheel for the deadlines of all connections.

It must not know what is due: an entry that is called looks at its own deadlines.
"""

from __future__ import annotations

import asyncio
import heapq
from typing import Protocol

import structlog

RESOLUTION_S = 0.05
_NOWHERE = -1

log = structlog.get_logger(__name__)


class Timed(Protocol):
    """Something with a next deadline; only the wheel sets `timer_slot`."""

    timer_slot: int

    def on_timer(self, now_s: float) -> None:
        """Do what is due; must not raise, and may `put` itself again."""
        ...


class TimerWheel:
    """Deadlines in slots of `RESOLUTION_S`; an entry is in one slot at most.

    One timer of the loop serves all: ten thousand idle connections cost ten
    thousand places in dictionaries, and no timer handles.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop | None = None,
        *,
        resolution_s: float = RESOLUTION_S,
    ) -> None:
        self._loop = loop or asyncio.get_running_loop()
        self._resolution_s = resolution_s
        self._slots: dict[int, dict[Timed, None]] = {}
        self._order: list[int] = []
        self._handle: asyncio.TimerHandle | None = None
        self._next = _NOWHERE

    def now(self) -> float:
        """The loop's time in seconds."""
        return self._loop.time()

    def put(self, entry: Timed, when_s: float) -> None:
        """Call `entry` at that time of the loop, never before it."""
        slot = int(when_s / self._resolution_s) + 1  # the next: never too early
        if entry.timer_slot == slot:
            return
        self.remove(entry)
        entries = self._slots.get(slot)
        if entries is None:
            entries = self._slots[slot] = {}
            heapq.heappush(self._order, slot)
            self._set()
        entries[entry] = None
        entry.timer_slot = slot

    def remove(self, entry: Timed) -> None:
        """Forget an entry; it need not be there."""
        entries = self._slots.get(entry.timer_slot)
        if entries is not None:
            entries.pop(entry, None)
        entry.timer_slot = _NOWHERE

    def close(self) -> None:
        """Call nobody any more."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._slots.clear()
        self._order.clear()

    def _set(self) -> None:
        first = self._order[0]
        if self._handle is not None:
            if self._next <= first:
                return
            self._handle.cancel()
        self._next = first
        self._handle = self._loop.call_at(first * self._resolution_s, self._run)

    def _run(self) -> None:
        self._handle = None
        now_s = self._loop.time()
        while self._order and self._order[0] * self._resolution_s <= now_s:
            slot = heapq.heappop(self._order)
            entries = self._slots.pop(slot)
            for entry in entries:
                # Another entry of this slot may have removed or moved it when called.
                if entry.timer_slot == slot:
                    entry.timer_slot = _NOWHERE
                    _call(entry, now_s)
        if self._order and self._handle is None:
            self._set()


def _call(entry: Timed, now_s: float) -> None:
    try:
        entry.on_timer(now_s)
    except Exception:
        log.exception("what was due to a connection was not done")
