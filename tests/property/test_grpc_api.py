"""Hostile bytes on every RPC over the wire: never a crash or a change."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import grpc
import pytest
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.api import WITH_KEY, World, serving
from tests.support.channels import Corridor
from tests.support.messages import messages

from tocsin.api.methods.table import SERVICE

_RPCS = {rpc.name: rpc for rpc in SERVICE.methods}
_INLINE = st.binary(max_size=12) | st.sampled_from([b"{}", b"\xff", b"{" * 3000])


@dataclass
class _Server:
    """An API in a thread of its own, so that examples are plain calls."""

    world: World
    corridor: Corridor
    channel: Any = None

    @property
    def changes(self) -> int:
        """How often anything was written, published or commanded."""
        heard, node = self.corridor.heard, self.corridor.node
        return self.world.changes + len(heard.publications) + len(node.commands)

    def call(self, name: str, request: bytes) -> Any:
        """The response to these bytes; raises `grpc.RpcError`."""
        call = self.channel.unary_unary(f"/{SERVICE.full_name}/{name}")
        answer: bytes = call(request, metadata=WITH_KEY, timeout=30)
        return GetMessageClass(_RPCS[name].output_type).FromString(answer)

    def try_call(self, name: str, request: bytes) -> tuple[Any, grpc.StatusCode]:
        """The response, or `None`, and the status."""
        try:
            return self.call(name, request), grpc.StatusCode.OK
        except grpc.RpcError as error:
            return None, error.code()


@pytest.fixture(scope="module")
def server() -> Iterator[_Server]:
    """One server for all examples."""
    started, running = threading.Event(), _Server(World(), Corridor())
    realtime = running.corridor.services
    running.world.services = replace(running.world.services, realtime=realtime)
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        await running.corridor.hear("x", "kept:1", "seen:1")
        async with serving(running.world) as api:
            running.channel = grpc.insecure_channel(f"127.0.0.1:{api.port}")
            started.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert started.wait(30)
    yield running
    running.channel.close()
    loop.call_soon_threadsafe(stop.set)
    thread.join(30)
    loop.close()


def _judge(response: Any) -> Any:
    """The error of a response; proves that it holds an error or a result alone."""
    has_error, has_result = response.HasField("error"), response.HasField("result")
    assert has_error != has_result
    if not has_error:
        return None
    error = response.error
    assert error.code in {102, 104, 107, 108, 112, 113}, error
    return error


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(sorted(set(_RPCS) - {"Batch"})),
    request=st.binary(max_size=60)
    | st.sampled_from(
        [
            b"",
            b"\x0a\x02\xff\xfe",  # text that is no UTF-8
            b"\x0a\xff\xff\xff\xff\x0f",  # a length beyond the message
            b"\x0b" * 200,  # groups that do not end
            b"\x00\x00",
            b"\xff" * 11,
            b"\xfa\xff\xff\xff\x0f\x00",  # a field of the highest number
            b"\x32\x04" * 20_000,
        ]
    ),
)
def test_any_bytes(server: _Server, name: str, request: bytes) -> None:
    """What is no message ends its own call; what is one gets a result or an error."""
    before = server.changes
    response, status = server.try_call(name, request)
    if response is None:
        assert status is grpc.StatusCode.INVALID_ARGUMENT
        assert server.changes == before
    else:
        assert _judge(response) is None or server.changes == before


@settings(max_examples=150, deadline=None)
@given(
    drawn=st.sampled_from(sorted(_RPCS)).flatmap(
        lambda name: st.tuples(
            st.just(name), messages(_RPCS[name].input_type, inline=_INLINE)
        )
    )
)
def test_well_formed_requests(server: _Server, drawn: tuple[str, Any]) -> None:
    """Messages with any content, and batches of them, are answered by the rules."""
    name, request = drawn
    before = server.changes
    response = server.call(name, request.SerializeToString())
    if name == "Batch":
        assert len(response.replies) == len(request.commands)
        for reply in response.replies:
            assert len(reply.ListFields()) == 1
    else:
        assert _judge(response) is None or server.changes == before


def test_the_server_is_still_sane(server: _Server) -> None:
    """After all of this a listing still answers."""
    assert server.call("DeviceList", b"").HasField("result")
