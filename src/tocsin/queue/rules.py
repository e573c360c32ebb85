"""Rules of both engines: when silence becomes death, and when data went back.

Part of the queue room; it must not talk to any engine.
"""

from __future__ import annotations

from dataclasses import dataclass

MOVE_MARK_S = 7 * 86_400.0
"""Seconds for which a queue remembers which entries it took in from another one."""
ACCOUNT_KEPT_MS = 7 * 86_400_000
"""How long an account whose work has ended waits to be read. Whoever keeps the send
log reads it within seconds; without one it is looked up in the queue for this long."""


ONE_BEHIND_IN = 8
"""Of so many entries one is kept for queues that stand behind others."""


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


class ShareBehind:
    """How much of each read is kept for queues that stand behind others."""

    def __init__(self) -> None:
        self._owed = 0

    def take(self, limit: int) -> int:
        """How many of these entries are theirs, if they have as many."""
        self._owed += limit
        sure, self._owed = divmod(self._owed, ONE_BEHIND_IN)
        return sure


class HighWater:
    """What one process knows of a number that only rises while no data is lost.

    `certain` is the highest number that the engine has confirmed to this process,
    `missing` how many of the confirmed ones it found to be gone, over its whole life.
    Both methods get `before`, the value of `certain` when the engine was asked:
    whatever it answers must not be below that. It may be below the `certain` of now,
    where another answer has overtaken it.
    """

    def __init__(self) -> None:
        self.certain = 0
        self.missing = 0

    def take(self, number: int, *, before: int) -> None:
        """The engine has accepted something under this number."""
        # Each number is given once: before this one the engine stood one lower.
        self._look(number - 1, before)
        self.certain = max(self.certain, number)

    def compare(self, reached: int, *, before: int) -> None:
        """The engine says that this is the last number that it gave."""
        self._look(reached, before)

    def _look(self, reached: int, before: int) -> None:
        # The first answer after a loss counts it and lowers `certain`; the second
        # comparison keeps others that were under way from counting it again.
        if reached < before and reached < self.certain:
            self.missing += self.certain - reached
            self.certain = reached
