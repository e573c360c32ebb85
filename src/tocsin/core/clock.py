"""The clock of this machine, used where no test or server provides another."""

from __future__ import annotations

import time


class SystemClock:
    """Unix time of this machine; it may jump."""

    def now_ms(self) -> int:
        """Unix milliseconds."""
        return time.time_ns() // 1_000_000
