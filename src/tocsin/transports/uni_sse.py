"""Transports room: server-sent events, one-way.

It must not know sessions' commands: there is a connect request, then pushes as events.
"""

from __future__ import annotations

from aiohttp import web

from tocsin.protocol.frames import Encoding, WireForm
from tocsin.sessions.link import Traits
from tocsin.transports.http_link import EVENT_STREAM, Stream, frame_event
from tocsin.transports.sse import PREAMBLE
from tocsin.transports.stream_endpoint import (
    CONNECT_PARAMETER,
    Opening,
    StreamEndpoint,
    begin_connect,
)

_FORM = WireForm(
    "one-way sse json",
    Encoding.JSON,
    frame_event,
    unidirectional=True,
    transport="uni_sse",
)
_PUSHING = Traits("uni_sse", _FORM, pushes_disconnect=True)
_ANSWERING = Traits("uni_sse", _FORM, keeps_error_codes=True)


class UniSseEndpoint(StreamEndpoint):
    """The handler of `/connection/uni_sse`."""

    transport = "uni_sse"
    methods = ("GET", "POST")

    async def read(self, request: web.Request) -> Opening:
        """See `StreamEndpoint`: a GET may have the connect request in its address."""
        if request.method == "POST":
            data = await self.read_body(request)
        else:
            data = request.query.get(CONNECT_PARAMETER, "").encode() or b"{}"
        refusals = self.settings.refusals
        return Opening(
            _PUSHING if refusals is None else _ANSWERING,
            Stream(EVENT_STREAM, PREAMBLE, refusals),
            begin_connect(self.read_connect_request(data)),
        )
