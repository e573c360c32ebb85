"""The clock of the machine."""

from __future__ import annotations

import time

from tocsin.core.clock import SystemClock


def test_the_system_clock_is_unix_milliseconds() -> None:
    """It agrees with the system's time."""
    assert abs(SystemClock().now_ms() - time.time() * 1000) < 1000
