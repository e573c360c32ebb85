"""When to try a server again that could not be reached, for the HTTP/2 room.

It keeps count and time only; nothing here connects or sleeps.
"""

from __future__ import annotations

import random

FIRST_S = 0.25
MAX_S = 30.0


class Backoff:
    """Waits that double with each failure in a row, spread by a quarter.

    `reason` is why the last attempt failed, `failures` how many failed in a row.
    """

    __slots__ = ("_retry_at", "failures", "reason")

    def __init__(self) -> None:
        self.failures = 0
        self.reason = ""
        self._retry_at = 0.0

    def failed(self, reason: str, now: float) -> None:
        """An attempt failed at `now` (loop time, seconds)."""
        self.failures += 1
        self.reason = reason
        wait_s = min(MAX_S, FIRST_S * 2 ** min(self.failures - 1, 16))
        wait_s *= random.uniform(0.75, 1.25)  # noqa: S311 - spreads load, no secret
        self._retry_at = now + wait_s

    def worked(self) -> None:
        """The server answered a request: the next failure is the first again."""
        self.failures = 0

    def wait_s(self, now: float) -> float:
        """Seconds until the next attempt is allowed; 0 when it is."""
        return max(0.0, self._retry_at - now)
