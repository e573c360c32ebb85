"""API room: the answer of the HTTP API, which is short JSON almost always.

It must not decide what is answered. A short one is written as one piece, without the
steps that aiohttp takes for responses of any kind: they cost as much as a publish.
"""

from __future__ import annotations

from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.helpers import rfc822_formatted_time

_HEADERS = {"Content-Type": "application/json"}
# Longer ones go through aiohttp, which waits for a client that reads slowly.
_SHORT_BYTES = 16 * 1024


class _ShortJson(web.StreamResponse):
    """200 with a short body, on an HTTP/1.1 connection that stays open."""

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self._short_body = body

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Write all of it; raises `ConnectionResetError` where nobody is left."""
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError
        self._keep_alive = True
        body = self._short_body
        more = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        # The `Server` is among the headers: see `TimedConnection.finish_response`.
        head = (
            f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{more}"
            f"Content-Length: {len(body)}\r\nDate: {rfc822_formatted_time()}\r\n\r\n"
        )
        transport.write(head.encode() + body)
        if request.protocol.writing_paused:
            # Who asks on without reading waits, rather than filling our memory.
            await request.writer.drain()
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to write."""


def answer_json(
    request: web.Request, body: bytes, status: int = 200
) -> web.StreamResponse:
    """An answer with this JSON."""
    if (
        status == 200
        and len(body) <= _SHORT_BYTES
        and request.version == HttpVersion11
        and request.keep_alive
    ):
        return _ShortJson(body)
    return web.Response(body=body, status=status, headers=_HEADERS)
