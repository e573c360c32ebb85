"""Transports room: HTTP streaming; later commands come by `/emulation`.

It must not know commands: the body goes to a session, messages come as lines or
length-prefixed.
"""

from __future__ import annotations

from aiohttp import web

from tocsin.protocol.frames import Encoding, WireForm, write_varint
from tocsin.sessions.link import Traits
from tocsin.transports.http_entry import is_protobuf
from tocsin.transports.http_link import BYTES, PLAIN_TEXT, Stream, frame_line
from tocsin.transports.stream_endpoint import Opening, StreamEndpoint, begin_frame


def _frame_delimited(message: bytes) -> bytes:
    return write_varint(len(message)) + message


_JSON = Traits(
    "http_stream",
    WireForm("http_stream json", Encoding.JSON, frame_line, transport="http_stream"),
    emulated=True,
    pushes_disconnect=True,
)
_PROTOBUF = Traits(
    "http_stream",
    WireForm(
        "http_stream protobuf",
        Encoding.PROTOBUF,
        _frame_delimited,
        transport="http_stream",
    ),
    emulated=True,
    pushes_disconnect=True,
)
_TEXT_STREAM = Stream(PLAIN_TEXT)
_BYTE_STREAM = Stream(BYTES)


class HttpStreamEndpoint(StreamEndpoint):
    """The handler of `/connection/http_stream`."""

    transport = "http_stream"

    async def read(self, request: web.Request) -> Opening:
        """See `StreamEndpoint`: the body holds the first commands."""
        protobuf = is_protobuf(request)
        return Opening(
            _PROTOBUF if protobuf else _JSON,
            _BYTE_STREAM if protobuf else _TEXT_STREAM,
            begin_frame(await self.read_body(request)),
        )
