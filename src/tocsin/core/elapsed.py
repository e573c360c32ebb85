"""Seconds that only ever grow, for deadlines: a wall clock may jump."""

from __future__ import annotations

import time

if hasattr(time, "CLOCK_BOOTTIME"):

    def elapsed_s() -> float:
        """Seconds since some moment; those of a suspended machine count too."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

else:
    elapsed_s = time.monotonic
