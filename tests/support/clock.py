"""A clock that stands still until a test moves it, and wall clocks that are wrong."""

from __future__ import annotations

import time

import pytest


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


def shift_wall_clock(patch: pytest.MonkeyPatch, by_s: float) -> None:
    """Make this process's wall clock wrong; what measures durations stays right."""
    time_s, time_ns = time.time, time.time_ns
    patch.setattr(time, "time", lambda: time_s() + by_s)
    patch.setattr(time, "time_ns", lambda: time_ns() + int(by_s * 1e9))
