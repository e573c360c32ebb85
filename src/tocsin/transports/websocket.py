"""Transports room: clients over WebSocket, in JSON or Protobuf.

It must not know commands: messages go to a session as they come. Below aiohttp's
handshake it owns the socket itself, so that a frame is built once for all and a
connection writes once per turn of the loop.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from aiohttp import web

from tocsin.core.client_codes import SLOW, WRITE_ERROR, Disconnect
from tocsin.transports.admission import Admission, Origins
from tocsin.transports.connection import Context
from tocsin.transports.link import Outbox, Traits
from tocsin.transports.session import Session
from tocsin.transports.upgrade import (
    Switched,
    hand_over,
    offered_subprotocols,
    read_key,
    switching_head,
)
from tocsin.transports.websocket_codec import (
    CLOSE,
    PING,
    PONG,
    WEBSOCKET_JSON,
    WEBSOCKET_PROTOBUF,
    FrameReader,
    Violation,
    build_close,
    build_frame,
    read_close,
)

JSON_SUBPROTOCOL = "centrifuge-json"
PROTOBUF_SUBPROTOCOL = "centrifuge-protobuf"
CLOSE_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class WebSocketSettings:
    """`websocket.*` under its published names; bytes and seconds."""

    message_size_limit: int = 65_536
    write_timeout_s: float = 1.0


_JSON = Traits("websocket", WEBSOCKET_JSON, ends_after_refusal=True)
_PROTOBUF = Traits("websocket", WEBSOCKET_PROTOBUF, ends_after_refusal=True)
_NATIVE_JSON = Traits(
    "websocket", WEBSOCKET_JSON, ends_after_refusal=True, pings=False, native_pings=True
)
_NATIVE_PROTOBUF = Traits(
    "websocket",
    WEBSOCKET_PROTOBUF,
    ends_after_refusal=True,
    pings=False,
    native_pings=True,
)


class WebSocketLink(Outbox, asyncio.Protocol):
    """The edge of one WebSocket: bytes in to the session, bytes out in turns.

    While the socket takes no more, bytes wait in the outbox; a socket that stays
    so for `write_timeout_s` is given up (3009), and so is one that lets too much
    pile up (3008).
    """

    __slots__ = (
        "_context",
        "_ended",
        "_former",
        "_is_closing",
        "_reader",
        "_settings",
        "_transport",
        "session",
        "timer_slot",
    )

    def __init__(
        self,
        context: Context,
        settings: WebSocketSettings,
        transport: asyncio.Transport,
        ended: asyncio.Future[None],
    ) -> None:
        super().__init__(context.hub.turn, context.settings.queue_max_size)
        self._context = context
        self._settings = settings
        self._transport = transport
        self._former = transport.get_protocol()
        self._reader = FrameReader(settings.message_size_limit)
        self._ended = ended
        self._is_closing = False
        self.timer_slot = -1
        self.session: Session | None = None

    # --- from the socket ---

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        try:
            for opcode, payload in self._reader.feed(data):
                if opcode == CLOSE:
                    self._take_close(payload)
                    return
                if not self._is_closing:
                    self._take(opcode, payload)
        except Violation as violation:
            self._fail(violation.code, str(violation))

    def _take(self, opcode: int, payload: bytes) -> None:
        if self.session is None:
            return
        if opcode == PING:
            self.write(build_frame(PONG, payload))
        elif opcode == PONG:
            self.session.take_pong()
        else:
            self.session.receive(payload)

    def _take_close(self, payload: bytes) -> None:
        code = read_close(payload)
        if not self._is_closing:
            self._begin_close(build_close(0 if code == 1005 else code))
        self._transport.close()

    def _fail(self, code: int, reason: str) -> None:
        if self._is_closing:
            self._transport.abort()
        else:
            self._begin_close(build_close(code, reason))

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
            self.session = None
        self._former.connection_lost(exc)
        if not self._ended.done():
            self._ended.set_result(None)

    def pause_writing(self) -> None:
        """See asyncio: the socket does not take all of it now."""
        self.is_blocked = True
        self.held = self._transport.get_write_buffer_size()
        if not self._is_closing:
            wheel = self._context.wheel
            wheel.put(self, wheel.now() + self._settings.write_timeout_s)

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

    def ping(self) -> None:
        """See `Link`."""
        self.write(build_frame(PING, b""))

    def close(self, disconnect: Disconnect) -> None:
        """See `Link`: the code goes in the close frame."""
        if not self._is_closing:
            self._begin_close(build_close(disconnect.code, disconnect.reason))

    def end(self) -> None:
        """See `Link`."""
        self.is_shut = True
        self._transport.close()

    def _begin_close(self, frame: bytes) -> None:
        """Write the last frame, and wait a while for the other side's."""
        self._is_closing = True
        self.flush()
        self.is_shut = True
        self.drop()
        self.send(frame)
        if self.session is not None:
            self.session.lost()
        self.resume_reading()
        wheel = self._context.wheel
        wheel.put(self, wheel.now() + CLOSE_TIMEOUT_S)

    def on_timer(self, now_s: float) -> None:  # noqa: ARG002 - `Timed`
        """See `Timed`: either the close or a write takes too long."""
        if self._is_closing:
            self._transport.abort()
        elif self.is_blocked and self.session is not None:
            self.drop()
            self.session.close(WRITE_ERROR)

    def pause_reading(self) -> None:
        """See `Link`."""
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """See `Link`."""
        if not self._transport.is_closing():
            self._transport.resume_reading()


