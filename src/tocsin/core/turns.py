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
        self._lines: dict[Priority, deque[T]] = {each: deque() for each in Priority}
        self._passed = dict.fromkeys(Priority, 0)
        # Looked at for each push: a deque is false when it is empty.
        self.urgent = self._lines[Priority.TRANSACTIONAL]
        """Those who go before everybody else."""

    def __bool__(self) -> bool:
        return any(self._lines.values())

    def __iter__(self) -> Iterator[T]:
        for line in self._lines.values():
            yield from line

    def add(self, item: T, priority: Priority) -> None:
        """At the end of its line."""
        self._lines[priority].append(item)

    def add_first(self, item: T, priority: Priority) -> None:
        """At the beginning of its line: it had its turn, and could not use it."""
        self._lines[priority].appendleft(item)

    def pop(self) -> T:
        """The one whose turn it is; raises `IndexError` where nobody waits."""
        waiting = [each for each, line in self._lines.items() if line]
        if not waiting:
            raise IndexError("nobody waits")
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
