"""A clock that stands still until a test moves it."""

from __future__ import annotations


class MovedClock:
    """`Clock` for tests; starts at an arbitrary but real-looking time."""

    def __init__(self, now_ms: int = 1_800_000_000_000) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        """Unix milliseconds."""
        return self._now_ms

    def move_ms(self, by_ms: int) -> None:
        """Let time pass, or step back with a negative number."""
        self._now_ms += by_ms
