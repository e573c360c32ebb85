"""Transports room: bytes that wait for a connection, up to a limit.

It must not know what they say; the transport writes them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from tocsin.hub.turn import Turn


class Outbox(ABC):
    """Bytes that wait for a connection; written in one piece per loop turn.

    While the edge `is_blocked`, up to `limit` bytes may wait, with those that the edge
    holds itself (`held`); beyond that `overflow` is called. A connection that takes its
    bytes is not ended for a burst: it is written to before the turn's end.
    """

    __slots__ = ("_limit", "_queue", "_size", "_turn", "held", "is_blocked", "is_shut")

    def __init__(self, turn: Turn, limit: int) -> None:
        self._turn = turn
        self._limit = limit
        self._queue: list[bytes] = []
        self._size = 0
        self.held = 0
        self.is_blocked = False
        self.is_shut = False

    def write(self, data: bytes) -> None:
        """Queue framed bytes."""
        queue = self._queue
        # Asked only while the queue is empty: a burst of writes pays for it once.
        if not queue:
            if self.is_shut:
                return
            if not self.is_blocked:
                self._turn.add_connection(self)
        queue.append(data)
        self._size += len(data)
        if self._size + self.held > self._limit:
            self._make_room()

    def _make_room(self) -> None:
        if not self.is_blocked:
            self.flush()
        elif not self.is_shut:
            self.drop()
            self.overflow()

    def flush(self) -> None:
        """Hand what waits to the edge, unless it is blocked."""
        queue = self._queue
        if queue and not self.is_blocked:
            # As `take`, written out: this runs for every connection in every turn, and
            # the call was measurable.
            data = queue[0] if len(queue) == 1 else b"".join(queue)
            queue.clear()
            self._size = 0
            self.send(data)

    def take(self) -> bytes:
        """Take out all that waits, in one piece."""
        queue = self._queue
        data = queue[0] if len(queue) == 1 else b"".join(queue)
        queue.clear()
        self._size = 0
        return data

    def drop(self) -> None:
        """Forget what waits."""
        self._queue.clear()
        self._size = 0

    @abstractmethod
    def send(self, data: bytes) -> None:
        """Write to the edge now."""

    @abstractmethod
    def overflow(self) -> None:
        """End the connection, since too much waits."""
