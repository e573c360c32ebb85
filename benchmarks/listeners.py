"""Raw WebSocket clients of the client protocol, so cheap that thousands fit.

They count deliveries by a mark in the payload and read no frame; some keep what came,
to be checked afterwards. They know no server.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import orjson

from tocsin.transports.websocket_codec import TEXT, build_frame

CHANNEL = "bench:1"
MARK = b"#"  # once in every payload, and in no head of a frame
PAYLOAD_BYTES = 128
CHECKED = 10  # connections whose messages are read one by one
_AT_ONCE = 100  # connections that are opened together

_HANDSHAKE = (
    b"GET /connection/websocket HTTP/1.1\r\nHost: localhost\r\n"
    b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
)

Count = Callable[[int], None]


def masked(message: bytes) -> bytes:
    """A client's text frame; a key of zeros leaves the bytes as they are."""
    frame = build_frame(TEXT, message)
    head = len(frame) - len(message)
    return frame[:1] + bytes((frame[1] | 0x80,)) + frame[2:head] + bytes(4) + message


class Listener(asyncio.Protocol):
    """A connection that counts deliveries, of its own and by `count`."""

    def __init__(self, count: Count, *, keeps: bool) -> None:
        self._count = count
        self._keeps = keeps
        self.kept: list[bytes] = []
        self.received = 0
        self.transport: asyncio.Transport
        self._awaited: asyncio.Future[None] | None = None
        self._until = b""
        self._seen = b""

    def connection_made(self, transport: Any) -> None:
        """See asyncio."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        deliveries = data.count(MARK)
        if deliveries:
            self.received += deliveries
            self._count(deliveries)
        if self._keeps:
            self.kept.append(data)
        if self._awaited is not None:
            self._seen = (self._seen + data)[-4096:]
            if self._until in self._seen:
                self._awaited.set_result(None)
                self._awaited = None

    async def ask(self, message: bytes, until: bytes) -> None:
        """Write, and wait until these bytes have come."""
        self._seen, self._until = b"", until
        awaited = self._awaited = asyncio.get_running_loop().create_future()
        self.transport.write(message)
        async with asyncio.timeout(60):
            await awaited


def _ignore(_deliveries: int) -> None:
    """For clients whose deliveries nobody counts."""


async def open_listener(
    port: int,
    count: Count = _ignore,
    *,
    channel: str = CHANNEL,
    keeps: bool = False,
) -> Listener:
    """A connected client, subscribed to `channel` unless that is empty."""
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(
        lambda: Listener(count, keeps=keeps), "127.0.0.1", port
    )
    await client.ask(_HANDSHAKE, b"\r\n\r\n")
    await client.ask(masked(b'{"id":1,"connect":{}}'), b'"id":1,"connect"')
    if channel:
        subscribe = orjson.dumps({"id": 2, "subscribe": {"channel": channel}})
        await client.ask(masked(subscribe), b'"id":2,"subscribe"')
    return client


async def open_listeners(
    port: int, number: int, count: Count = _ignore, *, channel: str = CHANNEL
) -> list[Listener]:
    """Many of them; the first `CHECKED` keep what comes."""
    clients: list[Listener] = []
    while len(clients) < number:
        clients += await asyncio.gather(
            *(
                open_listener(
                    port, count, channel=channel, keeps=len(clients) + i < CHECKED
                )
                for i in range(min(_AT_ONCE, number - len(clients)))
            )
        )
    return clients


async def publish_numbered(
    publisher: Listener, name: int, messages: int
) -> list[float]:
    """Publish one after the other, each when the last was answered; seconds each."""
    waits = []
    for number in range(messages):
        text = f"#{name}.{number}.".ljust(PAYLOAD_BYTES - 2, "x")
        command = {"id": 9, "publish": {"channel": CHANNEL, "data": text}}
        began = time.perf_counter()
        await publisher.ask(masked(orjson.dumps(command)), b'"id":9,"publish"')
        waits.append(time.perf_counter() - began)
    return waits


def check_order(client: Listener, publishers: int, messages: int) -> None:
    """Raise unless everything came once, in the order of each publisher."""
    data = b"".join(client.kept)
    seen = [0] * publishers
    for piece in data.split(MARK)[1:]:
        name, number, _ = piece.split(b".", 2)
        if int(number) != seen[int(name)]:
            raise RuntimeError(f"publisher {name!r}: {number!r} is out of order")
        seen[int(name)] += 1
    if seen != [messages] * publishers:
        raise RuntimeError(f"publications are missing: {seen}")
