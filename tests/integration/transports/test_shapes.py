"""What clients see of the doors' refusals: as from the published server, byte by byte.

Where it differs on purpose a test says so: a foreign origin is refused with a text that
names the setting, and 405 tells the verbs that are allowed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest
from tests.support.connections import connect
from tests.support.http_streams import Doors, open_doors
from tests.support.raw_websocket import handshake
from tests.support.realtime import build_context

from tocsin.sessions.settings import SessionSettings

ORIGIN = "http://app.example"
JSON = {"Content-Type": "application/json"}
OCTETS = {"Content-Type": "application/octet-stream"}


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


async def exchange(port: int, data: bytes) -> Answer:
    """Send a request and take the answer, which has a length or is an upgrade."""
    reader, writer = await connect(port)
    writer.write(data)
    try:
        async with asyncio.timeout(10):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.strip().split("\r\n")
            fields = [line.partition(":") for line in lines]
            headers = {name.lower(): value.strip() for name, _, value in fields}
            size = int(headers.get("content-length", 0))
            return Answer(
                int(first.split()[1]), headers, await reader.readexactly(size)
            )
    finally:
        writer.transport.abort()


def request(
    verb: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> bytes:
    fields = {"Host": "x", "Content-Length": str(len(body)), **(headers or {})}
    lines = [f"{verb} {path} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in fields.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


@asynccontextmanager
async def doors(limit: int = 0) -> AsyncIterator[Doors]:
    settings = SessionSettings(
        insecure=True, allowed_origins=(ORIGIN,), connection_limit=limit
    )
    async with open_doors(build_context(settings)) as opened:
        yield opened


HTTP_STREAM, SSE = "/connection/http_stream", "/connection/sse"
UNI_STREAM, UNI_SSE = "/connection/uni_http_stream", "/connection/uni_sse"
EMULATION = "/emulation"
BIG = b"x" * 70_000
NOWHERE = b'{"node":"nowhere","session":"s","data":"{}"}'
ROWS: list[tuple[str, str, bytes, dict[str, str], int]] = [
    *(
        (verb, path, b"", JSON, 405)
        for path in (HTTP_STREAM, UNI_STREAM, EMULATION)
        for verb in ("GET", "PUT", "DELETE", "PATCH")
    ),
    *(
        (verb, path, b"", JSON, 405)
        for path in (SSE, UNI_SSE)
        for verb in ("PUT", "DELETE", "PATCH")
    ),
    *(
        ("POST", path, BIG, JSON, 413)
        for path in (HTTP_STREAM, SSE, UNI_STREAM, UNI_SSE, EMULATION)
    ),
    ("GET", SSE, b"", {}, 400),
    ("GET", f"{SSE}?cf_connect=", b"", {}, 400),
    ("GET", f"{UNI_SSE}?cf_connect=junk", b"", {}, 400),
    *(
        ("POST", path, body, JSON, 400)
        for path in (UNI_STREAM, UNI_SSE)
        for body in (b"", b"junk", b"[1]", b"\xff")
    ),
    *(("POST", EMULATION, body, JSON, 400) for body in (b"", b"junk", b'{"node":1}')),
    ("POST", EMULATION, b"\xff", OCTETS, 400),
    *(("POST", EMULATION, body, JSON, 404) for body in (b"{}", b"null", NOWHERE)),
    ("POST", EMULATION, b"", OCTETS, 404),
]


@pytest.mark.parametrize("origin", ["", ORIGIN])
@pytest.mark.parametrize(("verb", "path", "body", "headers", "status"), ROWS)
async def test_refusals_have_no_body(
    verb: str, path: str, body: bytes, headers: dict[str, str], status: int, origin: str
) -> None:
    """Nor a type; pages of an allowed origin may read the status."""
    more = {"Origin": origin} if origin else {}
    async with doors() as opened:
        asked = request(verb, path, body, {**headers, **more})
        answer = await exchange(opened.port, asked)
    assert (answer.status, answer.body) == (status, b"")
    assert answer.headers["content-length"] == "0"
    assert "content-type" not in answer.headers
    assert answer.headers.get("access-control-allow-origin", "") == origin
    assert ("allow" in answer.headers) == (status == 405)


@pytest.mark.parametrize("path", [HTTP_STREAM, SSE, UNI_STREAM, UNI_SSE])
async def test_beyond_the_limit_there_is_no_body(path: str) -> None:
    """503 and nothing more, readable for pages."""
    async with doors(limit=1) as opened:
        opened.admission.enter()
        asked = request("POST", path, b"{}", {"Origin": ORIGIN})
        answer = await exchange(opened.port, asked)
        opened.admission.leave()
    assert (answer.status, answer.body) == (503, b"")
    assert "content-type" not in answer.headers
    assert answer.headers["access-control-allow-origin"] == ORIGIN


UNI_WEBSOCKET = "/connection/uni_websocket"


def upgrade(verb: str = "GET", query: str = "", **headers: str) -> bytes:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    asked = handshake(method=verb, query=query, headers=named)
    return asked.replace(b"/connection/websocket", UNI_WEBSOCKET.encode())


HANDSHAKES: list[tuple[bytes, int, bytes]] = [
    (request("GET", UNI_WEBSOCKET), 400, b"a WebSocket handshake is expected here\n"),
    (request("POST", UNI_WEBSOCKET), 400, b"a WebSocket handshake is expected here\n"),
    (request("OPTIONS", UNI_WEBSOCKET), 400, b"a WebSocket handshake is expected"),
    (upgrade("POST"), 405, b"Method Not Allowed\n"),
    (upgrade("PUT"), 405, b"Method Not Allowed\n"),
    (upgrade(Sec_WebSocket_Version="12"), 400, b"only version 13 of WebSocket"),
    (upgrade(Sec_WebSocket_Version="-"), 400, b"only version 13 of WebSocket"),
    (upgrade(Sec_WebSocket_Key="-"), 400, b"Sec-WebSocket-Key is not 16 bytes\n"),
    (upgrade(Upgrade="-"), 400, b"a WebSocket handshake is expected here\n"),
    (upgrade(Connection="-"), 400, b"a WebSocket handshake is expected here\n"),
    (upgrade(query="?cf_connect=junk"), 400, b"invalid connect request\n"),
    (upgrade(query="?cf_connect=[]"), 400, b"invalid connect request\n"),
    (upgrade(query="?cf_connect=null"), 101, b""),
    (upgrade(query="?cf_connect={}"), 101, b""),
    (upgrade(Origin="http://other.example"), 403, b"origin http://other.example is"),
    (upgrade(Origin=ORIGIN), 101, b""),
]


@pytest.mark.parametrize(("asked", "status", "text"), HANDSHAKES)
async def test_handshakes(asked: bytes, status: int, text: bytes) -> None:
    """The published statuses; the text says what was wrong, the head what is right."""
    async with doors() as opened:
        answer = await exchange(opened.port, asked)
    assert answer.status == status
    assert answer.body.startswith(text)
    if status == 405:
        assert answer.headers["allow"] == "GET"
    if status in {400, 405} and b"connect request" not in text:
        assert answer.headers["sec-websocket-version"] == "13"


async def test_a_handshake_beyond_the_limit() -> None:
    """503 and nothing more."""
    async with doors(limit=1) as opened:
        opened.admission.enter()
        answer = await exchange(opened.port, upgrade())
        opened.admission.leave()
    assert (answer.status, answer.body) == (503, b"")
    assert "content-type" not in answer.headers


async def test_an_unknown_path() -> None:
    """The text that the published server has for it."""
    async with doors() as opened:
        for verb in ("GET", "POST"):
            answer = await exchange(opened.port, request(verb, "/connection/none"))
            assert (answer.status, answer.body) == (404, b"404 page not found\n")
            assert answer.headers["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize("path", [UNI_STREAM, UNI_SSE])
async def test_a_connect_of_null(path: str) -> None:
    """It is an empty connect request."""
    async with doors() as opened:
        answer = await exchange(opened.port, request("POST", path, b"null", JSON))
    assert answer.status == 200
