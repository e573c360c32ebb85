"""A connection pool that counts what its users go through.

Part of the storage room; it must not know what connections are used for.
"""

from __future__ import annotations

import asyncio
import time

from sqlalchemy import PoolProxiedConnection
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry


class CountedPool(AsyncAdaptedQueuePool):
    """Counts in its user's thread of control, at the one public way in.

    `acquires` were handed out, `empty_acquires` of them found no free connection
    and waited for one to be returned or opened, `acquire_wait_s` seconds in all.
    `canceled_acquires` ended before there was one: the caller gave up, or its
    time ran out.

    Once it is `shut`, each connection is closed when it comes back. Without that, a
    connection that was in use at the disposal would go back into a pool that nobody
    uses any more, and stay open.
    """

    acquires = 0
    empty_acquires = 0
    canceled_acquires = 0
    acquire_wait_s = 0.0
    _is_shut = False

    def shut(self) -> None:
        """Keep no connection from now on; to be followed by the disposal."""
        self._is_shut = True

    def recreate(self) -> CountedPool:
        """The pool that takes over after a disposal, shut as this one."""
        successor = super().recreate()
        assert isinstance(successor, CountedPool)  # noqa: S101 - it makes its own kind
        successor._is_shut = self._is_shut
        return successor

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

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        if not self._is_shut:
            super()._do_return_conn(record)
            return
        try:
            record.close()
        finally:
            self._dec_overflow()
