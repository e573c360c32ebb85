"""The HTTP/1.1 side of a simulator connection.

It reads only what clients of push services write: no upgrade, no trailers.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from tocsin.simulator.exchange import Ending, Reply, Request, Site

BODY_LIMIT = 1 << 20
_HEAD_LIMIT = 1 << 16


class _Malformed(Exception):
    """The peer does not speak HTTP/1.1."""


class Http1Connection:
    """Answers requests one after the other, also pipelined ones."""

    def __init__(self, transport: asyncio.Transport, site: Site) -> None:
        self._transport = transport
        self._site = site
        self._buffer = bytearray()
        self._busy = False
        self._timer: asyncio.TimerHandle | None = None

    def receive(self, data: bytes) -> None:
        """Take bytes from the peer."""
        self._buffer += data
        self._advance()

    def settings_changed(self) -> None:
        """Nothing in HTTP/1.1 announces limits."""

    def lost(self) -> None:
        """The socket is gone."""
        if self._timer is not None:
            self._timer.cancel()

    def _advance(self) -> None:
        while not (self._busy or self._transport.is_closing()):
            try:
                taken = _take_request(self._buffer)
            except _Malformed:
                self._transport.write(_encode(Reply(400), keep=False))
                self._transport.close()
                return
            if taken is None:
                return
            request, keep = taken
            if self._site.fast_path == request.path:
                self._site.count_fast(1)
                reply = self._site.fast_reply
            else:
                reply = self._site.answer(request)
            if reply.delay_s:
                self._busy = True
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(reply.delay_s, self._late, reply, keep)
            else:
                self._answer(reply, keep)

    def _late(self, reply: Reply, keep: bool) -> None:
        self._busy = False
        self._answer(reply, keep)
        self._advance()

    def _answer(self, reply: Reply, keep: bool) -> None:
        if reply.ending is Ending.SILENCE:
            self._busy = True
        elif reply.ending is Ending.ANSWER:
            self._transport.write(_encode(reply, keep))
            if not keep:
                self._transport.close()
        elif reply.ending in (Ending.CUT, Ending.STALL):
            # At least one byte is promised and never sent, also of an empty
            # body.
            left = -(-len(reply.body) // 2) or 1
            self._transport.write(_encode(reply, keep, promised=left)[:-left])
            self._busy = True
            if reply.ending is Ending.CUT:
                self._transport.close()
        else:
            self._transport.abort()


def _take_request(buffer: bytearray) -> tuple[Request, bool] | None:
    """Cut one whole request off the buffer, with whether to keep the connection."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        if len(buffer) > _HEAD_LIMIT:
            raise _Malformed
        return None
    first, *lines = buffer[:end].decode("latin-1").split("\r\n")
    try:
        method, url, version = first.split(" ")
        pairs = [line.split(":", 1) for line in lines]
        headers = {name.strip().lower(): value.strip() for name, value in pairs}
        length = int(headers.get("content-length", "0"))
    except ValueError:
        raise _Malformed from None
    if headers.get("transfer-encoding", "").lower() == "chunked":
        found = _find_chunks(buffer, end + 4)
        if found is None:
            return None
        body, after = found
    else:
        after = end + 4 + length
        if not 0 <= length <= BODY_LIMIT:
            raise _Malformed
        if len(buffer) < after:
            return None
        body = bytes(buffer[end + 4 : after])
    # What follows belongs to the next request.
    del buffer[:after]
    path, _, query = url.partition("?")
    keep = version != "HTTP/1.0" and headers.get("connection", "").lower() != "close"
    return Request(method, path, query, headers, body), keep


def _find_chunks(buffer: bytearray, start: int) -> tuple[bytes, int] | None:
    parts: list[bytes] = []
    while True:
        line_end = buffer.find(b"\r\n", start)
        if line_end < 0:
            return None
        try:
            size = int(buffer[start:line_end].split(b";")[0], 16)
        except ValueError:
            raise _Malformed from None
        chunk_end = line_end + 2 + size
        if size > BODY_LIMIT or chunk_end - start > BODY_LIMIT * 2:
            raise _Malformed
        if len(buffer) < chunk_end + 2:
            return None
        parts.append(bytes(buffer[line_end + 2 : chunk_end]))
        start = chunk_end + 2
        if size == 0:
            return b"".join(parts), start


def _encode(reply: Reply, keep: bool, *, promised: int = 0) -> bytes:
    """The whole reply; with `promised` of at least so many bytes of body."""
    body = reply.body or b" " * promised
    try:
        phrase = HTTPStatus(reply.status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [
        f"HTTP/1.1 {reply.status} {phrase}",
        f"content-type: {reply.content_type}",
        f"content-length: {len(body)}",
        *(f"{name}: {value}" for name, value in reply.headers),
    ]
    if not keep:
        lines.append("connection: close")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
