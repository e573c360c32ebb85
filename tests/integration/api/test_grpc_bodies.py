from __future__ import annotations

import logging
from typing import Any

import grpc
import pytest
from grpc.aio import EOF  # type: ignore[attr-defined] # not in the stubs
from tests.support.api import WITH_KEY, World, serving

from tocsin.api.methods.table import SERVICE

UNREADABLE = [b"\xff", b"\x0a\xff\xff\xff\xff\x0f", b"\x0a\x02\xff\xfe"]
HEALTH = "/grpc.health.v1.Health"
REFLECT = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"


async def _refused(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""


@pytest.mark.parametrize("body", UNREADABLE)
async def test_bodies_that_are_no_message(
    body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Each RPC refuses them by status, counted as 107, without a traceback."""
    world = World()
    methods = ["Publish", "DeviceRegister", "Batch"]
    async with (
        serving(world) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        for name in methods:
            call = channel.unary_unary(f"/{SERVICE.full_name}/{name}", None, None)
            code, details = await _refused(call(body, metadata=WITH_KEY))
            assert code is grpc.StatusCode.INVALID_ARGUMENT
            assert details == "bad request: body: is no message of this method"
    assert [each[1:] for each in world.observed.commands] == [("grpc", 107)] * 3
    assert not [each for each in caplog.records if each.levelno >= logging.ERROR]


async def test_bodies_of_health_and_reflection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Health, which is open to all, and reflection write nothing in the log either."""
    async with (
        serving(World()) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        check = channel.unary_unary(f"{HEALTH}/Check", None, None)
        code, _ = await _refused(check(b"\xff"))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        watch = channel.unary_stream(f"{HEALTH}/Watch", None, None)
        code, _ = await _refused(watch(b"\xff").read())
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        reflect = channel.stream_stream(REFLECT, None, None)
        asked = reflect(iter([b"\xff"]), metadata=WITH_KEY)
        assert await asked.read() is EOF
    assert not [each for each in caplog.records if each.levelno >= logging.ERROR]
