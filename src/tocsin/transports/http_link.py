"""Transports room: an HTTP answer that lasts as long as its connection.

It must not know whose messages it sends: they come framed, and go out in chunks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from aiohttp import web

from tocsin.core.client_codes import Disconnect
from tocsin.protocol import client_pb2 as pb
from tocsin.protocol.frames import encode_push
from tocsin.sessions.context import Context
from tocsin.transports.socket_link import SocketLink

WRITE_TIMEOUT_S = 1.0
EXTRA_BYTES_MOST = 16_384
"""What a client may send behind its request; it is dropped, and more cuts it off."""
STREAM_HEADERS = {  # `Expire` and all, as the published server sends them
    "X-Accel-Buffering": "no",
    "Cache-Control": "private, no-cache, no-store, must-revalidate, max-age=0",
    "Pragma": "no-cache",
    "Expire": "0",
}
EVENT_STREAM = "text/event-stream; charset=utf-8"
PLAIN_TEXT = "text/plain; charset=utf-8"
BYTES = "application/octet-stream"
_LAST_CHUNK = b"0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An answer in place of a stream."""

    status: int
    body: str = ""


UNMAPPED = HttpAnswer(500)


@dataclass(frozen=True, slots=True)
class Stream:
    """The form of an answer: its content type and the bytes that it begins with.

    With `refusals` the answer begins only when the connect has succeeded; a refused
    connect gets the answer of its code, or `UNMAPPED`.
    """

    content_type: str
    preamble: bytes = b""
    refusals: Mapping[int, HttpAnswer] | None = None


class HttpLink(SocketLink):
    """The edge of one streamed answer; what the client sends behind is dropped.

    The socket is read all the same, since only so its end is seen; a client that goes
    on sending is cut off.
    """

    __slots__ = ("_cors", "_extra_bytes", "_head", "_is_chunked", "_stream")

    def __init__(
        self,
        context: Context,
        request: web.Request,
        ended: asyncio.Future[None],
        stream: Stream,
        cors: Mapping[str, str],
    ) -> None:
        transport = request.transport
        if transport is None:
            raise ConnectionResetError
        super().__init__(context, transport, ended, WRITE_TIMEOUT_S)
        self._stream = stream
        self._is_chunked = request.version >= (1, 1)
        headers = {"Content-Type": stream.content_type, **STREAM_HEADERS, **cors}
        if self._is_chunked:
            headers["Transfer-Encoding"] = "chunked"
        self._head = build_head(200, headers) + self._chunk(stream.preamble)
        self._cors = cors
        self._extra_bytes = 0

    def data_received(self, data: bytes) -> None:
        """See asyncio; no data is expected, and none is kept."""
        self._extra_bytes += len(data)
        if self._extra_bytes > EXTRA_BYTES_MOST:
            self._transport.abort()

    def open(self) -> None:
        """Send the head now, unless the answer depends on the connect."""
        if self._stream.refusals is None:
            self.send(b"")

    # --- to the socket ---

    def send(self, data: bytes) -> None:
        """See `Outbox`: one chunk."""
        piece = self._chunk(data)
        if self._head:
            piece = self._head + piece
            self._head = b""
        super().send(piece)

    def _chunk(self, data: bytes) -> bytes:
        if not self._is_chunked or not data:
            return data
        return b"%x\r\n%b\r\n" % (len(data), data)

    def ping(self) -> None:
        """See `Link`; HTTP has none."""

    def close(self, disconnect: Disconnect) -> None:
        """See `Link`: the code went in a push, or goes in the answer's status."""
        if self._is_closing:
            return
        if self._stream.refusals is not None:
            if self._head:  # nothing is sent yet: the status can still tell
                self._refuse(self._stream.refusals.get(disconnect.code, UNMAPPED))
            else:
                self._push(disconnect)
        self.end()

    def _refuse(self, answer: HttpAnswer) -> None:
        self.drop()
        body = answer.body.encode()
        headers = {
            "Content-Type": PLAIN_TEXT,
            "Content-Length": str(len(body)),
            **self._cors,
        }
        self._head = b""
        self._is_chunked = False  # the body has a length; `end` must add no chunk
        super().send(build_head(answer.status, headers) + body)

    def _push(self, disconnect: Disconnect) -> None:
        if self.session is not None:
            pushed = pb.Disconnect(code=disconnect.code, reason=disconnect.reason)
            form = self.session.traits.form
            self.write(encode_push(form, pb.Push(disconnect=pushed)))

    def end(self) -> None:
        """See `Link`: what waits goes to the socket's buffer even while it is full."""
        if self._is_closing:
            return
        self._is_closing = True
        self.is_shut = True
        if rest := self.take():
            self.send(rest)
        if self._is_chunked:
            super().send(_LAST_CHUNK)
        self._transport.close()
        self._await_close()


def build_head(status: int, headers: Mapping[str, str]) -> bytes:
    """The head of an answer after which the connection is closed."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [
        f"HTTP/1.1 {status} {phrase}",
        *(f"{name}: {value}" for name, value in headers.items()),
        "Connection: close",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape")


def frame_event(message: bytes) -> bytes:
    """A message as a server-sent event."""
    if b"\r" in message:
        # An event's line ends at a carriage return too. JSON has one only as white
        # space between tokens, so that it can be left out.
        message = message.replace(b"\r", b"")
    return b"data: " + message + b"\n\n"


def frame_line(message: bytes) -> bytes:
    """A message as a line."""
    return message + b"\n"
