"""Transports room: HTTP streaming, one-way.

It must not know sessions' commands: there is a connect request, then pushes as lines.
"""

from __future__ import annotations

from aiohttp import web

from tocsin.protocol.frames import Encoding, WireForm
from tocsin.sessions.link import Traits
from tocsin.transports.http_link import PLAIN_TEXT, Stream, frame_line
from tocsin.transports.stream_endpoint import (
    Opening,
    StreamEndpoint,
    begin_connect,
)

_FORM = WireForm(
    "one-way http_stream json",
    Encoding.JSON,
    frame_line,
    unidirectional=True,
    transport="uni_http_stream",
)
_PUSHING = Traits("uni_http_stream", _FORM, pushes_disconnect=True)
_ANSWERING = Traits("uni_http_stream", _FORM, keeps_error_codes=True)


class UniHttpStreamEndpoint(StreamEndpoint):
    """The handler of `/connection/uni_http_stream`."""

    transport = "uni_http_stream"

    async def read(self, request: web.Request) -> Opening:
        """See `StreamEndpoint`: the body is a connect request."""
        connect = self.read_connect_request(await self.read_body(request))
        refusals = self.settings.refusals
        return Opening(
            _PUSHING if refusals is None else _ANSWERING,
            Stream(PLAIN_TEXT, refusals=refusals),
            begin_connect(connect),
        )
