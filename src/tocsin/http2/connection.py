"""One HTTP/2 connection on asyncio, for the HTTP/2 room.

It joins a `ClientSession` to a transport and watches for silence. The pool decides
which request goes to which connection.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol, cast

from tocsin.http2.codec import error_name
from tocsin.http2.exchange import Exchange, FailureKind
from tocsin.http2.session import ClientSession

# Below this the transport buffers what we write; above it, output waits in the
# session, where a lost connection leaves it unsent for sure.
_WRITE_BUFFER_BYTES = 1 << 20
_TIMEOUTS_BEFORE_PING = 3
# After this many requests in a row without an answer the connection is replaced, even
# if pings are answered: another connection may reach a healthier machine.
_TIMEOUTS_BEFORE_RETIRING = 10
# Idle connections get fewer pings, since some front ends count pings as abuse.
_IDLE_PING_FACTOR = 3
_CLOSE_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Patience:
    """The timeouts of a connection, in seconds."""

    request_timeout_s: float
    connect_timeout_s: float
    ping_interval_s: float
    ping_timeout_s: float
    idle_timeout_s: float | None

    @property
    def silence_s(self) -> float:
        """With requests in flight, a PING is sent after this time without a byte."""
        return min(self.ping_interval_s, self.request_timeout_s / 2)

    @property
    def tick_s(self) -> float:
        """How often the timeouts are checked, so that none is overrun by much."""
        waits = [self.request_timeout_s, self.ping_interval_s, self.ping_timeout_s]
        if self.idle_timeout_s is not None:
            waits.append(self.idle_timeout_s)
        return max(0.005, min(0.25, min(waits) / 8))


class ConnectionOwner(Protocol):
    """What a connection tells its pool."""

    def moved(self) -> None:
        """Streams ended, or limits changed."""
        ...

    def give_back(self, exchanges: list[Exchange]) -> None:
        """These were not processed and may be sent elsewhere."""
        ...

    def lost(self, connection: PooledConnection) -> None:
        """The connection is gone; called once."""
        ...


class PooledConnection(asyncio.Protocol):
    """The asyncio end of a session. All methods are called from the loop.

    `ready` gets "" once the server's SETTINGS are there, or the reason why they will
    not come. `gone` is done when the transport is closed. `idle` is set if it was
    closed because nobody used it, not for a fault. `address` is set by the connector,
    so that it can avoid the address later.
    """

    def __init__(
        self,
        owner: ConnectionOwner,
        patience: Patience,
        *,
        max_streams: int,
        initial_streams: int | None,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.session = ClientSession(
            max_streams=max_streams,
            initial_streams=initial_streams,
            report=self._report,
        )
        self.ready: asyncio.Future[str] = self.loop.create_future()
        self.gone: asyncio.Future[None] = self.loop.create_future()
        self.idle = False
        self.address = ""
        self._owner = owner
        self._patience = patience
        self._transport: asyncio.Transport | None = None
        self._flush_due = False
        self._paused = False
        now = self.loop.time()
        self._heard_at = now
        self._used_at = now
        self._last_id = 0
        self._asked_at: float | None = None
        self._closing_at: float | None = None
        self._shut_since: float | None = None

    # ------------------------------------------------------------ for the pool

    async def wait_ready(self) -> None:
        """Return once the server's SETTINGS are there; OSError says why not."""
        if reason := await self.ready:
            raise OSError(reason)

    def open(self, exchange: Exchange) -> None:
        """Send a request; it is written together with all others of this turn."""
        self.session.open(exchange)
        if not self._flush_due:
            self._flush_due = True
            self.loop.call_soon(self._flush)

    def close(self) -> None:
        """Say goodbye and close; what is still open fails as CLOSED."""
        if not self.session.closed:
            self.session.say_goodbye()
            self._end(FailureKind.CLOSED, "the connection was closed by this side")

    def abort(self) -> None:
        """Close at once, without a word."""
        self.session.end(FailureKind.CLOSED, "the connection was dropped by this side")
        if self._transport is not None:
            self._transport.abort()
        elif not self.gone.done():
            self.gone.set_result(None)

    def tick(self, now: float) -> None:
        """Look at the clock: deadlines, silence, idleness. Called every `tick_s`."""
        session = self.session
        if session.closed:
            if self._closing_at is not None and now > self._closing_at:
                self.abort()
            return
        if not session.ready:
            return
        if session.streams or session.last_id != self._last_id:
            self._last_id = session.last_id
            self._used_at = now
            session.expire(now)
        self._watch_silence(now)
        self._watch_use(now)
        self._after_session()

    # ------------------------------------------------------------ asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Check the protocol that TLS agreed on, and send the opening."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_WRITE_BUFFER_BYTES)
        tls = transport.get_extra_info("ssl_object")
        chosen = None if tls is None else tls.selected_alpn_protocol()
        # A server without ALPN may speak HTTP/2 all the same; its first frame tells.
        if chosen not in (None, "h2"):
            reason = f"the server chose {chosen} by ALPN, not h2"
            self._end(FailureKind.PROTOCOL, reason)
            return
        self._heard_at = self.loop.time()
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Give bytes to the session and carry out what follows from them."""
        self._heard_at = self.loop.time()
        # Any byte will do as an answer to our PING: the server is there.
        if self._asked_at is not None:
            self._asked_at = None
            self.session.hold(False)
        try:
            self.session.receive(data)
        except Exception as error:  # noqa: BLE001 - a bug here must end in failures, not in requests that wait for ever
            self._report(error)
            self._end(FailureKind.PROTOCOL, "an error in this program; see the log")
        self._after_session()
        self._owner.moved()

    def eof_received(self) -> None:
        """The server sends nothing more, so no request can be answered: close."""
        self._end(FailureKind.CLOSED, self._end_reason(None))

    def connection_lost(self, exc: Exception | None) -> None:
        """Everything that is still open ends here."""
        self._transport = None
        self.session.end(FailureKind.CLOSED, self._end_reason(exc))
        self._settle_ready()
        self._pass_back()
        if not self.gone.done():
            self.gone.set_result(None)
        self._owner.lost(self)

    def pause_writing(self) -> None:
        """The peer reads slowly: keep output here."""
        self._paused = True

    def resume_writing(self) -> None:
        """The peer caught up."""
        self._paused = False
        self._flush()

    # ------------------------------------------------------------ inside

    def _flush(self) -> None:
        """One write for all that gathered in this turn of the loop."""
        self._flush_due = False
        transport = self._transport
        if transport is None or self._paused or not self.session.outbound.parts:
            return
        if transport.is_closing():
            return
        transport.write(self.session.take_output())

    def _after_session(self) -> None:
        session = self.session
        if session.returned:
            self._pass_back()
        if session.outbound.parts and not self._flush_due:
            self._flush_due = True
            self.loop.call_soon(self._flush)
        if session.closed:
            self._shut()
        elif session.draining:
            self._close_if_done()
        elif not self.ready.done() and session.ready:
            self.ready.set_result("")

    def _pass_back(self) -> None:
        returned = self.session.returned
        if returned:
            self.session.returned = []
            self._owner.give_back(returned)

    def _close_if_done(self) -> None:
        session = self.session
        if not session.streams and not session.closed:
            session.say_goodbye()
            self._end(FailureKind.CLOSED, self._end_reason(None))

    def _end(self, kind: FailureKind, reason: str) -> None:
        self.session.end(kind, reason)
        self._shut()

    def _shut(self) -> None:
        """The session is closed: write what it still has and close the transport."""
        self._settle_ready()
        self._pass_back()
        if self._closing_at is not None:
            return
        self._closing_at = self.loop.time() + _CLOSE_TIMEOUT_S
        if self._transport is not None:
            # The GOAWAY is written even while the transport is paused: `close` sends
            # its buffer first, and `tick` drops it when that takes too long.
            if self.session.outbound.parts:
                self._transport.write(self.session.take_output())
            self._transport.close()

    def _settle_ready(self) -> None:
        if not self.ready.done():
            self.ready.set_result(self.session.fault or "the connection was closed")

    def _watch_silence(self, now: float) -> None:
        session = self.session
        if self._asked_at is not None:
            if now - self._asked_at > self._patience.ping_timeout_s:
                self._end(FailureKind.CLOSED, "the server is silent: no answer to PING")
                if self._transport is not None:
                    self._transport.abort()
            return
        if session.timeouts_in_row >= _TIMEOUTS_BEFORE_RETIRING:
            session.fault = "one request after the other got no answer"
            session.drain()
        quiet = now - self._heard_at
        if session.streams:
            limit = self._patience.silence_s
            if session.timeouts_in_row >= _TIMEOUTS_BEFORE_PING:
                limit /= 2
        else:
            limit = self._patience.ping_interval_s * _IDLE_PING_FACTOR
        if quiet > limit:
            # Until a byte comes, no further request is given to this connection.
            self._asked_at = now
            session.ping(b"alive?!\n")
            session.hold(True)

    def _watch_use(self, now: float) -> None:
        """Close a connection that is idle, or whose server allows no streams."""
        session = self.session
        if session.streams or session.closed:
            self._shut_since = None
            return
        idle = self._patience.idle_timeout_s
        if idle is not None and now - self._used_at > idle:
            self.idle = True
            session.fault = "idle for long"
            session.drain()
        if session.outbound.peer_streams > 0:
            self._shut_since = None
        elif self._shut_since is None:
            self._shut_since = now
        elif now - self._shut_since > self._patience.connect_timeout_s:
            session.fault = "the server allows no streams"
            session.drain()

    def _end_reason(self, exc: Exception | None) -> str:
        session = self.session
        reason = f"the connection was lost: {exc}" if exc else "the server closed"
        if session.goaway_code is not None:
            name = error_name(session.goaway_code)
            said = session.goaway_debug.decode("utf-8", "replace")[:200]
            reason = f"the server said GOAWAY {name} {said}".rstrip()
        return session.fault or reason

    def _report(self, error: Exception) -> None:
        self.loop.call_exception_handler(
            {
                "message": "HTTP/2: an error in a callback, or on bytes of the server",
                "exception": error,
            }
        )
