"""Windows, limits and frames, against a scripted server over the `h2` library."""

from __future__ import annotations

import asyncio

from h2.settings import SettingCodes
from tests.support.h2_server import H2Peer, serve_h2
from tests.support.http2_client import head_for, pool_for, send_many, statuses

from tocsin.http2.head import RequestHead

BAD_TOKEN = b'{"reason":"BadDeviceToken"}'


async def test_five_thousand_error_replies_on_one_connection() -> None:
    """Error bodies worth more than the first window neither hang nor slow it down."""

    async def script(peer: H2Peer) -> None:
        while True:
            peer.respond((await peer.request()).stream, 400, BAD_TOKEN)

    async with (
        serve_h2(script) as server,
        pool_for(server.origin, max_connections=1) as pool,
    ):
        results = await send_many(pool, head_for(server.origin), 5000, b"{}")
        assert statuses(results) == [400] * 5000
        assert {r.body for r in results} == {BAD_TOKEN}
        assert len(server.peers) == 1


async def test_replies_worth_more_than_the_whole_window() -> None:
    """20 MB of replies pass a connection window of 16 MB, by window updates."""
    body = b"x" * 50_000

    async def script(peer: H2Peer) -> None:
        while True:
            await peer.respond_slowly((await peer.request()).stream, 500, body)

    async with (
        serve_h2(script) as server,
        pool_for(server.origin, max_connections=1) as pool,
    ):
        results = await send_many(pool, head_for(server.origin), 400, b"{}")
        assert {r.body == body for r in results} == {True}


async def test_tiny_windows_of_the_server() -> None:
    """Bodies pass a window of 20 bytes whole and in their own streams."""
    settings = {SettingCodes.INITIAL_WINDOW_SIZE: 20}
    async with (
        serve_h2(settings=settings) as server,
        pool_for(server.origin, max_connections=1) as pool,
    ):
        results = await send_many(pool, head_for(server.origin), 50, b"0123456789" * 9)
        assert statuses(results) == [200] * 50
        assert {bytes(r.body) for r in server.seen} == {b"0123456789" * 9}


async def test_an_exhausted_window_holds_bodies_back_and_no_longer() -> None:
    """Without updates 65,535 bytes go out; with them, the rest."""

    async def script(peer: H2Peer) -> None:
        await peer.until(lambda: sum(len(r.body) for r in peer.seen) == 65_535)
        assert len(peer.seen) == 10
        for request in peer.seen[:5]:
            peer.conn.acknowledge_received_data(10_000, request.stream)
        peer.flush()
        for request in await peer.requests(10):
            peer.respond(request.stream)

    async with (
        serve_h2(script, acknowledge=False) as server,
        pool_for(server.origin, max_connections=1) as pool,
    ):
        results = await send_many(pool, head_for(server.origin), 10, b"x" * 10_000)
        assert statuses(results) == [200] * 10
        assert [len(r.body) for r in server.seen] == [10_000] * 10


async def test_the_stream_limit_of_the_server_binds_and_changes_in_flight() -> None:
    """Lowered from 10 to 2 in mid-flight, then raised to 30: never exceeded."""
    most = {"first": 0, "low": 0, "high": 0}

    async def script(peer: H2Peer) -> None:
        for phase, settings in (
            ("first", {SettingCodes.MAX_CONCURRENT_STREAMS: 2}),
            ("low", {SettingCodes.MAX_CONCURRENT_STREAMS: 30}),
            ("high", {}),
        ):
            limit = {"first": 10, "low": 2, "high": 30}[phase]
            requests = await peer.requests(limit)
            await peer.until(lambda n=limit: peer.conn.open_inbound_streams == n)  # type: ignore[misc] # a default keeps the value
            most[phase] = peer.conn.open_inbound_streams
            if settings:
                peer.change(settings)
            for request in requests:
                peer.respond(request.stream)
        while True:
            peer.respond((await peer.request()).stream)

    settings = {SettingCodes.MAX_CONCURRENT_STREAMS: 10}
    async with (
        serve_h2(script, settings=settings) as server,
        pool_for(server.origin, max_connections=1) as pool,
    ):
        results = await send_many(pool, head_for(server.origin), 100)
        assert statuses(results) == [200] * 100
    assert most == {"first": 10, "low": 2, "high": 30}


