from __future__ import annotations

import asyncio
import gzip
import logging

import pytest
import structlog
from tests.support.api import KEY, World
from tests.support.http_api import WITH_KEY, serving_http

BAD_REQUEST = b"Bad Request: "


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  ",
        b"{",
        b"[]",
        b'"x"',
        b"1",
        b'{"limit":"5"}',
        b'{"ids":"x"}',
        b"{} {}",
        b"{}x",
        b"\xff",
        b"[" * 100_000,
    ],
)
async def test_bodies_that_cannot_be_understood(body: bytes) -> None:
    """The answer is the published text, then what is wrong, as a header says too."""
    world = World()
    async with serving_http(world) as http:
        for method in ("device_list", "batch"):
            if method == "batch" and b'":' in body:
                continue
            answer = await http.send(f"/api/{method}", body)
            assert answer.status == 400
            assert answer.body.startswith(BAD_REQUEST)
            assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
            assert answer.headers["X-Tocsin-Error"].startswith("bad request: ")
    assert {code for _, _, code in world.observed.commands} == {107}


async def test_body_and_header_name_the_field() -> None:
    """A wrong type is told by its path, in transport error mode too."""
    body = {"filter": {"ids": ["a", 5]}}
    async with serving_http(World(), transport_errors=True) as http:
        answer = await http.send("/api/device_list", body)
    assert answer.body == b"Bad Request: filter.ids[1]: must be a string\n"
    reason = "bad request: filter.ids[1]: must be a string"
    assert answer.headers["X-Tocsin-Error"] == reason


async def test_null_is_an_empty_request() -> None:
    """`null` as a body is accepted wherever `{}` is."""
    async with serving_http(World()) as http:
        assert (await http.send("/api/device_list", b" null ")).status == 200
        assert (await http.send("/api/batch", b"null")).text == "{}"


async def test_inline_json_goes_through_as_it_is() -> None:
    """What a provider gets are the bytes of the request."""
    world = World()
    raw = b'{ "title" : "\\u00fc", "n": 1.0 }'
    body = b'{"recipient":{"fcm_tokens":["t"]},"notification":{"fcm":{"message":%s}}}'
    async with serving_http(world) as http:
        answer = await http.send("/api/send_push_notification", body % raw)
    assert answer.json["result"]["uid"]
    ((payload, _),) = world.queue.accepted
    assert payload.bodies["fcm"].message == raw


async def test_oversized_bodies() -> None:
    """A body above the limit is 413, told by its length or found out underway."""
    world = World()
    async with serving_http(world, max_body_bytes=1000) as http:
        fits = b"{}" + b" " * 998
        assert (await http.send("/api/device_list", fits)).status == 200
        answer = await http.send("/api/device_list", fits + b" ")
        assert (answer.status, answer.text) == (413, "Request Entity Too Large\n")
        head = b"POST /api/device_list HTTP/1.1\r\nHost: h\r\nX-API-Key: %s\r\n"
        head %= KEY.encode()
        chunk = b"%x\r\n%s\r\n" % (600, b" " * 600)
        said = await http.raw(
            head + b"Transfer-Encoding: chunked\r\n\r\n", chunk, chunk, b"0\r\n\r\n"
        )
        assert said.startswith(b"HTTP/1.1 413 ")
    assert world.changes == 0


async def test_compressed_bodies() -> None:
    """A body is taken as it is: compressed JSON is no JSON."""
    body = gzip.compress(b"{}")
    async with serving_http(World()) as http:
        for path in ("/api/device_list", "/api", "/api/batch"):
            for coding in ("gzip", "deflate", "br", "nonsense"):
                headers = {**WITH_KEY, "Content-Encoding": coding}
                answer = await http.send(path, body, headers=headers)
                assert answer.status == 400
                assert answer.body.startswith(BAD_REQUEST)


async def test_a_body_that_does_not_arrive() -> None:
    """Who does not finish a request is told so and let go."""
    async with serving_http(
        World(), read_timeout_s=0.05, gateway={"head_timeout_s": 0.05}
    ) as http:
        said = await http.raw(
            b"POST /api/device_list HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n"
            b"X-API-Key: " + KEY.encode() + b"\r\nConnection: close\r\n\r\n{"
        )
    assert said.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("sent", [b"", b"POST /api HTTP/1.1\r\nHost:"])
async def test_a_head_that_does_not_arrive(sent: bytes) -> None:
    """A connection that does not say what it wants is closed without a word."""
    async with serving_http(World(), gateway={"head_timeout_s": 0.05}) as http:
        assert await http.raw(sent) == b""


@pytest.mark.parametrize(
    "head",
    [
        b"GET /api?api_key=secret-key&x=" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /health HTTP/1.1\r\nAuthorization: apikey secret-key\0\r\n\r\n",
        b"GET /health HTTP/1.1\r\nX-API-Key: secret-key" + b"y" * 20_000 + b"\r\n\r\n",
        b"GET /health HTTP/1.1\r\nX-API-Key secret-key\r\n\r\n",
        b"POST /api HTTP/1.1\r\nContent-Length: secret-key\r\n\r\n",
        b"POST /api HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"secret-key\r\n\r\n",
        b"GET secret-key HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00secret-key\r\n\r\n",
    ],
)
async def test_a_head_that_cannot_be_read(
    head: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """400 and the end; what was sent, which may hold a key, is in no log."""
    caplog.set_level("DEBUG")
    async with serving_http(World()) as http:
        with structlog.testing.capture_logs() as lines:
            said = await http.raw(head)
        assert said.startswith(b"HTTP/1.0 400 Bad Request\r\n")
        assert said.endswith(b"\r\n\r\nBad Request\n")
        (line,) = lines
        assert line["log_level"] == "info"
        for logged in (*map(str, lines), caplog.text):
            assert "secret-key" not in logged
        assert not [each for each in caplog.records if each.levelno >= logging.ERROR]
        assert (await http.send("/health", None, verb="GET")).status == 200


async def test_a_second_head_that_does_not_arrive() -> None:
    """The deadline holds for every request of a connection, not for idle ones."""
    request = b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n"
    async with serving_http(World(), gateway={"head_timeout_s": 0.2}) as http:
        reader, writer = await asyncio.open_connection("127.0.0.1", http.port)
        for _ in range(2):
            writer.write(request)
            assert (await reader.readuntil(b"{}")).startswith(b"HTTP/1.1 200")
            await asyncio.sleep(0.3)  # idle for longer than a head may take
        writer.write(request[:10])
        async with asyncio.timeout(10):
            assert await reader.read() == b""
        writer.close()
