"""Who was reached by pushes that are published first, in one process.

Part of the broker room; it must not look into channels. Everything is lost with the
process, and a push of which nothing is known goes to everybody.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from tocsin.core.ports.clock import Clock
from tocsin.core.ports.online import Stage

_SWEEP_EVERY = 1000
"""After this many writes, what has expired is dropped."""


@dataclass(slots=True)
class _Entry:
    until_ms: int
    stage: Stage = Stage.UNKNOWN
    users: set[str] = field(default_factory=set)


class MemoryReached:
    """`ReachedStore` in memory."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: dict[str, _Entry] = {}
        self._writes = 0

    def __len__(self) -> int:
        """The number of pushes about which something is kept."""
        return len(self._entries)

    async def add(
        self, push_id: str, users: Collection[str], stage: Stage, *, ttl_s: int
    ) -> None:
        """See the port."""
        self._sweep()
        entry = self._find(push_id)
        if entry is None:
            entry = self._entries[push_id] = _Entry(0)
        entry.until_ms = self._clock.now_ms() + ttl_s * 1000
        entry.users.update(users)
        # A decision stands: what comes late does not take it back.
        if entry.stage is not Stage.DECIDED:
            entry.stage = stage

    async def fetch_stage(self, push_id: str, *, ttl_s: int) -> Stage:
        """See the port."""
        entry = self._find(push_id)
        if entry is None:
            return Stage.UNKNOWN
        entry.until_ms = self._clock.now_ms() + ttl_s * 1000
        return entry.stage

    async def find(
        self, push_id: str, users: Collection[str], *, ttl_s: int
    ) -> frozenset[str]:
        """See the port."""
        entry = self._find(push_id)
        if entry is None:
            return frozenset()
        entry.until_ms = self._clock.now_ms() + ttl_s * 1000
        return frozenset(entry.users.intersection(users))

    def _find(self, push_id: str) -> _Entry | None:
        entry = self._entries.get(push_id)
        if entry is None or entry.until_ms <= self._clock.now_ms():
            self._entries.pop(push_id, None)
            return None
        return entry

    def _sweep(self) -> None:
        self._writes += 1
        if self._writes % _SWEEP_EVERY:
            return
        now_ms = self._clock.now_ms()
        over = [id for id, each in self._entries.items() if each.until_ms <= now_ms]
        for push_id in over:
            del self._entries[push_id]
