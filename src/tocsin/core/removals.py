"""How many devices verdicts may remove before a person has to look. Pure values."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

PARTS = 60
"""A window is counted in so many parts, so that it slides."""
ALARM_EVERY_MS = 3_600_000
"""A person is told of held removals no more often, for each integration."""


@dataclass(frozen=True, slots=True)
class RemovalLimit:
    """Removals beyond `max_share` of an integration's devices in a window are held.

    Up to `least` are never too many, so that small integrations work too. A share of 1
    holds nothing.
    """

    max_share: float = 0.2
    window_ms: int = 3_600_000
    least: int = 50

    def living_needed(self, used: int, wanted: int) -> int:
        """How many living devices make all of `wanted` acceptable; 0: any number.

        `used` were removed in this window already.
        """
        if used + wanted <= self.least or self.max_share >= 1:
            return 0
        if not self.max_share:
            return used + wanted
        return max(0, math.ceil((used + wanted) / self.max_share) - used)

    def allowed(self, used: int, wanted: int, living: int) -> int:
        """How many of `wanted` may be removed now."""
        if self.max_share >= 1:
            return wanted
        most = max(self.least, math.floor(self.max_share * (living + used)))
        return max(0, min(wanted, most - used))


@dataclass(frozen=True, slots=True)
class RemovalGuard:
    """Whose devices are removed, and how many of them at most."""

    provider: str
    integration: str
    limit: RemovalLimit = RemovalLimit()


class Removal(NamedTuple):
    """What became of some verdicts: ids of devices removed, and held for a person.

    Devices that are in neither were registered again, or were removed or held before.
    `is_alarm`: a person is to be told of held ones now.
    """

    removed: list[str]
    held: list[str]
    is_alarm: bool = False


@dataclass(slots=True)
class RecentRemovals:
    """How many devices of an integration were removed, by part of the window."""

    parts: dict[int, int] = field(default_factory=dict)

    @classmethod
    def read(cls, text: str) -> RecentRemovals:
        """As a store keeps it: `part:count` in words."""
        pairs = (word.partition(":") for word in text.split())
        return cls({int(part): int(count) for part, _, count in pairs})

    def used(self, limit: RemovalLimit, now_ms: int) -> int:
        """How many there were in the window that ends now; drops those before."""
        first = _part(limit, now_ms) - PARTS
        self.parts = {part: n for part, n in self.parts.items() if part >= first}
        return sum(self.parts.values())

    def add(self, limit: RemovalLimit, now_ms: int, count: int) -> None:
        """So many more are removed now."""
        if count:
            part = _part(limit, now_ms)
            self.parts[part] = self.parts.get(part, 0) + count

    def to_text(self) -> str:
        """See `read`."""
        return " ".join(f"{part}:{count}" for part, count in self.parts.items())


def _part(limit: RemovalLimit, now_ms: int) -> int:
    return now_ms * PARTS // max(1, limit.window_ms)
