"""Whose turn it is among those who wait for one thing. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

from tocsin.core.lanes import Priority

T = TypeVar("T")

PATIENCE = {Priority.TRANSACTIONAL: 0, Priority.NORMAL: 3, Priority.BULK: 7}
"""So many turns a line lets pass by to more urgent ones; the next one is its own."""


class WaitingLines(Generic[T]):
    """A line for each priority, in the order of coming.

    The most urgent one has the turns, save for those that keep the others from
    starving.
    """

    def __init__(self) -> None:
        self.urgent: deque[T] = deque()
        """Those who go before everybody else."""
        self._normal: deque[T] = deque()
        self._bulk: deque[T] = deque()
        self._lines = {
            Priority.TRANSACTIONAL: self.urgent,
            Priority.NORMAL: self._normal,
            Priority.BULK: self._bulk,
        }
        self._passed = dict.fromkeys(Priority, 0)

    def __bool__(self) -> bool:
        return bool(self._bulk or self.urgent or self._normal)

    def __iter__(self) -> Iterator[T]:
        for line in self._lines.values():
            yield from line

    def add(self, item: T, priority: Priority) -> None:
        """At the end of its line."""
        self._line(priority).append(item)

    def add_first(self, item: T, priority: Priority) -> None:
        """At the beginning of its line: it had its turn, and could not use it."""
        self._line(priority).appendleft(item)

    def pop(self) -> T:
        """The one whose turn it is; raises `IndexError` where nobody waits."""
        urgent, normal, bulk = self.urgent, self._normal, self._bulk
        # As a rule one line is all there is, and this runs for each few pushes.
        if not urgent:
            if not normal:
                if not bulk:
                    raise IndexError("nobody waits")
                return bulk.popleft()
            if not bulk:
                return normal.popleft()
        waiting = [each for each, line in self._lines.items() if line]
        chosen = waiting[0]
        for each in waiting[1:]:
            if self._passed[each] >= PATIENCE[each]:
                chosen = each
        for each in waiting:
            self._passed[each] = 0 if each is chosen else self._passed[each] + 1
        return self._lines[chosen].popleft()

    def remove(self, item: T) -> bool:
        """Take it out of its line; `False` where it is in none."""
        for line in self._lines.values():
            if item in line:
                line.remove(item)
                return True
        return False

    def clear(self) -> list[T]:
        """Take everybody out; returns them."""
        everybody = list(self)
        for line in self._lines.values():
            line.clear()
        return everybody

    def _line(self, priority: Priority) -> deque[T]:
        # Not looked up by its name, whose hash takes longer than all the rest.
        if priority is Priority.BULK:
            return self._bulk
        return self._normal if priority is Priority.NORMAL else self.urgent
