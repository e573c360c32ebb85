"""Transports room: clients over WebSocket, in JSON or Protobuf.

It must not know commands: messages go to a session as they come. After the handshake it
owns the socket in place of aiohttp, so that a frame is built once for all connections,
and a connection writes once per turn of the loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from aiohttp import web

from tocsin.core.client_codes import Disconnect
from tocsin.http_edge.inside import Switched, hand_over
from tocsin.hub.share import SMALL_BYTES
from tocsin.sessions.connection import State
from tocsin.sessions.context import Context
from tocsin.sessions.link import Traits
from tocsin.sessions.session import Session
from tocsin.transports.admission import Admission, Origins
from tocsin.transports.http_entry import check_origin, refuse_at_limit
from tocsin.transports.socket_link import SocketLink
from tocsin.transports.upgrade import offered_subprotocols, read_key, switching_head
from tocsin.transports.websocket_codec import (
    CLOSE,
    CONTINUATION,
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

FRAMES_AT_ONCE = 32
BYTES_AT_ONCE = 16_384
"""Frames and bytes of a connection that are handled in one go; the rest waits for a
later turn."""
FRAMES_BEFORE_CONNECT = 256
"""More frames end a connection that has not authenticated: a connect is one frame, and
a client may send its subscriptions right behind it."""
FRAMES_AFTER_CLOSE = 256
"""After more frames a client that does not answer a close frame is cut off."""

JSON_SUBPROTOCOL = "centrifuge-json"
PROTOBUF_SUBPROTOCOL = "centrifuge-protobuf"


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


class WebSocketLink(SocketLink):
    """The edge of one WebSocket: frames in to the session, bytes out in turns.

    At most `FRAMES_AT_ONCE` and about `BYTES_AT_ONCE` are handled in one go. With more
    at hand the socket is not read, and the rest waits for a later turn. `_is_paused` is
    the session's wish, `_waits` is that wait; the socket is read when neither holds.
    """

    __slots__ = ("_frames", "_is_paused", "_reader", "_spare_frames", "_waits")

    def __init__(
        self,
        context: Context,
        settings: WebSocketSettings,
        transport: asyncio.Transport,
        ended: asyncio.Future[None],
    ) -> None:
        super().__init__(context, transport, ended, settings.write_timeout_s)
        self._reader = FrameReader(settings.message_size_limit)
        self._frames: Iterator[tuple[int, bytes]] | None = None
        self._is_paused = self._waits = False
        self._spare_frames = FRAMES_BEFORE_CONNECT

    # --- from the socket ---

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        # A generator: nothing is parsed before it is taken.
        frames = self._reader.feed(data)
        self._frames = chain(self._frames, frames) if self._frames else frames
        if self._is_paused or self._waits:
            return
        if len(data) <= SMALL_BYTES:
            self._read_on()
        elif (share := self._context.hub.share).is_taken:
            self._wait_for_turn()
        else:
            began_s = time.perf_counter()
            self._read_on()
            share.spend(time.perf_counter() - began_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self._frames = None
        super().connection_lost(exc)

    def _read_on(self) -> None:
        """Handle frames until none is left, the share is used up, or reading pauses."""
        left, size = FRAMES_AT_ONCE, BYTES_AT_ONCE
        try:
            for opcode, payload in self._frames or ():
                if opcode == CLOSE:
                    self._frames = None
                    self._take_close(payload)
                    return
                left -= 1
                size -= len(payload)
                if not self._is_closing:
                    self._take(opcode, payload)
                if self._is_paused:
                    break
                if left <= 0 or size <= 0:
                    self._wait_for_turn()
                    break
            else:
                self._frames = None
        except Violation as violation:
            self._frames = None
            self._fail(violation.code, str(violation))
            return
        session = self.session
        if self._is_closing or (
            session is not None and session.state is not State.CONNECTED
        ):
            self._use_up(FRAMES_AT_ONCE - left)

    def _use_up(self, frames: int) -> None:
        """Count frames of a client that is not connected yet, or is being closed."""
        self._spare_frames -= frames
        if self._spare_frames >= 0:
            return
        if self._is_closing:
            self._frames = None
            self._transport.abort()
        elif self.session is not None:
            self.session.end_flood()

    def _wait_for_turn(self) -> None:
        self._waits = True
        super().pause_reading()
        self._context.hub.share.wait(self)

    def go_on(self) -> None:
        """See `Waiting`: handle the next share of what has come."""
        self._waits = False
        if not self._is_paused:
            self._read_on()
            self._resume()

    def pause_reading(self) -> None:
        """See `Link`."""
        self._is_paused = True
        super().pause_reading()

    def resume_reading(self) -> None:
        """See `Link`: handles what has come before, then reads the socket again."""
        if self._is_paused:
            self._is_paused = False
            if not self._waits:
                self._read_on()
            self._resume()

    def _resume(self) -> None:
        if not (self._is_paused or self._waits):
            super().resume_reading()

    def _take(self, opcode: int, payload: bytes) -> None:
        if self.session is None:
            return
        if opcode == PING:
            self.write_control(build_frame(PONG, payload))
        elif opcode == PONG:
            self.session.take_pong()
        elif opcode != CONTINUATION:
            self.take_message(self.session, payload)

    def take_message(self, session: Session, payload: bytes) -> None:
        """Handle a whole message."""
        session.receive(payload)

    def _take_close(self, payload: bytes) -> None:
        code = read_close(payload)
        # If the client began the close, its code goes back, as RFC 6455 asks.
        if not self._is_closing:
            self._begin_close(build_close(0 if code == 1005 else code))
        self._transport.close()

    def _fail(self, code: int, reason: str) -> None:
        if self._is_closing:
            self._transport.abort()
        else:
            self._begin_close(build_close(code, reason))

    # --- to the socket ---

    def write_control(self, frame: bytes) -> None:
        """Queue a ping or pong."""
        self.write(frame)

    def ping(self) -> None:
        """See `Link`."""
        self.write_control(build_frame(PING, b""))

    def close(self, disconnect: Disconnect) -> None:
        """See `Link`: the code goes in the close frame."""
        if not self._is_closing:
            self._begin_close(build_close(disconnect.code, disconnect.reason))

    def _begin_close(self, frame: bytes) -> None:
        """Write a close frame as the last one, and wait a while for the client's."""
        self._is_closing = True
        self._spare_frames = FRAMES_AFTER_CLOSE
        self.flush()
        self.is_shut = True
        self.drop()  # what a full socket did not take: the close must not wait for it
        self.send(frame)
        if self.session is not None:
            self.session.lost()
        self.resume_reading()  # to see the client's close frame
        self._await_close()


