"""Bad days: what a server takes back, cuts off, or leaves unanswered."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from h2.settings import SettingCodes
from tests.support.h2_server import H2Peer, answer_all, serve_h2
from tests.support.http2_client import (
    eventually,
    head_for,
    pool_for,
    send_many,
    statuses,
    until_answered,
)

from tocsin.http2 import Http2RequestError


async def test_goaway_resends_what_is_above_it_and_nothing_else() -> None:
    """Of 10 in flight 4 finish on the old connection, 6 go to a new one, once each."""

    async def script(peer: H2Peer) -> None:
        if peer.number > 1:
            await answer_all(peer)
        requests = await peer.requests(10)
        peer.say_goaway(requests[3].stream)
        for request in requests[:4]:
            peer.respond(request.stream, 201)

    async with (
        serve_h2(script) as server,
        pool_for(server.origin, max_connections=1, max_streams=10) as pool,
    ):
        results = await send_many(pool, head_for(server.origin), 10)
        assert statuses(results) == [201] * 4 + [200] * 6
        assert [len(p.seen) for p in server.peers] == [10, 6]
        await eventually(lambda: server.peers[0].goodbye is not None)


async def test_below_goaway_is_never_resent() -> None:
    """The server took it and went away without an answer: that is for the caller."""

    async def script(peer: H2Peer) -> None:
        if peer.number > 1:
            await answer_all(peer)
        requests = await peer.requests(4)
        peer.say_goaway(requests[1].stream, 11, b'{"reason":"Shutdown"}')
        await peer.hang_up()

    async with (
        serve_h2(script) as server,
        pool_for(server.origin, max_connections=1, max_streams=4) as pool,
    ):
        results = await send_many(pool, head_for(server.origin), 4)
        assert statuses(results) == ["closed", "closed", 200, 200]
        failure = results[0]
        assert failure.maybe_sent
        assert failure.goaway_debug == b'{"reason":"Shutdown"}'
        assert "ENHANCE_YOUR_CALM" in failure.detail
        assert [len(p.seen) for p in server.peers] == [4, 2]


async def test_a_thousand_requests_across_graceful_goaways() -> None:
    """A server that says GOAWAY after each 100 requests loses and doubles nothing."""

    async def script(peer: H2Peer) -> None:
        for _ in range(99):
            peer.respond((await peer.request()).stream)
        last = await peer.request()
        peer.say_goaway(last.stream)
        peer.respond(last.stream)

    async with (
        serve_h2(script) as server,
        pool_for(server.origin, max_connections=2, max_streams=20) as pool,
    ):
        results = await send_many(pool, head_for(server.origin), 1000)
        assert statuses(results) == [200] * 1000
        assert len(server.peers) >= 10


async def test_a_refused_stream_is_sent_again() -> None:
    """REFUSED_STREAM means not processed; the second try is answered."""

    async def script(peer: H2Peer) -> None:
        peer.refuse((await peer.request()).stream, 7)
        await answer_all(peer)

    async with serve_h2(script) as server, pool_for(server.origin) as pool:
        assert (await pool.request(head_for(server.origin))).status == 200
        assert len(server.seen) == 2


async def test_refusing_for_ever_ends_as_refused() -> None:
    """The tries are bounded, and the failure says that nothing was sent."""

    async def script(peer: H2Peer) -> None:
        while True:
            peer.refuse((await peer.request()).stream, 7)

    async with serve_h2(script) as server, pool_for(server.origin) as pool:
        (failure,) = await send_many(pool, head_for(server.origin), 1)
        assert (failure.kind, failure.maybe_sent) == ("refused", False)
        assert len(server.seen) == 5


async def test_other_resets_are_failures_of_one_request() -> None:
    """INTERNAL_ERROR on one stream: it may have been sent; the rest is answered."""

    async def script(peer: H2Peer) -> None:
        requests = await peer.requests(3)
        peer.refuse(requests[1].stream, 2)
        peer.respond(requests[0].stream)
        peer.respond(requests[2].stream)

    async with serve_h2(script) as server, pool_for(server.origin) as pool:
        results = await send_many(pool, head_for(server.origin), 3)
        assert statuses(results) == [200, "reset", 200]
        assert results[1].maybe_sent
        assert results[1].error_code == 2
        assert len(server.seen) == 3


@pytest.mark.parametrize("how", ["drop", "hang_up", "half_close"])
async def test_a_lost_connection_fails_what_was_written(how: str) -> None:
    """However the socket goes, each request gets its end, and the next ones pass."""

    async def script(peer: H2Peer) -> None:
        if peer.number > 1:
            await answer_all(peer)
        await peer.requests(5)
        result = getattr(peer, how)()
        if result is not None:
            await result

    async with (
        serve_h2(script) as server,
        pool_for(server.origin, max_connections=1, max_streams=5) as pool,
    ):
        results = await send_many(pool, head_for(server.origin), 5)
        assert statuses(results) == ["closed"] * 5
        assert all(r.maybe_sent for r in results)
        await until_answered(pool, head_for(server.origin))
        assert [len(p.seen) for p in server.peers] == [5, 1]


async def test_what_was_never_written_is_sent_elsewhere() -> None:
    """Requests of the turn in which the connection goes are not lost with it."""

    async def script(peer: H2Peer) -> None:
        if peer.number > 1:
            await answer_all(peer)
        peer.respond((await peer.request()).stream)

    async with serve_h2(script) as server, pool_for(server.origin) as pool:
        head = head_for(server.origin)
        assert (await pool.request(head)).status == 200
        results: list[Any] = []
        for _ in range(3):
            pool.submit(head, b"x", results.append)
        pool._connections[0].abort()
        await eventually(lambda: len(results) == 3)
        assert statuses(results) == [200] * 3
        assert [len(p.seen) for p in server.peers] == [1, 3]


async def test_a_deadline_ends_one_request_and_not_the_connection() -> None:
    """The late one is reset and told; others on the connection are answered."""

    async def script(peer: H2Peer) -> None:
        first = await peer.request()
        while True:
            peer.respond((await peer.request()).stream)
            if first.stream in peer.resets:
                assert peer.resets[first.stream] == 8

    async with (
        serve_h2(script) as server,
        pool_for(server.origin, max_connections=1, request_timeout_s=0.2) as pool,
    ):
        head = head_for(server.origin)
        (failure,) = await send_many(pool, head, 1)
        assert (failure.kind, failure.maybe_sent) == ("timeout", True)
        assert (await pool.request(head)).status == 200
        assert len(server.peers) == 1
        assert server.peers[0].resets == {1: 8}


async def test_a_silent_connection_is_asked_and_dropped() -> None:
    """No byte, not even for PING: all fail before their own deadline."""

    async def script(peer: H2Peer) -> None:
        if peer.number > 1:
            await answer_all(peer)
        await peer.requests(3)
        peer.flush = lambda: None  # type: ignore[method-assign] # from here on, silence

    async with (
        serve_h2(script) as server,
        pool_for(
            server.origin,
            max_connections=1,
            request_timeout_s=10,
            ping_interval_s=0.1,
            ping_timeout_s=0.1,
        ) as pool,
    ):
        head = head_for(server.origin)
        results = await asyncio.wait_for(send_many(pool, head, 3), 5)
        assert statuses(results) == ["closed"] * 3
        assert "silent" in results[0].detail


async def test_a_slow_server_that_answers_pings_is_left_alone() -> None:
    """It says nothing for long but acknowledges PING: its late answer counts."""

    async def script(peer: H2Peer) -> None:
        request = await peer.request()
        await peer.until(
            lambda: sum(type(e).__name__ == "PingReceived" for e in peer.events) >= 3
        )
        peer.respond(request.stream)

    async with (
        serve_h2(script) as server,
        pool_for(server.origin, ping_interval_s=0.05, ping_timeout_s=5.0) as pool,
    ):
        assert (await pool.request(head_for(server.origin))).status == 200
        assert len(server.peers) == 1


async def test_a_connection_that_never_answers_requests_is_replaced() -> None:
    """It acknowledges PING, but ten deadlines pass: the next goes elsewhere."""

    async def script(peer: H2Peer) -> None:
        if peer.number > 1:
            await answer_all(peer)

    async with (
        serve_h2(script) as server,
        pool_for(
            server.origin, max_connections=1, max_streams=10, request_timeout_s=0.1
        ) as pool,
    ):
        head = head_for(server.origin)
        assert statuses(await send_many(pool, head, 10)) == ["timeout"] * 10
        await eventually(lambda: pool.room() == 0)
        await until_answered(pool, head)
        assert len(server.peers) == 2


async def test_a_server_that_allows_no_streams_is_left() -> None:
    """MAX_CONCURRENT_STREAMS=0 for long is a connection of no use."""
    settings = {SettingCodes.MAX_CONCURRENT_STREAMS: 0}
    async with (
        serve_h2(settings=settings) as server,
        pool_for(
            server.origin, max_connections=1, connect_timeout_s=0.2, ping_interval_s=0.2
        ) as pool,
    ):
        with pytest.raises(Http2RequestError, match="no streams"):
            await asyncio.wait_for(pool.request(head_for(server.origin)), 5)


async def test_an_idle_connection_is_closed_with_a_goodbye() -> None:
    """After `idle_timeout_s`; the next request opens another one."""
    async with (
        serve_h2() as server,
        pool_for(server.origin, idle_timeout_s=0.1) as pool,
    ):
        head = head_for(server.origin)
        assert (await pool.request(head)).status == 200
        await eventually(lambda: server.peers[0].goodbye is not None)
        assert (await pool.request(head)).status == 200
        assert len(server.peers) == 2


@pytest.mark.parametrize(
    ("garbage", "code"),
    [
        (b"\x00\x00\x04\x05\x04\x00\x00\x00\x01\x00\x00\x00\x02", 1),
        (b"\xff\xff\xff\x00\x00\x00\x00\x00\x01", 6),
        (b"\x00\x00\x03\x01\x05\x00\x00\x00\x01\xff\xff\xff", 9),
    ],
    ids=["push promise", "huge frame", "broken header block"],
)
async def test_malformed_input_ends_in_goaway_and_failures(
    garbage: bytes, code: int
) -> None:
    """The server learns the right code, the callers that it broke the protocol."""

    async def script(peer: H2Peer) -> None:
        await peer.requests(3)
        peer.raw(garbage)
        await peer.until(lambda: peer.goodbye is not None)
        assert peer.goodbye is not None
        assert peer.goodbye.error_code == code

    async with serve_h2(script) as server, pool_for(server.origin) as pool:
        results = await send_many(pool, head_for(server.origin), 3)
        assert statuses(results) == ["protocol"] * 3
        await eventually(lambda: server.peers[0].goodbye is not None)
