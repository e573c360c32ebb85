"""Hub room: what one turn of the event loop writes goes out together at its end.

It must not know what is written, nor to whom.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import structlog

_log = structlog.get_logger(__name__)


class Flushable(Protocol):
    """Holds bytes that are to be written at the end of the turn."""

    def flush(self) -> None:
        """Write them, or pass them on; must not raise."""
        ...


class Turn:
    """Collects groups and connections with pending bytes; flushes them at turn's end.

    Groups go first: they pass their bytes to connections, which then write once.
    """

    __slots__ = ("_connections", "_groups", "_is_set", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._loop = loop or asyncio.get_running_loop()
        self._groups: list[Flushable] = []
        self._connections: list[Flushable] = []
        self._is_set = False

    def add_group(self, group: Flushable) -> None:
        """Flush this group at the turn's end; to be called once per turn."""
        self._groups.append(group)
        self._set()

    def add_connection(self, connection: Flushable) -> None:
        """Flush this connection at the turn's end; to be called once per turn."""
        self._connections.append(connection)
        if not self._is_set:
            self._set()

    def _set(self) -> None:
        if not self._is_set:
            self._is_set = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Flush everything now."""
        while self._groups:
            groups, self._groups = self._groups, []
            _flush(groups)
        connections, self._connections = self._connections, []
        _flush(connections)
        self._is_set = False
        if self._groups or self._connections:
            self._set()


def _flush(parts: list[Flushable]) -> None:
    for part in parts:
        try:
            part.flush()
        except Exception:  # noqa: BLE001 - one must not keep what is due to others
            _log.exception("what was due to a connection or a channel is lost")