class WebSocketEndpoint:
    """The handler of `/connection/websocket`."""

    def __init__(
        self,
        context: Context,
        admission: Admission,
        settings: WebSocketSettings | None = None,
    ) -> None:
        self._context = context
        self._admission = admission
        self._settings = settings or WebSocketSettings()
        self._origins = Origins(context.settings.allowed_origins)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Shake hands, and stay until the connection ends.

        403 for a foreign origin, 503 beyond the connection limits, 400 for what is
        no handshake.
        """
        if not self._origins.allows(request.headers.get("Origin")):
            raise web.HTTPForbidden
        key = read_key(request)
        subprotocol, traits = _choose(request)
        if not self._admission.enter():
            raise web.HTTPServiceUnavailable
        try:
            await self._serve(request, traits, switching_head(key, subprotocol))
        finally:
            self._admission.leave()
        return Switched()

    async def _serve(self, request: web.Request, traits: Traits, head: bytes) -> None:
        transport = request.transport
        if transport is None:
            return
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        link = WebSocketLink(self._context, self._settings, transport, ended)
        header = self._context.settings.user_id_http_header
        link.session = Session(
            self._context,
            link,
            traits,
            header_user=request.headers.get(header, "") if header else "",
        )
        early = hand_over(request, link)
        transport.set_write_buffer_limits(high=0)
        transport.write(head)
        link.session.open()
        if early:
            link.data_received(early)
        del request, head, early  # what idles for hours holds little
        try:
            await ended
        finally:
            if not ended.done():
                transport.abort()


def _choose(request: web.Request) -> tuple[str, Traits]:
    query = request.query
    offered = offered_subprotocols(request)
    subprotocol = next(
        (each for each in offered if each in {JSON_SUBPROTOCOL, PROTOBUF_SUBPROTOCOL}),
        "",
    )
    is_protobuf = (
        subprotocol == PROTOBUF_SUBPROTOCOL
        or query.get("format") == "protobuf"
        or query.get("cf_protocol") == "protobuf"
    )
    if query.get("cf_ws_frame_ping_pong") == "true":
        return subprotocol, _NATIVE_PROTOBUF if is_protobuf else _NATIVE_JSON
    return subprotocol, _PROTOBUF if is_protobuf else _JSON
