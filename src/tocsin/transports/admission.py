"""Transports room: whether a connection may be opened at all, before any protocol.

It must not know users; it counts connections and checks the `Origin` of browsers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tocsin.core.glob import compile_glob


class Origins:
    """`client.allowed_origins`: a request without `Origin` is fine, others must match.

    Raises `ValueError` for a bad pattern.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = [compile_glob(pattern.lower()) for pattern in patterns]

    def allows(self, origin: str | None) -> bool:
        """Whether a page of this origin may connect; only browsers send one."""
        if not origin:
            return True
        lowered = origin.lower()
        return any(pattern.fullmatch(lowered) for pattern in self._patterns)


class Admission:
    """Counts open connections, and new ones per second.

    Limits of 0 are off. The rate is a token bucket that holds one second's worth.
    `clock` is in seconds; `on_refused` is called for each refusal.
    """

    def __init__(
        self,
        connection_limit: int,
        rate_limit: int,
        *,
        clock: Callable[[], float],
        on_refused: Callable[[], None] | None = None,
    ) -> None:
        self._limit = connection_limit
        self._rate = rate_limit
        self._clock = clock
        self._on_refused = on_refused
        self._tokens = float(rate_limit)
        self._seen_s = clock()
        self.num_open = 0
        self.refused_by = ""
        """The setting that the last refusal came from."""

    def replace(self, connection_limit: int, rate_limit: int) -> None:
        """Take other limits; who is connected stays. A rate that stays goes on."""
        self._limit = connection_limit
        if rate_limit != self._rate:
            self._rate = rate_limit
            self._tokens = float(rate_limit)
            self._seen_s = self._clock()

    def enter(self) -> bool:
        """Count a connection in, or refuse it; after `True` call `leave` once."""
        is_full = 0 < self._limit <= self.num_open
        if is_full or not self._take():
            name = "connection_limit" if is_full else "connection_rate_limit"
            self.refused_by = f"client.{name}"
            if self._on_refused is not None:
                self._on_refused()
            return False
        self.num_open += 1
        return True

    def leave(self) -> None:
        """Count a connection out."""
        self.num_open -= 1

    def _take(self) -> bool:
        if self._rate <= 0:
            return True
        now_s = self._clock()
        refill = (now_s - self._seen_s) * self._rate
        self._tokens = min(float(self._rate), self._tokens + refill)
        self._seen_s = now_s
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