async def test_one_stream_until_the_first_success() -> None:
    """With `initial_streams` a rejection keeps the cap, a success lifts it."""

    async def script(peer: H2Peer) -> None:
        for status in (403, 200):
            request = await peer.request()
            assert peer.conn.open_inbound_streams == 1
            peer.respond(request.stream, status)
        requests = await peer.requests(8)
        for request in requests:
            peer.respond(request.stream)

    async with (
        serve_h2(script) as server,
        pool_for(
            server.origin, max_connections=1, max_streams=8, initial_streams=1
        ) as pool,
    ):
        results = await send_many(pool, head_for(server.origin), 10)
        assert statuses(results) == [403] + [200] * 9


async def test_retired_connections_give_way_to_new_ones() -> None:
    """What is in flight is answered where it is, what comes later goes elsewhere."""
    started, answer = asyncio.Event(), asyncio.Event()

    async def script(peer: H2Peer) -> None:
        request = await peer.request()
        if peer.number == 1:
            started.set()
            await answer.wait()
        peer.respond(request.stream, 200 + peer.number)

    async with (
        serve_h2(script) as server,
        pool_for(server.origin, max_connections=1, max_streams=8) as pool,
    ):
        head = head_for(server.origin)
        first = asyncio.create_task(pool.request(head))
        await asyncio.wait_for(started.wait(), 10)
        pool.retire()
        assert pool.room() == 0
        assert (await asyncio.wait_for(pool.request(head), 10)).status == 202
        answer.set()
        assert (await asyncio.wait_for(first, 10)).status == 201


async def test_dynamic_table_and_size_updates_of_the_server() -> None:
    """A server that indexes headers, and changes its table, is read right."""

    async def script(peer: H2Peer) -> None:
        encoder = peer.conn.encoder
        for number in range(200):
            request = await peer.request()
            # h2 lowered its table to our setting; a disobedient server raises it.
            if number % 50 == 10:
                encoder.header_table_size = 4096
            if number % 50 == 40:
                encoder.header_table_size = 0
            unique = ("apns-id", f"id-{number // 3}")
            peer.respond(request.stream, 200, b"", [unique, ("server", "s")])

    async with (
        serve_h2(script) as server,
        pool_for(server.origin, max_connections=1, max_streams=1) as pool,
    ):
        results = await send_many(pool, head_for(server.origin), 200)
        got = [r.header("apns-id") for r in results]
        assert got == [f"id-{number // 3}" for number in range(200)]


async def test_continuation_padding_and_interim_answers() -> None:
    """A head in pieces, padded bodies, 103 before and trailers after: one answer."""

    async def script(peer: H2Peer) -> None:
        while True:
            stream = (await peer.request()).stream
            long = ("long", "v" * 40_000)
            peer.conn.send_headers(stream, [(":status", "103"), ("link", "l")])
            peer.conn.send_headers(stream, [(":status", "200"), long])
            peer.conn.send_data(stream, b"ab", pad_length=7)
            peer.conn.send_data(stream, b"cd", pad_length=0)
            peer.conn.send_headers(stream, [("trailer", "t")], end_stream=True)
            peer.flush()

    async with serve_h2(script) as server, pool_for(server.origin) as pool:
        for result in await send_many(pool, head_for(server.origin), 5):
            assert (result.status, result.body) == (200, b"abcd")
            assert len(result.header("long")) == 40_000


async def test_an_answer_before_the_body_is_taken() -> None:
    """The server answers and resets with NO_ERROR while the body waits for a window."""

    async def script(peer: H2Peer) -> None:
        await peer.until(lambda: len(peer.seen) == 1)
        peer.respond(peer.seen[0].stream, 413, b"too large")
        peer.refuse(peer.seen[0].stream, 0)
        peer.respond((await peer.request()).stream)

    async with (
        serve_h2(script, acknowledge=False) as server,
        pool_for(server.origin, max_connections=1) as pool,
    ):
        head = head_for(server.origin)
        assert (await pool.request(head, b"x" * 100_000)).status == 413
        assert (await pool.request(head, b"")).status == 200


async def test_a_head_over_the_limit_of_the_server_is_not_sent() -> None:
    """The request fails as never sent, and the next one passes."""
    settings = {SettingCodes.MAX_HEADER_LIST_SIZE: 1000}
    async with serve_h2(settings=settings) as server, pool_for(server.origin) as pool:
        head = head_for(server.origin)
        large = RequestHead.build("POST", server.origin, "/", {"x": "v" * 1500})
        (failure,) = await send_many(pool, large, 1)
        assert (failure.kind, failure.maybe_sent) == ("protocol", False)
        assert (await pool.request(head)).status == 200
