"""Transports room: server-sent events; later commands come by `/emulation`.

It must not know commands: those of the request go to a session, messages come out as
events.
"""

from __future__ import annotations

from aiohttp import web

from tocsin.protocol.frames import Encoding, WireForm
from tocsin.sessions.link import Traits
from tocsin.transports.http_link import EVENT_STREAM, Stream, frame_event
from tocsin.transports.stream_endpoint import (
    CONNECT_PARAMETER,
    Opening,
    StreamEndpoint,
    begin_frame,
)

PREAMBLE = b"\r\n"
_TRAITS = Traits(
    "sse",
    WireForm("sse json", Encoding.JSON, frame_event, transport="sse"),
    emulated=True,
    pushes_disconnect=True,
)
_STREAM = Stream(EVENT_STREAM, PREAMBLE)


class SseEndpoint(StreamEndpoint):
    """The handler of `/connection/sse`."""

    transport = "sse"
    methods = ("GET", "POST")

    async def read(self, request: web.Request) -> Opening:
        """See `StreamEndpoint`: GET has the connect command in its address."""
        if request.method == "POST":
            frame = await self.read_body(request)
        else:
            frame = request.query.get(CONNECT_PARAMETER, "").encode()
            if not frame:
                raise web.HTTPBadRequest
        return Opening(_TRAITS, _STREAM, begin_frame(frame))
