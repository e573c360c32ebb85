"""Transports room: a connection that owns its socket and writes once per turn.

It must not know framing or requests: subclasses do.
"""

from __future__ import annotations

import asyncio

from tocsin.core.client_codes import SLOW, WRITE_ERROR
from tocsin.sessions.context import Context
from tocsin.sessions.session import Session
from tocsin.transports.outbox import Outbox

CLOSE_TIMEOUT_S = 5.0


class SocketLink(Outbox, asyncio.Protocol):
    """The edge of one connection: bytes go out in turns.

    While the socket takes no more, bytes wait in the outbox. The connection ends with
    3009 when that lasts `write_timeout_s`, and with 3008 when too many bytes wait.
    `ended` is resolved when the socket is closed.
    """

    __slots__ = (
        "_context",
        "_ended",
        "_former",
        "_is_closing",
        "_transport",
        "_write_timeout_s",
        "session",
        "timer_slot",
    )

    def __init__(
        self,
        context: Context,
        transport: asyncio.Transport,
        ended: asyncio.Future[None],
        write_timeout_s: float,
    ) -> None:
        super().__init__(context.hub.turn, context.settings.queue_max_size)
        self._context = context
        self._transport = transport
        self._former = transport.get_protocol()
        self._ended = ended
        self._write_timeout_s = write_timeout_s
        self._is_closing = False
        self.timer_slot = -1
        self.session: Session | None = None

    # --- from the socket ---

    def eof_received(self) -> bool:
        """See asyncio; the transport closes itself."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self.is_shut = True
        self.drop()
        self._context.wheel.remove(self)
        if self.session is not None:
            self.session.lost()
            self.session = None  # session and link held each other: now both are freed
        self._former.connection_lost(exc)  # aiohttp's protocol lets go of the request
        if not self._ended.done():
            self._ended.set_result(None)

    def pause_writing(self) -> None:
        """See asyncio: the socket does not take all bytes now."""
        self.is_blocked = True
        self.held = self._transport.get_write_buffer_size()
        if not self._is_closing:
            wheel = self._context.wheel
            wheel.put(self, wheel.now() + self._write_timeout_s)

    def resume_writing(self) -> None:
        """See asyncio: the socket has taken everything."""
        self.is_blocked = False
        self.held = 0
        if not self._is_closing:
            self._context.wheel.remove(self)
            self.flush()

    # --- to the socket ---

    def send(self, data: bytes) -> None:
        """See `Outbox`."""
        if not self._transport.is_closing():
            self._transport.write(data)

    def overflow(self) -> None:
        """See `Outbox`."""
        if self.session is not None:
            self.session.close(SLOW)

    def end(self) -> None:
        """See `Link`."""
        self.is_shut = True
        self._transport.close()

    def _await_close(self) -> None:
        """Abort the socket unless it is closed within `CLOSE_TIMEOUT_S`."""
        wheel = self._context.wheel
        wheel.put(self, wheel.now() + CLOSE_TIMEOUT_S)

    def on_timer(self, now_s: float) -> None:  # noqa: ARG002 - `Timed`
        """See `Timed`: either the close or a write takes too long."""
        if self._is_closing:
            self._transport.abort()
        elif self.is_blocked and self.session is not None:
            self.drop()  # what waits would only delay the end
            self.session.close(WRITE_ERROR)

    def pause_reading(self) -> None:
        """See `Link`."""
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """See `Link`."""
        if not self._transport.is_closing():
            self._transport.resume_reading()
