"""What clients and logs are told at the doors, before there is a connection."""

from __future__ import annotations

import asyncio

import aiohttp
import grpc
import pytest
from structlog.testing import capture_logs
from tests.support.http_streams import open_doors
from tests.support.realtime import SECRET, build_context, running_node
from tests.support.tokens import sign

from tocsin.protocol import unistream_pb2 as pb
from tocsin.protocol import unistream_pb2_grpc
from tocsin.sessions.settings import SessionSettings

ORIGIN = "https://evil.example"
PATHS = [
    "/connection/sse",
    "/connection/http_stream",
    "/connection/uni_sse",
    "/connection/uni_http_stream",
    "/connection/uni_websocket",
    "/emulation",
]


@pytest.mark.parametrize("path", PATHS)
async def test_a_forbidden_origin(path: str) -> None:
    """Answer and line name the origin, and the key that would let it in."""
    context = build_context(SessionSettings(allowed_origins=("https://a.example",)))
    async with open_doors(context) as doors, aiohttp.ClientSession() as http:
        url = f"http://127.0.0.1:{doors.port}{path}"
        with capture_logs() as lines:
            async with http.post(url, headers={"Origin": ORIGIN}) as answer:
                assert answer.status == 403
                assert answer.content_type == "text/plain"
                text = await answer.text()
    assert text == f"origin {ORIGIN} is not in client.allowed_origins\n"
    (line,) = lines
    assert line == {
        "event": "client refused",
        "log_level": "info",
        "transport": path.rpartition("/")[2],
        "peer": "127.0.0.1",
        "code": 403,
        "reason": "forbidden origin",
        "origin": ORIGIN,
        "setting": "client.allowed_origins",
    }


async def test_a_forbidden_origin_of_a_websocket() -> None:
    """As for the others."""
    async with (
        running_node(build_context(SessionSettings())) as node,
        aiohttp.ClientSession() as http,
    ):
        url = node.url.replace("ws:", "http:")
        with capture_logs() as lines:
            async with http.get(url, headers={"Origin": ORIGIN}) as answer:
                assert answer.status == 403
                assert ORIGIN in await answer.text()
    (line,) = lines
    assert (line["transport"], line["origin"]) == ("websocket", ORIGIN)


async def test_an_origin_that_is_no_text() -> None:
    """Bytes of a header that cannot be read end neither the answer nor the line."""
    async with running_node(build_context(SessionSettings())) as node:
        reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
        with capture_logs() as lines:
            writer.write(
                b"GET /connection/websocket HTTP/1.1\r\nHost: localhost\r\n"
                b"Connection: close\r\nOrigin: https://\xff\xc3\xa9." + b"x" * 500
            )
            writer.write(b"\r\n\r\n")
            async with asyncio.timeout(30):
                answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 403 ")
    (line,) = lines
    assert line["origin"].isascii()
    assert len(line["origin"]) < 300


async def test_the_limit_of_connections() -> None:
    """The line names the setting, over HTTP and gRPC alike."""
    context = build_context(SessionSettings(connection_limit=1))
    async with (
        open_doors(context, has_grpc=True) as doors,
        grpc.aio.insecure_channel(f"127.0.0.1:{doors.grpc_port}") as channel,
        aiohttp.ClientSession() as http,
    ):
        assert doors.admission.enter()
        stub = unistream_pb2_grpc.CentrifugoUniStreamStub(channel)
        request = pb.ConnectRequest(token=sign({"sub": "u"}, SECRET))
        with capture_logs() as lines:
            url = f"http://127.0.0.1:{doors.port}/connection/uni_sse"
            async with http.get(url) as answer:
                assert answer.status == 503
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.Consume(request, timeout=30).read()
        doors.admission.leave()
    told = [(each["transport"], each["code"], each["setting"]) for each in lines]
    assert told == [
        ("uni_sse", 503, "client.connection_limit"),
        ("uni_grpc", 14, "client.connection_limit"),
    ]
    assert all("127.0.0.1" in each["peer"] for each in lines)
