"""A connection pool that counts what its users go through.

Part of the storage room; it must not know what connections are used for.
"""

from __future__ import annotations

import asyncio
import time

from sqlalchemy import PoolProxiedConnection
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import AsyncAdaptedQueuePool


class CountedPool(AsyncAdaptedQueuePool):
    """Counts in its user's thread of control, at the one public way in.

    `acquires` were handed out, `empty_acquires` of them found no free connection
    and waited for one to be returned or opened, `acquire_wait_s` seconds in all.
    `canceled_acquires` ended before there was one: the caller gave up, or its
    time ran out.
    """

    acquires = 0
    empty_acquires = 0
    canceled_acquires = 0
    acquire_wait_s = 0.0

    def connect(self) -> PoolProxiedConnection:
        """A connection, as any pool hands it out."""
        is_empty = self.checkedin() == 0
        started = time.perf_counter()
        try:
            connection = super().connect()
        except (PoolTimeout, asyncio.CancelledError):
            self.canceled_acquires += 1
            raise
        self.acquires += 1
        if is_empty:
            self.empty_acquires += 1
            self.acquire_wait_s += time.perf_counter() - started
        return connection
