"""A WebSocket client that sends exactly the bytes it is told to."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Mapping

from tests.support.connections import connect

from tocsin.transports.websocket_codec import CLOSE, TEXT, build_frame, unmask

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
MASK = b"\x0a\x0b\x0c\x0d"


def handshake(
    *, headers: Mapping[str, str] | None = None, query: str = "", method: str = "GET"
) -> bytes:
    """The request; `headers` replace the usual ones, an empty name's value is cut."""
    fields = {
        "Host": "localhost",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": KEY,
        **(headers or {}),
    }
    lines = [f"{method} /connection/websocket{query} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in fields.items() if value != "-"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def masked(opcode: int, payload: bytes) -> bytes:
    """A client's whole frame."""
    frame = build_frame(opcode, payload)
    head = len(frame) - len(payload)
    start = frame[:1] + bytes((frame[1] | 0x80,)) + frame[2:head]
    return start + MASK + unmask(payload, MASK)


class RawWebSocket:
    """A connection, from the first byte."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def dial(cls, port: int, *, receive_buffer: int = 0) -> RawWebSocket:
        """Connect; with `receive_buffer` the kernel takes few bytes ahead."""
        return cls(*await connect(port, receive_buffer=receive_buffer))

    @classmethod
    async def open(
        cls, port: int, *, query: str = "", receive_buffer: int = 0
    ) -> RawWebSocket:
        """Connect and shake hands."""
        client = await cls.dial(port, receive_buffer=receive_buffer)
        client.writer.write(handshake(query=query))
        head = await client.read_head()
        assert head.startswith("HTTP/1.1 101 "), head
        return client

    async def read_head(self) -> str:
        async with asyncio.timeout(5):
            return (await self.reader.readuntil(b"\r\n\r\n")).decode()

    async def send(self, text: str) -> None:
        self.writer.write(masked(TEXT, text.encode()))
        await self.writer.drain()

    async def read_frame(self, *, timeout_s: float = 5.0) -> tuple[int, bytes]:
        """Opcode and payload of the next frame."""
        async with asyncio.timeout(timeout_s):
            first, size = await self.reader.readexactly(2)
            if size == 126:
                size = int.from_bytes(await self.reader.readexactly(2))
            elif size == 127:
                size = int.from_bytes(await self.reader.readexactly(8))
            return first & 0x0F, await self.reader.readexactly(size)

    async def read_close(self) -> tuple[int, str]:
        """Skip to the close frame; its code and reason."""
        while True:
            opcode, payload = await self.read_frame()
            if opcode == CLOSE:
                return int.from_bytes(payload[:2]), payload[2:].decode()

    async def connect(self, *channels: str) -> None:
        """Connect by the protocol, and subscribe; takes the replies."""
        await self.send('{"id":1,"connect":{}}')
        await self.read_frame()
        for channel in channels:
            command = {"id": 2, "subscribe": {"channel": channel}}
            await self.send(json.dumps(command))
            await self.read_frame()

    def abort(self) -> None:
        """End with a reset."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.writer.transport.abort()

    async def close(self) -> None:
        self.writer.transport.abort()
