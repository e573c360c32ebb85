"""An HTTP/2 client that sends exactly the frames it is told to."""

from __future__ import annotations

import asyncio

from tests.support.connections import connect

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
ACK = 1
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame."""
    head = len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4)
    return head + payload


def _literal(name: bytes, value: bytes) -> bytes:
    return b"\x00" + bytes((len(name),)) + name + bytes((len(value),)) + value


def call_head(path: str) -> bytes:
    """The header block of a gRPC call without metadata."""
    return (
        b"\x83\x86"  # POST, http
        + _literal(b":path", path.encode())
        + _literal(b":authority", b"localhost")
        + _literal(b"content-type", b"application/grpc")
        + _literal(b"te", b"trailers")
    )


class RawHttp2:
    """A connection after its preface; frames are read as they come."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int) -> RawHttp2:
        """Connect, and write preface and empty settings."""
        client = cls(*await connect(port))
        client.writer.write(_PREFACE + frame(SETTINGS, 0, 0))
        return client

    def call(self, path: str, message: bytes = b"", *, stream: int = 1) -> None:
        """Begin a call with its one message."""
        body = b"\x00" + len(message).to_bytes(4) + message
        self.writer.write(frame(HEADERS, 4, stream, call_head(path)))
        self.writer.write(frame(DATA, 1, stream, body))

    def ping(self, number: int) -> None:
        self.writer.write(frame(PING, 0, 0, number.to_bytes(8)))

    async def read(self, *, timeout_s: float = 5.0) -> tuple[int, int, int, bytes]:
        """Kind, flags, stream and payload; settings are acknowledged on the way."""
        async with asyncio.timeout(timeout_s):
            head = await self._reader.readexactly(9)
            payload = await self._reader.readexactly(int.from_bytes(head[:3]))
        kind, flags = head[3], head[4]
        if kind == SETTINGS and not flags & ACK:
            self.writer.write(frame(SETTINGS, ACK, 0))
        return kind, flags, int.from_bytes(head[5:]), payload

    async def read_until(self, kind: int, flags: int = 0) -> bytes:
        """Skip to the next frame of a kind that has these flags; its payload."""
        while True:
            found, has, _, payload = await self.read()
            if found == kind and has & flags == flags:
                return payload

    async def close(self) -> None:
        self.writer.transport.abort()
