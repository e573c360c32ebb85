"""The clock of a process, as a port."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Wall-clock time, so that tests can move it."""

    def now_ms(self) -> int:
        """Unix milliseconds."""
        ...
