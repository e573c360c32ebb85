"""Remembers how far a queue had come, so that one that went back is noticed.

Part of the queue room; it is pure and must not talk to any engine.
"""

from __future__ import annotations


class HighWater:
    """What one process knows of a number that only rises while no data is lost.

    `certain` is the highest that the engine has confirmed to this process, `missing`
    how many of those confirmed it found to be gone, over its whole life. Both methods
    get `before`, the value of `certain` from before the engine was asked: whatever it
    answers has to be above that, in whichever order answers come.
    """

    def __init__(self) -> None:
        self.certain = 0
        self.missing = 0

    def take(self, number: int, *, before: int) -> None:
        """The engine has accepted something under this number."""
        self._look(number - 1, before)
        self.certain = max(self.certain, number)

    def compare(self, reached: int, *, before: int) -> None:
        """The engine says that this is the last number that it gave."""
        self._look(reached, before)

    def _look(self, reached: int, before: int) -> None:
        # Of several answers after one loss the first counts it.
        if reached < before and reached < self.certain:
            self.missing += self.certain - reached
            self.certain = reached
