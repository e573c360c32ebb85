"""Who gets room and when: connecting, backing off, standing in line, closing."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path

import pytest
from tests.support.certificates import Ca, make_ca
from tests.support.h2_server import H2Peer, serve_h2, serve_raw
from tests.support.http2_client import (
    eventually,
    head_for,
    pool_for,
    send_many,
    statuses,
    until_answered,
)

from tocsin.core.lanes import Priority
from tocsin.http2 import (
    Http2ConnectError,
    Http2Pool,
    Http2RequestError,
    build_ssl_context,
)


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Ca:
    return make_ca(tmp_path_factory.mktemp("ca"))


def server_tls(ca: Ca, alpn: list[str], hosts: tuple[str, ...] = ("127.0.0.1",)):  # type: ignore[no-untyped-def] # a context
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*ca.issue(hosts))
    if alpn:
        context.set_alpn_protocols(alpn)
    return context


async def silence(_: H2Peer) -> None:
    """Answer nothing."""


async def test_nobody_listens() -> None:
    """The reason is told at once, and again at once while the pool backs off."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        async with pool_for(f"http://127.0.0.1:{port}") as pool:
            with pytest.raises(Http2ConnectError, match=str(port)):
                await asyncio.wait_for(pool.wait_room(), 5)
            with pytest.raises(Http2ConnectError, match=str(port)) as caught:
                await asyncio.wait_for(pool.wait_room(), 0.1)
            assert caught.value.retry_after_s > 0
            with pytest.raises(Http2RequestError) as failed:
                await pool.request(head_for(f"http://127.0.0.1:{port}"))
            assert failed.value.failure.kind == "connect"
            assert not failed.value.failure.maybe_sent


async def test_a_dead_provider_is_not_hammered_and_found_again() -> None:
    """Hundreds of waits make a handful of attempts; when it is back, it is used."""
    attempts = 0

    def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal attempts
        attempts += 1
        writer.close()

    async with serve_raw(refuse) as port, pool_for(f"http://127.0.0.1:{port}") as pool:
        for _ in range(300):
            with pytest.raises(Http2ConnectError):
                await pool.wait_room()
            await asyncio.sleep(0.002)
    assert 1 <= attempts <= 4


async def test_a_server_that_never_says_settings() -> None:
    """Accepting the connection alone is not enough; the wait is bounded."""
    async with (
        serve_raw(lambda _reader, _writer: None) as port,
        pool_for(f"http://127.0.0.1:{port}", connect_timeout_s=0.1) as pool,
    ):
        with pytest.raises(Http2ConnectError, match="within"):
            await asyncio.wait_for(pool.wait_room(), 5)


async def test_a_server_of_http_1() -> None:
    """It is named as what it is."""

    def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with serve_raw(answer) as port, pool_for(f"http://127.0.0.1:{port}") as pool:
        with pytest.raises(Http2ConnectError, match="HTTP/1"):
            await asyncio.wait_for(pool.wait_room(), 5)


@pytest.mark.parametrize("alpn", [["h2"], []], ids=["h2 by ALPN", "no ALPN"])
async def test_over_tls(ca: Ca, alpn: list[str]) -> None:
    """h2 by ALPN, and a server without ALPN that speaks HTTP/2 all the same."""
    async with (
        serve_h2(tls=server_tls(ca, alpn)) as server,
        pool_for(
            server.origin, ssl_context=build_ssl_context(str(ca.pem_path))
        ) as pool,
    ):
        results = await send_many(pool, head_for(server.origin), 300, b"x" * 400)
        assert statuses(results) == [200] * 300


async def test_alpn_of_another_protocol_fails_clearly(ca: Ca) -> None:
    """A server that only offers http/1.1, to a context that offered it too."""
    context = build_ssl_context(str(ca.pem_path))
    context.set_alpn_protocols(["h2", "http/1.1"])
    async with (
        serve_h2(silence, tls=server_tls(ca, ["http/1.1"])) as server,
        pool_for(server.origin, ssl_context=context) as pool,
    ):
        with pytest.raises(Http2ConnectError, match=r"http/1\.1"):
            await asyncio.wait_for(pool.wait_room(), 5)


async def test_an_untrusted_certificate_fails_clearly(ca: Ca, tmp_path: Path) -> None:
    """Another authority, or another name, is no connection."""
    other = make_ca(tmp_path)
    context = build_ssl_context(str(other.pem_path))
    async with (
        serve_h2(silence, tls=server_tls(ca, ["h2"])) as server,
        pool_for(server.origin, ssl_context=context) as pool,
    ):
        with pytest.raises(Http2ConnectError, match="certificate"):
            await asyncio.wait_for(pool.wait_room(), 5)


def test_https_needs_a_context() -> None:
    """Nothing is sent in clear text by mistake."""
    with pytest.raises(ValueError, match="ssl_context"):
        Http2Pool("https://h.example", ssl_context=None)


