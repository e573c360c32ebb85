"""Connections to one origin, for the HTTP/2 room: who may send, and where.

It opens connections when they are needed, hands requests to them, and sends again
what a server did not process. It never sends again what may have been acted upon.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque

import structlog

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

# A server that shuts down sends requests back once or twice; one that goes on does
# not want them, and the caller has to know.
_MAX_TRIES = 5
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
        `initial_streams` bounds a connection until the first answer that is no
        refusal of us (401, 403, 429, 5xx).
        An idle connection is closed after `idle_timeout_s`, or never when None.
        `resolve` says for each connection which addresses may be dialled; without
        it the system's resolver does. One that does not answer is no reason to wait
        before the next one is tried too.
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
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._woken: asyncio.Future[None] | None = None
        self._ticker: asyncio.TimerHandle | None = None
        self._closing = False
        self._quiet: asyncio.Future[None] | None = None

    # ------------------------------------------------------------ for callers

    def room(self) -> int:
        """How many `submit` calls are accepted right now."""
        if self._resend or self._closing:
            return 0
        room = 0
        for connection in self._connections:
            session = connection.session
            free = session.limit - len(session.streams)
            if free > 0:
                room += free
        return room

    async def wait_room(self) -> None:
        """Return when `room()` > 0, opening connections as needed.

        Waiters are served in the order in which they came. Raises
        `Http2ConnectError` when no connection can be made, at once while the pool
        still waits before it tries again.
        """
        if self._closing:
            raise Http2ConnectError("the pool is closed")
        if not self._waiters and self._woken is None and self.room() > 0:
            return
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()
        self._waiters.append(waiter)
        while True:
            self._demand()
            try:
                await waiter
            except BaseException:
                self._leave(waiter)
                raise
            if self.room() > 0:
                # Whoever is next gets what the caller leaves, after it has submitted.
                loop.call_soon(self._pass_on, waiter)
                return
            # Somebody submitted without waiting: stay the first in line.
            self._woken = None
            waiter = loop.create_future()
            self._waiters.appendleft(waiter)

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
        """Start nothing more on the connections there are; new ones take over.

        What is in flight on them ends as usual, then they are closed.
        """
        self._current = None
        for connection in self._connections:
            connection.session.drain()

    async def aclose(self, deadline_s: float = 5.0) -> None:
        """Let what is in flight end within the deadline, then close everything.

        What has not ended by then fails as CLOSED. Nothing is accepted any more.
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
        """Streams ended or limits changed: place what waits, wake who waits."""
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
            exchange.fields = None
            exchange.partial = None
            if exchange.tries >= _MAX_TRIES:
                detail = f"the server sent it back unprocessed {exchange.tries} times"
                self._fail(exchange, Failure(FailureKind.REFUSED, False, detail))
            else:
                self._resend.append(exchange)
        # Not at once: the connection that gives back is still about its bytes.
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
        _log.debug("http2_connection_ended", origin=self.name, reason=session.fault)
        if session.answered:
            self._connector.worked()
        elif not (self._closing or connection.idle):
            self._connector.blame(connection)
        self.moved()
        if self._waiters or self._resend:
            self._demand()

    @property
    def name(self) -> str:
        """The origin, for logs."""
        return f"{self.origin.scheme}://{self.origin.authority}"

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
        # By way of the loop, so that a callback's exception ends in its handler.
        asyncio.get_running_loop().call_soon(exchange.on_done, failure)

    def _in_flight(self) -> int:
        streams = sum(len(c.session.streams) for c in self._connections)
        return streams + len(self._resend)

    # ------------------------------------------------------------ waiting

    def _wake(self) -> None:
        """Wake the first in line; the next one is woken when it has taken its part."""
        while self._waiters and self.room() > 0:
            waiter = self._waiters.popleft()
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
        if waiter in self._waiters:
            self._waiters.remove(waiter)
        if self._woken is waiter:
            self._pass_on(waiter)

    def _demand(self) -> None:
        """Somebody needs room: find some, make some, or say that there will be none."""
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
        waiters = list(self._waiters)
        self._waiters.clear()
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
        """Look at all clocks; goes on as long as there is anything to look after."""
        loop = asyncio.get_running_loop()
        now = loop.time()
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
