"""When silence becomes death: the times that both engines derive alike.

Part of the queue room; it must not read any clock but the one of the system.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from tocsin.core.ports.clock import Clock

MOVE_MARK_S = 7 * 86_400.0
"""How long a queue knows what it took over from another, in seconds."""


class WallClock:
    """The system's wall clock."""

    def now_ms(self) -> int:
        """Unix milliseconds."""
        return time.time_ns() // 1_000_000


def now_argument(clock: Clock | None) -> int | str:
    """What a Redis script takes for the time: empty means that of its server."""
    return "" if clock is None else clock.now_ms()


@dataclass(frozen=True, slots=True)
class Timing:
    """The promise "taken over within `takeover_s`", cut into its parts.

    A hold that was not renewed for four fifths of it is silent. The last fifth
    is for noticing: one look per `beat_s`, one wait of at most `beat_s`. The holder
    itself trusts it for three fifths.
    """

    takeover_s: float

    @property
    def silent_ms(self) -> int:
        """Milliseconds after which an unrenewed hold may be taken over."""
        return max(1, int(self.takeover_s * 800))

    @property
    def trusted_s(self) -> float:
        """Seconds for which a holder may act on a hold, from when it asked for it.

        The rest of `silent_ms` is for what it started last: to be answered, and
        recorded, before another may begin.
        """
        return self.takeover_s * 0.6

    @property
    def beat_s(self) -> float:
        """Seconds between two looks for silent holders; also the longest wait."""
        return min(1.0, self.takeover_s / 15)

    @property
    def housekeeping_s(self) -> float:
        """Seconds between two rounds of cleaning up."""
        return self.beat_s * 60
