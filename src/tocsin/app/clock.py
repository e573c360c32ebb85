"""The wall clock behind the `Clock` port; tests bring their own."""

from __future__ import annotations

import time


class SystemClock:
    """Unix time of this machine."""

    def now_ms(self) -> int:
        """Unix milliseconds."""
        return time.time_ns() // 1_000_000
