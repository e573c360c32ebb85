"""HTTP/2 at the gRPC doors: pings, and how many calls a connection has at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import grpc
import pytest
from tests.support.api import WITH_KEY, World, serving
from tests.support.http_streams import open_doors
from tests.support.raw_http2 import (
    ACK,
    DATA,
    GOAWAY,
    HEADERS,
    PING,
    RST_STREAM,
    SETTINGS,
    RawHttp2,
    call_head,
    frame,
)
from tests.support.realtime import build_context

from tocsin.protocol import api_pb2, api_pb2_grpc, grpc_limits

CANCEL, ENHANCE_YOUR_CALM = 8, 11
CLOSEST_S = 0.1  # instead of a second, for tests


@asynccontextmanager
async def _api() -> AsyncIterator[tuple[int, str]]:
    async with serving(World()) as server:
        yield server.port, "/grpc.health.v1.Health/Watch"


@asynccontextmanager
async def _uni() -> AsyncIterator[tuple[int, str]]:
    async with open_doors(build_context(), has_grpc=True) as doors:
        service = "centrifugal.centrifugo.unistream.CentrifugoUniStream"
        yield doors.grpc_port, f"/{service}/Consume"


Open = Callable[[], AbstractAsyncContextManager[tuple[int, str]]]


@pytest.fixture(params=[_api, _uni], ids=["api", "uni_grpc"])
def door(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Opens a door, and tells its port and a call that stays open."""
    assert grpc_limits.MIN_PING_INTERVAL_MS <= 5_000
    monkeypatch.setattr(grpc_limits, "MIN_PING_INTERVAL_MS", int(CLOSEST_S * 1000))
    found: Open = request.param
    return found


@pytest.mark.parametrize("has_call", [True, False])
async def test_a_client_that_pings_keeps_its_connection(
    door: Open, has_call: bool
) -> None:
    """With and without a call: many pings at their pace, each is answered."""
    async with door() as (port, path):
        client = await RawHttp2.open(port)
        if has_call:
            client.call(path)
            await client.read_until(HEADERS)
        for number in range(3 * grpc_limits.MAX_PING_STRIKES + 2):
            client.ping(number)
            assert await client.read_until(PING, ACK) == number.to_bytes(8)
            await asyncio.sleep(1.5 * CLOSEST_S)  # the pace is what is tested
        await client.close()


async def test_a_connection_has_so_many_calls_at_once() -> None:
    """The API tells clients of its limit, and answers so many together."""
    async with _api() as (port, path):
        client = await RawHttp2.open(port)
        settings = await client.read_until(SETTINGS)
        pairs = [settings[at : at + 6] for at in range(0, len(settings), 6)]
        found = {int.from_bytes(pair[:2]): int.from_bytes(pair[2:]) for pair in pairs}
        assert found[3] == grpc_limits.MAX_CALLS_OF_A_CONNECTION == 100
        for number in range(grpc_limits.MAX_CALLS_OF_A_CONNECTION):
            client.call(path.replace("Watch", "Check"), stream=2 * number + 1)
        ended: set[int] = set()
        while len(ended) < grpc_limits.MAX_CALLS_OF_A_CONNECTION:
            kind, flags, stream, _ = await client.read()
            if kind == HEADERS and flags & 1:
                ended.add(stream)
        await client.close()


async def test_further_calls_wait_in_the_client_and_none_is_refused() -> None:
    """Calls that have ended count no more, also where gRPC has not freed them yet."""
    at_once = 4 * grpc_limits.MAX_CALLS_OF_A_CONNECTION
    calls = iter(range(5 * at_once))
    answered = 0

    async def call_some(stub: api_pb2_grpc.CentrifugoApiStub) -> None:
        nonlocal answered
        for _ in calls:
            request = api_pb2.DeviceListRequest()
            answer = await stub.DeviceList(request, metadata=WITH_KEY, timeout=30)
            answered += answer.HasField("result")

    async with (
        serving(World()) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        stub = api_pb2_grpc.CentrifugoApiStub(channel)
        await asyncio.gather(*(call_some(stub) for _ in range(at_once)))
    assert answered == 5 * at_once


@pytest.mark.parametrize("has_message", [True, False])
async def test_calls_that_are_reset_keep_nobody_waiting(has_message: bool) -> None:
    """A peer that opens calls and resets them at once, without end."""
    async with _api() as (port, path):
        flood, other = await RawHttp2.open(port), await RawHttp2.open(port)
        other.call(path.replace("Watch", "Check"))
        await other.read_until(HEADERS)
        for stream in range(1, 20_001, 2):
            flood.writer.write(frame(HEADERS, 4, stream, call_head(path)))
            if has_message:
                flood.writer.write(frame(DATA, 1, stream, bytes(5)))
            flood.writer.write(frame(RST_STREAM, 0, stream, CANCEL.to_bytes(4)))
        await flood.writer.drain()
        other.call(path.replace("Watch", "Check"), stream=3)
        assert await other.read_until(HEADERS)
        flood.ping(7)
        assert await flood.read_until(PING, ACK) == (7).to_bytes(8)
        await flood.close()
        await other.close()


async def test_a_flood_of_pings_ends_its_connection(door: Open) -> None:
    """By the code and the word that gRPC has for it."""
    async with door() as (port, _):
        client = await RawHttp2.open(port)
        client.writer.write(frame(PING, 0, 0, bytes(8)) * 10)
        payload = await client.read_until(GOAWAY)
        assert int.from_bytes(payload[4:8]) == ENHANCE_YOUR_CALM
        assert payload[8:] == b"too_many_pings"
        await client.close()
