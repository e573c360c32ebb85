"""Reads from replicas in turn, and from the primary where none answers.

Part of the storage room; it must not write, nor read what must be current.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from tocsin.storage.engine import Database
from tocsin.storage.errors import DatabaseUnavailable

T = TypeVar("T")

REST_S = 10.0
"""How long a replica that did not answer is left alone."""

_log = structlog.get_logger(__name__)


class ReplicaReader:
    """The reading half of a database and its replicas; without any, the primary."""

    def __init__(self, primary: Database, replicas: Sequence[Database]) -> None:
        self._primary = primary
        self._replicas = list(replicas)
        self._resting_until = [0.0] * len(self._replicas)
        self._turn = 0

    async def read(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """As `Database.read`; `work` may run on one server after another."""
        for _ in self._replicas:
            # Each read begins with the next replica, so they share the
            # load.
            number = self._turn = (self._turn + 1) % len(self._replicas)
            if self._resting_until[number] > time.monotonic():
                continue
            try:
                return await self._replicas[number].read(work)
            except DatabaseUnavailable as error:
                self._resting_until[number] = time.monotonic() + REST_S
                _log.warning(
                    "replica does not answer, another server is read instead",
                    replica=number,
                    error=error.message,
                )
        # There is no replica, or none that answers.
        return await self._primary.read(work)
