"""Connections to one origin, for the HTTP/2 room: when to send, and on which one.

It opens connections when they are needed and hands requests to them. Requests that a
server did not process are sent again; those that it may have acted on never are.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque

import structlog

from tocsin.core.lanes import Priority
from tocsin.core.turns import WaitingLines
from tocsin.http2.connecting import Connector
from tocsin.http2.connection import Patience, PooledConnection
from tocsin.http2.dialing import Resolve, look_up
from tocsin.http2.exchange import (
    Exchange,
    Failure,
    FailureKind,
    Http2ConnectError,
    Http2RequestError,
    OnDone,
    Response,
)
from tocsin.http2.head import Origin, RequestHead

# A server that shuts down sends a request back once or twice. One that goes on doing
# so does not want it, and the caller has to know.
_MAX_TRIES = 5
# How long `aclose` waits for sockets to close before it drops them.
_GOODBYE_S = 1.0

_log = structlog.get_logger(__name__)


class Http2Pool:
    """Up to `max_connections` connections of up to `max_streams` requests each.

    Everything is called from one event loop. `capacity` is how many requests can be
    in flight at most. Use as: `await wait_room()`, then `submit` while `room()` > 0.
    """

    def __init__(
        self,
        origin: str,
        *,
        ssl_context: ssl.SSLContext | None,
        max_connections: int = 2,
        max_streams: int = 100,
        initial_streams: int | None = None,
        request_timeout_s: float = 15.0,
        connect_timeout_s: float = 10.0,
        ping_interval_s: float = 20.0,
        ping_timeout_s: float = 10.0,
        idle_timeout_s: float | None = None,
        resolve: Resolve | None = None,
    ) -> None:
        """`origin` is `https://host[:port]`; ValueError when it is not.

        `http://` speaks HTTP/2 in clear text by prior knowledge, and ignores
        `ssl_context`; `https://` needs one (see `build_ssl_context`).
        `initial_streams` bounds a connection until an answer shows that the server
        knows us: any but 401, 403, 429 and 5xx.
        An idle connection is closed after `idle_timeout_s`, or never when None.
        `resolve` gives for each connection the addresses that may be dialled; without
        it the system's resolver does. While one address does not answer, the next is
        already tried too.
        """
        self.origin = Origin.parse(origin)
        secure = self.origin.scheme == "https"
        if secure and ssl_context is None:
            raise ValueError("an https origin needs an ssl_context")
        if min(max_connections, max_streams, initial_streams or 1) < 1:
            raise ValueError("connections and streams are counted from 1")
        self.capacity = max_connections * max_streams
        self._connector = Connector(
            self.origin,
            self._build,
            ssl_context=ssl_context if secure else None,
            timeout_s=connect_timeout_s,
            resolve=resolve or look_up,
        )
        self._max_connections = max_connections
        self._max_streams = max_streams
        self._initial_streams = initial_streams
        self._request_timeout_s = request_timeout_s
        self._patience = Patience(
            request_timeout_s,
            connect_timeout_s,
            ping_interval_s,
            ping_timeout_s,
            idle_timeout_s,
        )
        self._connections: list[PooledConnection] = []
        self._current: PooledConnection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._resend: deque[Exchange] = deque()
        self._waiters: WaitingLines[asyncio.Future[None]] = WaitingLines()
        self.urgent = self._waiters.urgent
        """Not empty while somebody waits for room before whom nobody may take any."""
        # The one waiter that was woken and has not submitted yet: room is promised to
        # one at a time, or several would wake for the same.
        self._woken: asyncio.Future[None] | None = None
        self._ticker: asyncio.TimerHandle | None = None
        self._closing = False
        self._quiet: asyncio.Future[None] | None = None

    # ------------------------------------------------------------ for callers

    def room(self) -> int:
        """How many `submit` calls are accepted right now."""
        # Requests that came back were there first: they get the room before new ones.
        if self._resend or self._closing:
            return 0
        room = 0
        for connection in self._connections:
            session = connection.session
            free = session.limit - len(session.streams)
            if free > 0:
                room += free
        return room

    async def wait_room(self, priority: Priority = Priority.NORMAL) -> None:
        """Return when `room()` > 0, opening connections as needed.

        Waiters are served by priority, see `WaitingLines`. Raises
        `Http2ConnectError` when no connection can be made; at once, if the last
        attempt failed and it is too early for the next one.
        """
        if self._closing:
            raise Http2ConnectError("the pool is closed")
        if not self._waiters and self._woken is None and self.room() > 0:
            return
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()
        self._waiters.add(waiter, priority)
        while True:
            self._demand()
            try:
                await waiter
            except BaseException:
                self._leave(waiter)
                raise
            if self.room() > 0:
                # The caller submits as soon as this returns. The next in line is woken
                # after that, for the room that is left.
                loop.call_soon(self._pass_on, waiter)
                return
            # Somebody else submitted without waiting: this one stays first in line.
            self._woken = None
            waiter = loop.create_future()
            self._waiters.add_first(waiter, priority)

    def submit(self, head: RequestHead, body: bytes, on_done: OnDone) -> None:
        """Send a request; `on_done` is called exactly once, later, from the loop.

        Needs `room()` > 0, RuntimeError otherwise. The request is written at the end
        of this turn of the loop, together with the others of the turn.
        """
        connection = self._current
        if (
            connection is None
            or connection.session.limit <= len(connection.session.streams)
            or self._resend
        ):
            connection = None if self._resend or self._closing else self._find()
            if connection is None:
                raise RuntimeError("submit needs room; await wait_room() before it")
        loop = connection.loop
        deadline = loop.time() + self._request_timeout_s
        exchange = Exchange(head, body, on_done, deadline)
        if connection.session.outbound.accepts(exchange):
            connection.open(exchange)
        else:
            detail = "the head is larger than the server's limit for header lists"
            loop.call_soon(on_done, Failure(FailureKind.PROTOCOL, False, detail))

    async def request(self, head: RequestHead, body: bytes = b"") -> Response:
        """Send one request and return its answer; raises `Http2RequestError`."""
        try:
            await self.wait_room()
        except Http2ConnectError as error:
            failure = Failure(FailureKind.CONNECT, False, error.reason)
            raise Http2RequestError(failure) from error
        answer: asyncio.Future[Response | Failure]
        answer = asyncio.get_running_loop().create_future()

        def settle(result: Response | Failure) -> None:
            if not answer.done():
                answer.set_result(result)

        self.submit(head, body, settle)
        result = await answer
        if isinstance(result, Failure):
            raise Http2RequestError(result)
        return result

    def retire(self) -> None:
        """Send nothing more on the present connections; new ones take their place.

        Requests in flight end as usual, then the connections are closed.
        """
        self._current = None
        for connection in self._connections:
            connection.session.drain()

    async def aclose(self, deadline_s: float = 5.0) -> None:
        """Let requests in flight end within the deadline, then close everything.

        Those that have not ended by then fail as CLOSED. Nothing is accepted any more.
        """
        self._closing = True
        self._current = None
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        self._turn_away("the pool is closed")
        if self._in_flight():
            self._quiet = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._quiet], timeout=deadline_s)
        connections = list(self._connections)
        for connection in connections:
            connection.close()
        if connections:
            await asyncio.wait([c.gone for c in connections], timeout=_GOODBYE_S)
        for connection in connections:
            if not connection.gone.done():
                connection.abort()
        if self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None

    # ------------------------------------------------------------ for connections

    def moved(self) -> None:
        """Streams ended or limits changed: send what came back, wake a waiter."""
        if self._resend:
            self._place()
        if self._waiters and self._woken is None:
            self._wake()
        if self._quiet is not None and not self._quiet.done() and not self._in_flight():
            self._quiet.set_result(None)

    def give_back(self, exchanges: list[Exchange]) -> None:
        """Send again what a server did not process, unless that was tried enough."""
        for exchange in exchanges:
            exchange.tries += 1
            # The next connection begins its answer anew.
            exchange.fields = None
            exchange.partial = None
            if exchange.tries >= _MAX_TRIES:
                detail = f"the server sent it back unprocessed {exchange.tries} times"
                self._fail(exchange, Failure(FailureKind.REFUSED, False, detail))
            else:
                self._resend.append(exchange)
        # Not at once: the connection that calls this is still reading its bytes.
        if self._resend:
            asyncio.get_running_loop().call_soon(self._demand)

    def lost(self, connection: PooledConnection) -> None:
        """Forget a connection; one that never answered counts as a failed attempt."""
        if connection not in self._connections:
            return  # it never became ready; the attempt itself reports that
        self._connections.remove(connection)
        if connection is self._current:
            self._current = None
        session = connection.session
        _log.debug(
            "http2_connection_ended", origin=str(self.origin), reason=session.fault
        )
        if session.answered:
            self._connector.worked()
        elif not (self._closing or connection.idle):
            self._connector.blame(connection)
        self.moved()
        if self._waiters or self._resend:
            self._demand()

    # ------------------------------------------------------------ placing

    def _find(self) -> PooledConnection | None:
        """The connection with the most room, which becomes the current one."""
        best = None
        most = 0
        for connection in self._connections:
            session = connection.session
            free = session.limit - len(session.streams)
            if free > most:
                best = connection
                most = free
        if best is not None:
            self._current = best
        return best

    def _place(self) -> None:
        """Send what was given back, as far as there is room."""
        while self._resend:
            connection = self._find()
            if connection is None:
                return
            exchange = self._resend.popleft()
            if connection.session.outbound.accepts(exchange):
                connection.open(exchange)
            else:
                detail = "the head is larger than the server's limit"
                self._fail(exchange, Failure(FailureKind.PROTOCOL, False, detail))

    def _fail(self, exchange: Exchange, failure: Failure) -> None:
        # Through the loop, so that an exception of the callback ends in the loop's
        # handler and not here.
        asyncio.get_running_loop().call_soon(exchange.on_done, failure)

    def _in_flight(self) -> int:
        streams = sum(len(c.session.streams) for c in self._connections)
        return streams + len(self._resend)

    # ------------------------------------------------------------ waiting

    def _wake(self) -> None:
        """Wake the first in line; it wakes the next one when it has submitted."""
        while self._waiters and self.room() > 0:
            waiter = self._waiters.pop()
            if not waiter.done():
                self._woken = waiter
                waiter.set_result(None)
                return

    def _pass_on(self, waiter: asyncio.Future[None]) -> None:
        if self._woken is waiter:
            self._woken = None
        if self._woken is None and self._waiters:
            self._wake()
            if self._waiters:
                self._demand()

    def _leave(self, waiter: asyncio.Future[None]) -> None:
        """A waiter was cancelled or turned away."""
        self._waiters.remove(waiter)
        if self._woken is waiter:
            self._pass_on(waiter)

    def _demand(self) -> None:
        """Make room for waiters: use what is free, connect, or turn them away."""
        self.moved()
        if not self._waiters and not self._resend:
            return
        if self._connecting is not None or self.room() > 0:
            return
        if self._closing:
            self._turn_away("the pool is closed")
            return
        alive = sum(
            not (c.session.draining or c.session.closed) for c in self._connections
        )
        if alive >= self._max_connections:
            return
        loop = asyncio.get_running_loop()
        if not self._connector.wait_s(loop.time()):
            self._connecting = loop.create_task(self._connect())
            self._start_ticking(loop)
        elif not alive:
            self._turn_away(self._connector.reason)

    def _turn_away(self, reason: str) -> None:
        """No connection can be had: everybody who needs one learns why."""
        wait_s = self._connector.wait_s(asyncio.get_running_loop().time())
        waiters = self._waiters.clear()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(Http2ConnectError(reason, wait_s))
        kind = FailureKind.CLOSED if self._closing else FailureKind.CONNECT
        while self._resend:
            self._fail(self._resend.popleft(), Failure(kind, False, reason))

    # ------------------------------------------------------------ connecting

    async def _connect(self) -> None:
        try:
            connection = await self._connector.connect(self._connections)
        finally:
            self._connecting = None
        if connection is not None:
            self._connections.append(connection)
        self._demand()

    def _build(self) -> PooledConnection:
        return PooledConnection(
            self,
            self._patience,
            max_streams=self._max_streams,
            initial_streams=self._initial_streams,
        )

    # ------------------------------------------------------------ the clock

    def _start_ticking(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._ticker is None:
            self._ticker = loop.call_later(self._patience.tick_s, self._tick)

    def _tick(self) -> None:
        """Check all deadlines; runs again while there are connections or waiters."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        # A copy, since a tick may end its connection, which is removed then.
        for connection in list(self._connections):
            connection.tick(now)
            if connection.session.answered:
                self._connector.worked()
        for exchange in [e for e in self._resend if e.deadline <= now]:
            self._resend.remove(exchange)
            detail = "no connection had room for it within the deadline"
            self._fail(exchange, Failure(FailureKind.TIMEOUT, False, detail))
        self._demand()
        self._ticker = None
        if self._connections or self._connecting or self._resend or self._waiters:
            self._start_ticking(loop)
