"""Makes connections for a pool, for the HTTP/2 room, and decides when to try again.

How many connections there are is decided by the pool.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable, Iterable

import structlog

from tocsin.http2.connection import PooledConnection
from tocsin.http2.dialing import (
    HANDSHAKE_S,
    NEXT_ADDRESS_S,
    Dialer,
    Resolve,
    dial,
)
from tocsin.http2.head import Origin

FIRST_S = 0.25
MAX_S = 30.0
"""The first and the longest wait after failed attempts, in seconds."""

_log = structlog.get_logger(__name__)


class Backoff:
    """Waits that double with each failure in a row, spread by a quarter each way.

    `reason` is why the last attempt failed, `failures` how many failed in a row.
    """

    __slots__ = ("_retry_at", "failures", "reason")

    def __init__(self) -> None:
        self.failures = 0
        self.reason = ""
        self._retry_at = 0.0

    def failed(self, reason: str, now: float) -> None:
        """An attempt failed at `now` (loop time, seconds)."""
        self.failures += 1
        self.reason = reason
        # The exponent is capped far above `MAX_S`: failures may go on for months.
        wait_s = min(MAX_S, FIRST_S * 2 ** min(self.failures - 1, 16))
        wait_s *= random.uniform(0.75, 1.25)  # noqa: S311 - spreads load, no secret
        self._retry_at = now + wait_s

    def worked(self) -> None:
        """The server answered a request: the next failure is the first again."""
        self.failures = 0

    def wait_s(self, now: float) -> float:
        """Seconds until the next attempt is allowed; 0 when it is."""
        return max(0.0, self._retry_at - now)


class Connector:
    """Makes connections to one origin, and waits longer after each failure in a row.

    `build` makes the asyncio end of a connection that is not there yet.
    """

    def __init__(
        self,
        origin: Origin,
        build: Callable[[], PooledConnection],
        *,
        ssl_context: ssl.SSLContext | None,
        timeout_s: float,
        resolve: Resolve,
    ) -> None:
        self._origin = origin
        self._build = build
        self._ssl = ssl_context
        self._timeout_s = timeout_s
        self._backoff = Backoff()
        self._dialer = Dialer(
            origin,
            self._attempt,
            PooledConnection.abort,
            resolve=resolve,
            next_address_s=min(NEXT_ADDRESS_S, timeout_s / 8),
            handshake_s=min(HANDSHAKE_S, timeout_s / 4),
        )

    @property
    def reason(self) -> str:
        """Why the last attempt came to nothing."""
        return self._backoff.reason

    def wait_s(self, now: float) -> float:
        """Seconds until the next attempt is allowed; 0 when it is."""
        return self._backoff.wait_s(now)

    async def connect(
        self, known: Iterable[PooledConnection]
    ) -> PooledConnection | None:
        """A connection that is ready, or `None` after the failure was logged.

        `known` are the connections of the pool. If one has just ended without any
        answer, its address is avoided, although the pool has not heard of the end yet.
        """
        for connection in known:
            if connection.session.closed and not connection.session.answered:
                self._dialer.avoid(connection.address)
        found = await self._dial()
        if isinstance(found, PooledConnection):
            if not found.session.closed:
                _log.debug("http2_connected", origin=str(self._origin))
                return found
            # The server sent its SETTINGS and closed before we came to use it.
            self._dialer.avoid(found.address)
            found = found.session.fault
        self._failed(found)
        return None

    def blame(self, connection: PooledConnection) -> None:
        """Count a connection that ended without any answer as a failed attempt."""
        self._dialer.avoid(connection.address)
        self._failed(connection.session.fault)

    def worked(self) -> None:
        """The server answered a request: the next failure is the first again."""
        self._backoff.worked()

    def _failed(self, fault: str) -> None:
        """Log a failed attempt, and wait before the next."""
        reason = f"{self._origin}: {fault}"
        self._backoff.failed(reason, asyncio.get_running_loop().time())
        tries = self._backoff.failures
        _log.warning("http2_connect_failed", reason=reason, failures_in_row=tries)

    async def _dial(self) -> PooledConnection | str:
        """A connection that is ready, or what went wrong."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._dialer.connect()
        except TimeoutError:
            return f"no HTTP/2 connection within {self._timeout_s:g} s"
        except ssl.SSLCertVerificationError as error:
            return f"{error}; if it is the right server, name its authority in ca_file"
        except Exception as error:  # noqa: BLE001 - whoever waits for room must learn of any reason
            return str(error) or type(error).__name__

    async def _attempt(
        self, address: str, reached: Callable[[], None]
    ) -> PooledConnection:
        """A connection to one address that has the server's SETTINGS."""
        connection = self._build()
        try:
            await dial(lambda: connection, self._origin, address, self._ssl, reached)
            await connection.wait_ready()
            connection.address = address
        except BaseException:
            connection.abort()
            raise
        return connection