async def test_connections_open_as_they_are_needed() -> None:
    """One for little; more only when all room is taken, up to the limit."""
    held: list[tuple[H2Peer, int]] = []

    async def script(peer: H2Peer) -> None:
        while True:
            held.append((peer, (await peer.request()).stream))

    async with (
        serve_h2(script) as server,
        pool_for(server.origin, max_connections=3, max_streams=2) as pool,
    ):
        assert pool.capacity == 6
        sending = asyncio.create_task(send_many(pool, head_for(server.origin), 8))
        await eventually(lambda: len(held) == 6)
        assert [len(p.seen) for p in server.peers] == [2, 2, 2]
        assert pool.room() == 0
        while not sending.done():
            while held:
                peer, stream = held.pop()
                peer.respond(stream)
            await asyncio.sleep(0.002)
        assert statuses(await sending) == [200] * 8
        assert len(server.peers) == 3


async def test_submitting_without_room_is_an_error_of_the_caller() -> None:
    """It raises instead of queueing without bound."""
    async with serve_h2() as server, pool_for(server.origin) as pool:
        with pytest.raises(RuntimeError, match="wait_room"):
            pool.submit(head_for(server.origin), b"", lambda _: None)


async def test_waiters_are_served_in_turn() -> None:
    """Batches that wait for one slot get it one after the other, again and again."""
    order: list[str] = []

    async with (
        serve_h2() as server,
        pool_for(server.origin, max_connections=1, max_streams=1) as pool,
    ):
        head = head_for(server.origin)

        async def batch(name: str) -> None:
            for _ in range(5):
                await pool.wait_room()
                order.append(name)
                pool.submit(head, b"", lambda _: None)

        await asyncio.gather(batch("a"), batch("b"), batch("c"))
    assert order == ["a", "b", "c"] * 5


async def test_an_urgent_batch_does_not_stand_in_line() -> None:
    """Whatever waits; and those who are passed still have their share."""
    order: list[str] = []

    async with (
        serve_h2() as server,
        pool_for(server.origin, max_connections=1, max_streams=1) as pool,
    ):
        head = head_for(server.origin)

        async def batch(name: str, priority: Priority, count: int) -> None:
            for _ in range(count):
                await pool.wait_room(priority)
                order.append(name)
                pool.submit(head, b"", lambda _: None)

        bulk = [asyncio.create_task(batch("b", Priority.BULK, 9)) for _ in range(5)]
        await eventually(lambda: len(order) > 2)
        before = len(order)
        await batch("t", Priority.TRANSACTIONAL, 16)
        assert "b" not in order[before + 1 : before + 5]
        assert 1 <= order[before:].count("b") <= 4
        await asyncio.gather(*bulk)


async def test_a_cancelled_waiter_passes_its_turn_on() -> None:
    """Cancelled while waiting, or just when it was woken: nobody else is stuck."""
    held: list[tuple[H2Peer, int]] = []

    async def script(peer: H2Peer) -> None:
        while True:
            held.append((peer, (await peer.request()).stream))

    async with (
        serve_h2(script) as server,
        pool_for(server.origin, max_connections=1, max_streams=1) as pool,
    ):
        head = head_for(server.origin)
        await pool.wait_room()

        def answered(_: object) -> None:
            woken.cancel()  # in the turn in which it is woken

        pool.submit(head, b"", answered)
        waiting = asyncio.create_task(pool.wait_room())
        woken = asyncio.create_task(pool.wait_room())
        last = asyncio.create_task(pool.wait_room())
        await eventually(lambda: len(held) == 1)
        waiting.cancel()
        peer, stream = held.pop()
        peer.respond(stream)
        await asyncio.wait_for(last, 5)
        assert woken.cancelled()
        assert waiting.cancelled()


async def test_closing_waits_for_what_is_in_flight() -> None:
    """An answer that comes within the deadline is delivered; nothing new is taken."""
    asked = asyncio.Event()

    async def script(peer: H2Peer) -> None:
        request = await peer.request()
        asked.set()
        await closing.wait()
        peer.respond(request.stream)

    closing = asyncio.Event()
    async with serve_h2(script) as server:
        pool = Http2Pool(server.origin, ssl_context=None)
        pending = asyncio.create_task(pool.request(head_for(server.origin)))
        await asked.wait()
        closed = asyncio.create_task(pool.aclose())
        await asyncio.sleep(0)
        assert pool.room() == 0
        with pytest.raises(Http2ConnectError, match="closed"):
            await pool.wait_room()
        closing.set()
        assert (await pending).status == 200
        await closed
        await eventually(lambda: server.peers[0].goodbye is not None)


async def test_closing_does_not_wait_for_ever() -> None:
    """What is not answered by the deadline fails as closed, and waiters are told."""
    async with serve_h2(silence) as server:
        pool = Http2Pool(
            server.origin, ssl_context=None, max_connections=1, max_streams=1
        )
        results: list[object] = []
        await pool.wait_room()
        pool.submit(head_for(server.origin), b"", results.append)
        waiter = asyncio.create_task(pool.wait_room())
        await asyncio.sleep(0)
        await asyncio.wait_for(pool.aclose(deadline_s=0.05), 5)
        assert results
        assert statuses(results) == ["closed"]  # type: ignore[arg-type] # one failure
        with pytest.raises(Http2ConnectError, match="closed"):
            await waiter


async def test_a_restarted_server_is_found_again() -> None:
    """Nobody listened at first; when somebody does, the pool connects by itself."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with pool_for(f"http://127.0.0.1:{port}") as pool:
        with pytest.raises(Http2ConnectError):
            await pool.wait_room()
        async with serve_h2(port=port):
            await until_answered(pool, head_for(f"http://127.0.0.1:{port}"))
