"""The arithmetic of token buckets. Pure: it reads no clock and keeps no state.

A bucket holds `rate` tokens when full and gets them back evenly over its interval. Its
whole state is one number, the moment at which it will be full again; the tokens that
it holds now and the moment of the next one follow from that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

US_PER_MS = 1000


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most `rate` at once, and that many again in each `interval_ms`."""

    rate: int
    interval_ms: int

    @property
    def spacing_us(self) -> int:
        """Microseconds per token, rounded up so that the rate is never exceeded."""
        return -(-self.interval_ms * US_PER_MS // self.rate)

    @property
    def fill_us(self) -> int:
        """Microseconds from empty to full."""
        return self.spacing_us * self.rate


def take_token(
    full_at_us: Sequence[int], limits: Sequence[RateLimit], now_us: int
) -> tuple[int, list[int]]:
    """Take one token from every bucket, or from none.

    `full_at_us` are the states of the buckets of `limits`, 0 for one that was never
    used. Returns (0, the new states), or the Unix microsecond from which all of them
    would have a token, and the states as they were.
    """
    later: list[int] = []
    allowed_us = 0
    for full_at, limit in zip(full_at_us, limits, strict=True):
        after = max(full_at, now_us) + limit.spacing_us
        later.append(after)
        # A bucket that takes longer than that to be full would hold less than
        # no token.
        if after - now_us > limit.fill_us:
            allowed_us = max(allowed_us, after - limit.fill_us)
    if allowed_us:
        return allowed_us, list(full_at_us)
    return 0, later


def buckets_name(key: str, limits: Sequence[RateLimit]) -> str:
    """The name of a key's buckets in a store: its limits, then the key.

    The same key under other limits is another set of buckets.
    """
    shape = ",".join(f"{limit.rate}/{limit.interval_ms}" for limit in limits)
    return f"{shape}|{key}"
