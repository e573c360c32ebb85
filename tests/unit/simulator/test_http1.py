from __future__ import annotations

import asyncio
from typing import cast

import pytest

from tocsin.simulator.exchange import Ending, Reply, Request
from tocsin.simulator.http1 import Http1Connection


class FakeTransport:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.written = b""
        self.closed = False
        self.wrote = asyncio.Event()

    def write(self, data: bytes) -> None:
        self.written += data
        self.wrote.set()

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed


class FakeSite:
    """Answers with the body that came."""

    fast_path = "/fast"
    fast_reply = Reply(200, b"fast")
    max_streams = 100
    goaway_after = 0

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.reply: Reply | None = None
        self.fast = 0

    def answer(self, request: Request) -> Reply:
        self.asked.append(request)
        return self.reply or Reply(200, request.body)

    def count_fast(self, count: int) -> None:
        self.fast += count


def connect(site: FakeSite) -> tuple[Http1Connection, FakeTransport]:
    transport = FakeTransport()
    return Http1Connection(cast("asyncio.Transport", transport), site), transport


PLAIN = b"POST /p?q=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"
CHUNKED = (
    b"POST /p?q=1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3;ext=1\r\nbod\r\n1\r\ny\r\n0\r\n\r\n"
)


@pytest.mark.parametrize("raw", [PLAIN, CHUNKED])
@pytest.mark.parametrize("piece", [1, 1000])
def test_pipelined_requests_are_answered_in_order(raw: bytes, piece: int) -> None:
    """Two requests in one stream of bytes, however it is cut."""
    site = FakeSite()
    connection, transport = connect(site)
    data = raw * 2
    for start in range(0, len(data), piece):
        connection.receive(data[start : start + piece])
    assert [(one.path, one.query, one.body) for one in site.asked] == [
        ("/p", "q=1", b"body")
    ] * 2
    assert transport.written.count(b"HTTP/1.1 200 OK\r\n") == 2
    assert transport.written.endswith(b"content-length: 4\r\n\r\nbody")


def test_close_is_honoured() -> None:
    """`Connection: close` gets its answer and then the end."""
    connection, transport = connect(FakeSite())
    connection.receive(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert transport.closed
    assert b"connection: close" in transport.written


@pytest.mark.parametrize(
    "raw",
    [
        b"rubbish\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: many\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_rubbish_gets_400(raw: bytes) -> None:
    """A request that cannot be read ends the connection."""
    connection, transport = connect(FakeSite())
    connection.receive(raw)
    assert transport.written.startswith(b"HTTP/1.1 400 ")
    assert transport.closed


@pytest.mark.parametrize("ending", [Ending.DROP, Ending.RESET])
def test_a_fault_closes_without_a_word(ending: Ending) -> None:
    """Both faults look the same in HTTP/1.1."""
    site = FakeSite()
    site.reply = Reply(0, ending=ending)
    connection, transport = connect(site)
    connection.receive(PLAIN)
    assert (transport.written, transport.closed) == (b"", True)


def test_fast_mode_counts() -> None:
    """The fast path is constant here too."""
    site = FakeSite()
    connection, transport = connect(site)
    connection.receive(b"POST /fast HTTP/1.1\r\ncontent-length: 1\r\n\r\nx")
    assert transport.written.endswith(b"\r\n\r\nfast")
    assert (site.fast, site.asked) == (1, [])


async def test_a_late_answer_holds_back_the_next() -> None:
    """Order holds while the first answer waits."""
    site = FakeSite()
    site.reply = Reply(200, b"late", delay_s=0.01)
    connection, transport = connect(site)
    connection.receive(PLAIN + PLAIN)
    assert len(site.asked) == 1
    site.reply = Reply(200, b"next")
    async with asyncio.timeout(5):
        while transport.written.count(b"HTTP/1.1") < 2:
            await transport.wrote.wait()
            transport.wrote.clear()
    assert transport.written.index(b"late") < transport.written.index(b"next")