class WebSocketEndpoint:
    """The handler of `/connection/websocket`."""

    transport = "websocket"

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
        no handshake, 405 for one by another verb.
        """
        refusals, name = self._context.refusals, self.transport
        check_origin(request, self._origins, refusals, name)
        key = read_key(request)
        subprotocol, traits = self.choose(request)
        if not self._admission.enter():
            return refuse_at_limit(request, self._admission, refusals, name)
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
        link = self.make_link(transport, ended)
        header = self._context.settings.user_id_http_header
        link.session = Session(
            self._context,
            link,
            traits,
            header_user=request.headers.get(header, "") if header else "",
        )
        early = hand_over(request, link)
        # `pause_writing` comes as soon as the socket does not take all bytes at once:
        # further ones wait in the outbox, where they are counted.
        transport.set_write_buffer_limits(high=0)
        transport.write(head)
        link.session.open()
        self.begin(link, request)
        if early:
            link.data_received(early)
        del request, head, early  # frees memory: the wait may take hours
        try:
            await ended
        finally:
            # The handler was cancelled: the socket is nobody's from now on.
            if not ended.done():
                transport.abort()

    def choose(self, request: web.Request) -> tuple[str, Traits]:
        """The subprotocol to answer with, or empty, and the kind of connection."""
        return _choose(request)

    def make_link(
        self, transport: asyncio.Transport, ended: asyncio.Future[None]
    ) -> WebSocketLink:
        """The edge of a new connection."""
        return WebSocketLink(self._context, self._settings, transport, ended)

    def begin(self, link: WebSocketLink, request: web.Request) -> None:
        """Do what the request itself asks for, after the handshake; here nothing."""


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
