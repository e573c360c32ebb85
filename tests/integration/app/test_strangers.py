"""What somebody without a key or token can make a server write and tell."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from structlog.testing import capture_logs
from tests.support.api import single_key
from tests.support.whole_node import WholeNode, whole_node

from tocsin.api import grpc_server
from tocsin.api.grpc_server import GrpcServer, GrpcSettings
from tocsin.sessions.refusals import MOST_LINES

TIMES = 30
HEAD = b"Host: x\r\nUser-Agent: " + b"A" * 300 + b"\r\nConnection: close\r\n"
WEBSOCKET = (
    b"Host: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)


def post(path: bytes, body: bytes = b"{}") -> bytes:
    size = b"Content-Length: %d\r\n\r\n" % len(body)
    return b"POST " + path + b" HTTP/1.1\r\n" + HEAD + size + body


def get(path: bytes, more: bytes = HEAD) -> bytes:
    return b"GET " + path + b" HTTP/1.1\r\n" + more + b"\r\n"


WITHOUT_KEY = {
    "a call": post(b"/api/publish?x=" + b"y" * 3000),
    "an old call": post(b"/api"),
    "a batch": post(b"/api/batch"),
    "the funnel": get(b"/api/push_funnel?uid=x"),
    "an escape in the path": post(b"/api/info%0a%1b%5b31m"),
    "no such path": get(b"/nope"),
    "no such method": b"DELETE /api/info HTTP/1.1\r\n" + HEAD + b"\r\n",
    "no HTTP": b"\x00\x01garbage\r\n\r\n",
    "a long line": get(b"/" + b"a" * 20_000),
    "a long header": get(b"/", HEAD + b"X: " + b"a" * 20_000 + b"\r\n"),
    "an escape in a header": get(b"/", HEAD + b"X: \x1b[31m\r\n"),
    "another version": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a wrong expectation": b"POST /api/info HTTP/1.1\r\n"
    + HEAD
    + b"Expect: x\r\nContent-Length: 2\r\n\r\n{}",
    "a wrong length": b"POST /api/info HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    "a wrong chunk": b"POST /emulation HTTP/1.1\r\n"
    + HEAD
    + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a wrong URL": get(b"http://[:::/"),
    "a wrong port": get(b"http://x:99999999/"),
    "a body that is too long": b"POST /emulation HTTP/1.1\r\n"
    + HEAD
    + b"Content-Length: 99999999\r\n\r\n{}",
    "no handshake": get(b"/connection/websocket"),
    "a broken frame": get(b"/connection/websocket", WEBSOCKET) + b"\xff" * 20,
    "another origin": get(
        b"/connection/websocket", WEBSOCKET + b"Origin: http://evil.example\r\n"
    ),
    "a wrong frame": post(b"/connection/http_stream", b'{"x":'),
    "a stream without a token": get(b"/connection/sse?cf_connect=%7B%7D"),
    "emulation of nobody": post(b"/emulation", b'{"node": "\\u001b", "session": "x"}'),
}
HALF = (
    b"POST /connection/http_stream HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{"
)


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[WholeNode]:
    async with whole_node(tmp_path) as node:
        yield node


async def ask(port: int, request: bytes) -> bytes:
    """What comes back until the server closes, or has said all that it will."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        async with asyncio.timeout(10):
            answer = b""
            while piece := await reader.read(65_536):
                answer += piece
                if answer.startswith(b"HTTP/1.1 101") or b"\r\n\r\n" in answer:
                    break
            return answer
    except ConnectionError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize("what", WITHOUT_KEY)
async def test_a_flood_of_it_is_no_flood_of_lines(node: WholeNode, what: str) -> None:
    """One line, or those of refused clients, which have a budget; and no traceback.

    Lines of level debug, which are for who looks closely, may be one each.
    """
    with capture_logs() as lines:
        for _ in range(TIMES):
            await ask(node.port, WITHOUT_KEY[what])
    events = Counter(line["event"] for line in lines if line["log_level"] != "debug")
    for event, count in events.items():
        assert count <= (MOST_LINES + 1 if event.startswith("client ") else 1), events
    assert [line for line in lines if line.get("exc_info")] == []
    assert all(len(str(line)) < 700 for line in lines)


async def test_requests_that_break_off_are_no_lines(
    node: WholeNode, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller is gone, which is no fault of ours."""
    with capture_logs() as lines:
        for _ in range(TIMES):
            _, writer = await asyncio.open_connection("127.0.0.1", node.port)
            writer.write(HALF)
            await writer.drain()
            writer.transport.abort()
        assert await ask(node.port, get(b"/health"))
    assert [line for line in lines if line["log_level"] == "error"] == []
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.parametrize("what", [*WITHOUT_KEY, "health", "metrics", "readiness"])
async def test_no_answer_names_a_version(node: WholeNode, what: str) -> None:
    """Neither ours nor those of the libraries below us, at any door."""
    paths = {"health": b"/health", "metrics": b"/metrics", "readiness": b"/ready"}
    request = get(paths[what]) if what in paths else WITHOUT_KEY[what]
    head, _, body = (await ask(node.port, request)).partition(b"\r\n\r\n")
    for name in re.findall(rb"^server: (.*)$", head, re.IGNORECASE | re.MULTILINE):
        assert name.strip() == b"Tocsin"
    if b"/metrics" not in request:  # which tell of the process, by any verb
        assert re.search(rb"aiohttp|python", head + body, re.IGNORECASE) is None


async def test_an_answer_of_a_call_names_no_version(node: WholeNode) -> None:
    """Its short answers are written by hand."""
    request = b"POST /api/info HTTP/1.1\r\nHost: x\r\nX-API-Key: k\r\n"
    answer = await ask(node.port, request + b"Content-Length: 2\r\n\r\n{}")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert re.findall(rb"Server: (.*)\r\n", answer) == [b"Tocsin"]


async def test_grpc_calls_without_the_key_are_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of known and unknown methods, and of reflection."""
    monkeypatch.setattr(grpc_server, "REFUSAL_HOLD_S", 0.0)
    server = GrpcServer(
        object(),  # type: ignore[arg-type] # no call comes through
        GrpcSettings(host="127.0.0.1", port=0, keys=single_key("k")),
    )
    await server.start()
    methods = (
        "/centrifugal.centrifugo.api.CentrifugoApi/Publish",
        "/" + "\x1b" * 3000,
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    )
    try:
        with capture_logs() as lines:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
                for number in range(TIMES):
                    method = methods[number % len(methods)]
                    with pytest.raises(grpc.aio.AioRpcError):
                        await channel.unary_unary(method, None, None)(b"", timeout=10)
    finally:
        await server.stop(0)
    (line,) = [line for line in lines if line["event"].startswith("call refused")]
    assert line["method"] == methods[0]
