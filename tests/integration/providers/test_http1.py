"""The HTTP/1.1 client against servers that behave badly."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tocsin.core.outcome import Outcome
from tocsin.providers.http1 import ANSWER_LIMIT, Answer, Http1Client, RequestFailed

Speak = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Serve = Callable[[Speak], Awaitable[str]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts plain servers on loopback; returns their URL."""
    servers: list[asyncio.Server] = []

    async def start(speak: Speak) -> str:
        async def talk(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"POST /x HTTP/1.1")
            await speak(reader, writer)
            writer.close()

        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        servers.append(server)
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"

    yield start
    for server in servers:
        server.close()


async def post(url: str, **options: float) -> Answer | Outcome:
    client = Http1Client(section="test", **options)  # type: ignore[arg-type] # a timeout
    try:
        async with asyncio.timeout(10):
            return await client.post(url, b"{}", {"content-type": "application/json"})
    except RequestFailed as failure:
        return failure.outcome
    finally:
        await client.close()


async def test_status_body_and_wait_come_back(serve: Serve) -> None:
    """Any status is an answer."""

    async def speak(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 503 X\r\nretry-after: 9\r\ncontent-length: 2\r\n\r\nno")

    assert await post(await serve(speak)) == Answer(503, b"no", "9")


async def test_redirects_are_not_followed(serve: Serve) -> None:
    """Tokens must not travel to wherever an answer points."""
    hits: list[str] = []

    async def elsewhere(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hits.append("followed")

    target = await serve(elsewhere)

    async def speak(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = f"HTTP/1.1 307 X\r\nlocation: {target}\r\ncontent-length: 0\r\n\r\n"
        writer.write(line.encode())

    assert await post(await serve(speak)) == Answer(307, b"")
    assert hits == []


async def test_a_closed_connection_may_have_delivered(serve: Serve) -> None:
    """The request was out; nobody knows."""

    async def speak(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    found = await post(await serve(speak))
    assert isinstance(found, Outcome)
    assert (found.code, found.maybe_sent) == ("connection_closed", True)


def says(text: bytes, *, then_hold: asyncio.Event | None = None) -> Speak:
    """A server that says so much, then closes, or holds the line."""

    async def speak(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(text)
        await writer.drain()
        if then_hold is not None:
            await then_hold.wait()

    return speak


OK = b"HTTP/1.1 200 OK\r\n"
GZIP = b"content-encoding: gzip\r\n"


@pytest.mark.parametrize(
    ("text", "body"),
    [
        (OK + b"content-length: 99\r\n\r\n{", b"{"),
        (OK + b"transfer-encoding: chunked\r\n\r\n2\r\nab\r\n", b"ab"),
        (OK + GZIP + b"content-length: 3\r\n\r\nabc", b""),
        (OK + GZIP + b"content-length: 0\r\n\r\n", b""),
        (OK + b"content-encoding: br\r\ncontent-length: 3\r\n\r\nabc", b""),
        (OK + b"content-le", b""),
        (b"HTTP/1.1 200 ", b""),
        (OK + b"no header\r\n\r\n", b""),
        (OK + b"content-length: many\r\n\r\n", b""),
        (OK + b"transfer-encoding: chunked\r\n\r\n2\r\nab\r\nzz\r\n", b""),
        (b"HTTP/1.1 202 Accepted\r\ncontent-length: 9\r\n\r\n", b""),
    ],
    ids=[
        "length",
        "no last chunk",
        "no gzip",
        "no gzip at all",
        "unknown coding",
        "within the head",
        "within the first line",
        "a broken head",
        "a broken length",
        "a broken chunk",
        "202",
    ],
)
async def test_a_success_that_breaks_off_is_an_answer(
    serve: Serve, text: bytes, body: bytes
) -> None:
    """What was asked for is done: only what was said about it is lost."""
    found = await post(await serve(says(text)))
    assert isinstance(found, Answer)
    assert found.status in (200, 202)
    assert found.body == body


async def test_a_success_that_never_ends_is_an_answer(serve: Serve) -> None:
    """The rest of the body is waited for as long as any answer, and no longer."""
    hold = asyncio.Event()
    text = OK + b"content-length: 9\r\n\r\n{"
    url = await serve(says(text, then_hold=hold))
    assert await post(url, request_timeout_s=0.3) == Answer(200, b"{")
    hold.set()


async def test_a_packed_answer_is_unpacked(serve: Serve) -> None:
    """We ask for none, but some gateways pack whatever passes."""
    packed = gzip.compress(b'{"id": 1}')
    text = OK + GZIP + b"content-length: %d\r\n\r\n" % len(packed) + packed
    assert await post(await serve(says(text))) == Answer(200, b'{"id": 1}')


async def test_an_error_that_breaks_off_may_have_delivered(serve: Serve) -> None:
    """Half a body says nothing of what was done."""
    text = b"HTTP/1.1 503 X\r\ncontent-length: 99\r\n\r\n{"
    found = await post(await serve(says(text)))
    assert isinstance(found, Outcome)
    assert (found.code, found.maybe_sent) == ("connection_closed", True)


async def test_what_is_no_http_may_have_delivered(serve: Serve) -> None:
    """Something else listens there."""

    async def speak(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.com ESMTP\r\n\r\n")

    found = await post(await serve(speak))
    assert isinstance(found, Outcome)
    assert (found.code, found.maybe_sent) == ("bad_answer", True)


async def test_an_endless_answer_is_cut_off(serve: Serve) -> None:
    """No service says more than a megabyte; memory stays bounded."""

    async def speak(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        length = ANSWER_LIMIT * 2
        writer.write(b"HTTP/1.1 500 X\r\ncontent-length: %d\r\n\r\n" % length)
        writer.write(b"x" * length)

    found = await post(await serve(speak))
    assert isinstance(found, Outcome)
    assert found.code == "connection_closed"


async def test_silence_is_a_timeout(serve: Serve) -> None:
    """It was sent, and no answer came in time."""
    hold = asyncio.Event()

    async def speak(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await hold.wait()

    found = await post(await serve(speak), request_timeout_s=0.2)
    hold.set()
    assert isinstance(found, Outcome)
    assert (found.code, found.maybe_sent) == ("timeout", True)


async def test_nobody_there_was_sent_nothing() -> None:
    """The host is named, for whoever reads the log."""
    found = await post("http://127.0.0.1:9/x")
    assert isinstance(found, Outcome)
    assert (found.code, found.maybe_sent) == ("connect_failed", False)
    assert "127.0.0.1:9" in found.detail
