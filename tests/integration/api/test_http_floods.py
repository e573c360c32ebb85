"""What one HTTP connection sends without end, and what others still get."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from tests.support.connections import connect
from tests.support.http_streams import open_doors
from tests.support.raw_websocket import RawWebSocket, handshake, masked
from tests.support.realtime import build_context
from tests.support.sessions import run_until

from tocsin.api import http_connection
from tocsin.api.http_gateway import HttpGateway
from tocsin.hub.share import TurnShare
from tocsin.transports.http_link import EXTRA_BYTES_MOST
from tocsin.transports.websocket_codec import PING, PONG, TEXT

CHUNKED = (
    b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
    b"Connection: close\r\n\r\n"
)


class Turns:
    """Counts what the connections' parsers are given in each turn of the loop."""

    def __init__(self) -> None:
        self.pieces: list[int] = []

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        read = http_connection.TimedConnection._read

        def count(connection: Any, data: bytes) -> None:
            if data:
                self.pieces.append(len(data))
            read(connection, data)

        monkeypatch.setattr(http_connection.TimedConnection, "_read", count)


@asynccontextmanager
async def _gateway(handle: Any, **options: Any) -> AsyncIterator[HttpGateway]:
    routes = [web.route("*", "/", handle)]
    gateway = HttpGateway("127.0.0.1", 0, routes=routes, **options)
    await gateway.start()
    try:
        yield gateway
    finally:
        await gateway.stop()


async def _echo_size(request: web.Request) -> web.Response:
    return web.Response(text=f"took {len(await request.read())}\n")


async def _exchange(port: int, data: bytes) -> bytes:
    reader, writer = await connect(port)
    writer.write(data)
    try:
        async with asyncio.timeout(20):
            return await reader.read(-1)
    finally:
        writer.transport.abort()


async def test_a_body_of_tiny_chunks_is_read_in_pieces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is whole in the end; no piece takes the loop for long."""
    turns = Turns()
    turns.watch(monkeypatch)
    body = b"1\r\nx\r\n" * 40_000 + b"0\r\n\r\n"
    async with _gateway(_echo_size) as gateway:
        answer = await _exchange(gateway.port, CHUNKED + body)
    assert answer.endswith(b"took 40000\n")
    assert sum(turns.pieces) == len(CHUNKED + body)
    assert max(turns.pieces) <= http_connection.PIECE_BYTES


@pytest.mark.parametrize("size", [1, 4_096, 100_000, 1_000_000])
async def test_plain_bodies_arrive(size: int) -> None:
    """Of any size, in however many pieces."""
    fields = b"Host: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % size
    async with _gateway(_echo_size) as gateway:
        head = b"POST / HTTP/1.1\r\n" + fields
        answer = await _exchange(gateway.port, head + b"x" * size)
    assert answer.endswith(b"took %d\n" % size)


async def test_requests_one_behind_the_other_are_answered() -> None:
    """All of them in order, although others have turns between."""
    asked = b"".join(
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (n, b"x" * n)
        for n in range(300)
    )
    last = (
        b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    )
    async with _gateway(_echo_size) as gateway:
        answer = await _exchange(gateway.port, asked + last)
    found = [part.partition(b"\n")[0] for part in answer.split(b"took ")[1:]]
    assert found == [b"%d" % n for n in (*range(300), 0)]


async def test_requests_one_behind_the_other_leave_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They wait for their share once they had some time of the processor."""
    monkeypatch.setattr(http_connection, "READ_S", 0.0)
    pauses = 0
    share = TurnShare
    pause = share.pause

    async def count(self: Any) -> None:
        nonlocal pauses
        pauses += 1
        await pause(self)

    monkeypatch.setattr(share, "pause", count)
    asked = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 20
    last = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    async with _gateway(_echo_size) as gateway:
        await _exchange(gateway.port, last)
        assert pauses == 0
        await _exchange(gateway.port, asked + last)
        assert pauses >= 9


async def test_metrics_are_rendered_once_for_all_who_ask_together() -> None:
    """And anew for who asks later."""
    rendered = 0

    def render() -> tuple[bytes, str]:
        nonlocal rendered
        rendered += 1
        return b"%d\n" % rendered, "text/plain"

    ask = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    async with _gateway(_echo_size, render_metrics=render) as gateway:
        first = await _exchange(gateway.port, ask)
        answers = await asyncio.gather(
            *(_exchange(gateway.port, ask) for _ in range(30))
        )
        last = await _exchange(gateway.port, ask)
    assert first.endswith(b"\n1\n")
    assert all(b" 200 " in each for each in answers)
    assert last.endswith(b"\n%d\n" % rendered)


STREAMS = {
    "/connection/http_stream": b'{"id":1,"connect":{}}',
    "/connection/sse": b'{"id":1,"connect":{}}',
    "/connection/uni_sse": b"{}",
    "/connection/uni_http_stream": b"{}",
}


@pytest.mark.parametrize(("path", "body"), STREAMS.items())
async def test_who_sends_on_behind_a_stream_is_cut_off(path: str, body: bytes) -> None:
    """A little is no matter; more ends the connection, and its session."""
    context = build_context()
    async with open_doors(context) as doors:
        reader, writer = await connect(doors.port)
        head = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
        writer.write(head % (path.encode(), len(body)) + body)
        async with asyncio.timeout(5):
            await reader.readuntil(b"client")
        writer.write(b"\r\n" * 100)
        await writer.drain()
        await run_until(lambda: doors.admission.num_open == 1)
        writer.write(b"x" * (EXTRA_BYTES_MOST + 1))
        await run_until(lambda: doors.admission.num_open == 0)
        writer.transport.abort()


async def test_frames_right_behind_a_handshake_arrive() -> None:
    """Whatever the HTTP side had not looked at goes to the connection's new owner."""
    frames = masked(TEXT, b"{}") + masked(PING, b"p" * 125) * 100
    asked = handshake().replace(b"/websocket", b"/uni_websocket") + frames
    assert len(asked) > 3 * http_connection.PIECE_BYTES
    async with open_doors(build_context()) as doors:
        client = RawWebSocket(*await connect(doors.port))
        client.writer.write(asked)
        assert (await client.read_head()).startswith("HTTP/1.1 101 ")
        opcodes = [(await client.read_frame())[0] for _ in range(101)]
        assert sorted(opcodes) == [TEXT] + [PONG] * 100
        await client.close()
