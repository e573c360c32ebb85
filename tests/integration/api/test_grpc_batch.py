from __future__ import annotations

import grpc
import pytest
from tests.support.api import WITH_KEY, World, calling, serving

from tocsin.protocol import api_pb2

GOOD = api_pb2.DeviceRegisterRequest(provider="fcm", token="t", platform="ios")


@pytest.mark.parametrize("parallel", [False, True])
async def test_batch(parallel: bool) -> None:
    """Replies stand in the order of the commands, each with result or error."""
    request = api_pb2.BatchRequest(
        commands=[
            {"device_register": GOOD},
            {},
            {"device_register": {}},
            {"device_list": {}, "user_topic_list": {}},
            {"user_topic_update": {"user": "u", "op": "set"}},
        ],
        parallel=parallel,
    )
    world = World()
    async with serving(world) as server, calling(server) as stub:
        answer = await stub.Batch(request, metadata=WITH_KEY)
        registered, empty, refused, listed, updated = answer.replies
        assert registered.device_register.id
        assert empty.error.code == 104
        assert refused.error.code == 107
        assert not refused.HasField("device_register")
        assert listed.HasField("device_list")
        assert not listed.HasField("user_topic_list")
        assert updated.HasField("user_topic_update")
    assert ("batch", "grpc", 0) in world.observed.commands


async def test_errors_stay_in_the_replies() -> None:
    """Transport error mode does not reach into a batch."""
    request = api_pb2.BatchRequest(commands=[{"device_register": {}}])
    async with (
        serving(World(), transport_errors=True) as server,
        calling(server) as stub,
    ):
        (reply,) = (await stub.Batch(request, metadata=WITH_KEY)).replies
        assert reply.error.code == 107
        empty = await stub.Batch(api_pb2.BatchRequest(), metadata=WITH_KEY)
        assert list(empty.replies) == []


async def test_a_batch_has_an_upper_limit() -> None:
    """More commands than one call may have run not at all."""
    world = World()
    request = api_pb2.BatchRequest(commands=[{"device_register": GOOD}] * 10_001)
    async with serving(world) as server, calling(server) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Batch(request, metadata=WITH_KEY)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "commands: must be at most 10000" in (caught.value.details() or "")
    assert world.changes == 0
