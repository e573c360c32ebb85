"""Transports room: WebSocket, one-way: a connect request, then pushes.

It must not know sessions' commands: what a client sends later is not looked at.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from aiohttp import web

from tocsin.core.client_codes import WRONG_COMMAND, Disconnect
from tocsin.protocol.frames import Encoding, WireForm
from tocsin.sessions.context import Context
from tocsin.sessions.link import Traits
from tocsin.sessions.session import Session
from tocsin.transports.admission import Admission
from tocsin.transports.http_link import frame_line
from tocsin.transports.stream_endpoint import CONNECT_PARAMETER, read_connect_request
from tocsin.transports.websocket import (
    WebSocketEndpoint,
    WebSocketLink,
    WebSocketSettings,
)
from tocsin.transports.websocket_codec import TEXT, UNI_WEBSOCKET_JSON, build_frame


@dataclass(frozen=True, slots=True)
class UniWebSocketSettings(WebSocketSettings):
    """`uni_websocket.*` under its published names."""

    disable_closing_handshake: bool = False
    disable_disconnect_push: bool = False
    join_push_messages: bool = False


_NAME = "uni_websocket"
_SINGLE = Traits(_NAME, UNI_WEBSOCKET_JSON, pushes_disconnect=True, native_pings=True)
_JOINED = replace(
    _SINGLE,
    form=WireForm(
        "one-way websocket json, joined",
        Encoding.JSON,
        frame_line,
        unidirectional=True,
        transport=_NAME,
    ),
)
# Made once each, since a publication is encoded once per form.
_TRAITS = {
    (join, silent): replace(traits, pushes_disconnect=not silent)
    for join, traits in ((False, _SINGLE), (True, _JOINED))
    for silent in (False, True)
}


class UniWebSocketLink(WebSocketLink):
    """The edge of a one-way WebSocket; only the client's first message counts."""

    __slots__ = ("_closes_with_frame", "_has_begun")

    def __init__(
        self,
        context: Context,
        settings: UniWebSocketSettings,
        transport: asyncio.Transport,
        ended: asyncio.Future[None],
    ) -> None:
        super().__init__(context, settings, transport, ended)
        self._closes_with_frame = not settings.disable_closing_handshake
        self._has_begun = False

    def take_message(self, session: Session, payload: bytes) -> None:
        """See `WebSocketLink`."""
        if self._has_begun:
            return
        self._has_begun = True
        try:
            request = read_connect_request(payload)
        except web.HTTPBadRequest:
            session.close(WRONG_COMMAND)
        else:
            session.start(request)

    def close(self, disconnect: Disconnect) -> None:
        """See `Link`: with a close frame, unless that is switched off."""
        if self._closes_with_frame:
            super().close(disconnect)
        elif not self._is_closing:
            self._is_closing = True
            self.flush()
            self.end()
            self._await_close()


class JoiningLink(UniWebSocketLink):
    """Puts the pushes of one turn in one frame, with newlines between."""

    __slots__ = ()

    def flush(self) -> None:
        """See `Outbox`; the waiting bytes are lines, without a frame yet."""
        if self._queue and not self.is_blocked:
            self.send(build_frame(TEXT, self.take()[:-1]))

    def write_control(self, frame: bytes) -> None:
        """See `WebSocketLink`: it must not come between the lines that wait.

        So it goes out before them, and not at all while the socket is full.
        """
        if not self.is_blocked and not self.is_shut:
            self.send(frame)


class UniWebSocketEndpoint(WebSocketEndpoint):
    """The handler of `/connection/uni_websocket`."""

    transport = "uni_websocket"

    def __init__(
        self,
        context: Context,
        admission: Admission,
        settings: UniWebSocketSettings | None = None,
    ) -> None:
        self._uni = settings or UniWebSocketSettings()
        super().__init__(context, admission, self._uni)
        uni = self._uni
        self._traits = _TRAITS[uni.join_push_messages, uni.disable_disconnect_push]

    def choose(self, request: web.Request) -> tuple[str, Traits]:
        """See `WebSocketEndpoint`; raises `HTTPBadRequest` for a bad `cf_connect`."""
        data = request.query.get(CONNECT_PARAMETER, "").encode()
        if data:
            read_connect_request(data)
        return "", self._traits

    def make_link(
        self, transport: asyncio.Transport, ended: asyncio.Future[None]
    ) -> WebSocketLink:
        """See `WebSocketEndpoint`."""
        kind = JoiningLink if self._uni.join_push_messages else UniWebSocketLink
        return kind(self._context, self._uni, transport, ended)

    def begin(self, link: WebSocketLink, request: web.Request) -> None:
        """See `WebSocketEndpoint`: the address may hold the connect request."""
        data = request.query.get(CONNECT_PARAMETER, "").encode()
        if data and link.session is not None:
            link.take_message(link.session, data)
