from __future__ import annotations

import json
import logging
from typing import Any

import grpc
import pytest
from grpc.aio import EOF  # type: ignore[attr-defined] # not in the stubs
from tests.support.http_streams import open_doors
from tests.support.realtime import OPEN_CHANNEL, SECRET, build_context
from tests.support.tokens import sign

from tocsin.core.channel import PublishOptions
from tocsin.core.client_codes import Disconnect
from tocsin.core.control import DisconnectCommand, SubscribeCommand, Target
from tocsin.protocol import unistream_pb2 as pb
from tocsin.protocol import unistream_pb2_grpc
from tocsin.sessions.settings import SessionSettings

TOKEN = sign({"sub": "u", "channels": ["news"]}, SECRET)
CONSUME = "/centrifugal.centrifugo.unistream.CentrifugoUniStream/Consume"


async def test_a_stream_from_connect_to_disconnect() -> None:
    """One push per message: connect, publication, subscribe, disconnect."""
    context = build_context(SessionSettings(), options=OPEN_CHANNEL)
    async with (
        open_doors(context, has_grpc=True) as doors,
        grpc.aio.insecure_channel(f"127.0.0.1:{doors.grpc_port}") as channel,
    ):
        stub: Any = unistream_pb2_grpc.CentrifugoUniStreamStub(channel)
        stream = stub.Consume(pb.ConnectRequest(token=TOKEN), timeout=30)
        connect = (await stream.read()).connect
        assert connect.client
        assert list(connect.subs) == ["news"]
        await context.broker.publish("news", b'{"n":1}', PublishOptions())
        while not (push := await stream.read()).HasField("pub"):
            pass
        assert (push.channel, json.loads(push.pub.data)) == ("news", {"n": 1})
        context.hub.run(SubscribeCommand(Target("u"), "more", data=b"[1]"))
        push = await stream.read()
        assert (push.channel, push.subscribe.data) == ("more", b"[1]")
        context.hub.run(DisconnectCommand(Target("u"), Disconnect(4321, "why")))
        while not (push := await stream.read()).HasField("disconnect"):
            pass
        assert (push.disconnect.code, push.disconnect.reason) == (4321, "why")
        assert await stream.read() is EOF


async def test_a_stream_is_pinged() -> None:
    """The connect says how often; a ping is an empty push, and wants no answer."""
    settings = SessionSettings(insecure=True, ping_interval_s=0.2, pong_timeout_s=0.1)
    async with (
        open_doors(build_context(settings), has_grpc=True) as doors,
        grpc.aio.insecure_channel(f"127.0.0.1:{doors.grpc_port}") as channel,
    ):
        stub: Any = unistream_pb2_grpc.CentrifugoUniStreamStub(channel)
        stream = stub.Consume(pb.ConnectRequest(), timeout=30)
        connect = (await stream.read()).connect
        assert (connect.ping, connect.pong) == (1, False)
        for _ in range(4):
            assert await stream.read() == pb.Push()
        stream.cancel()


async def test_the_usual_ping_is_told() -> None:
    """The interval of the configuration: 25 seconds as shipped."""
    async with (
        open_doors(build_context(), has_grpc=True) as doors,
        grpc.aio.insecure_channel(f"127.0.0.1:{doors.grpc_port}") as channel,
    ):
        stub: Any = unistream_pb2_grpc.CentrifugoUniStreamStub(channel)
        stream = stub.Consume(pb.ConnectRequest(), timeout=30)
        assert (await stream.read()).connect.ping == 25
        stream.cancel()


async def test_a_request_that_is_no_message(caplog: pytest.LogCaptureFixture) -> None:
    """It ends its own call, is in no log, and takes nobody's place."""
    context = build_context(SessionSettings(connection_limit=1))
    async with (
        open_doors(context, has_grpc=True) as doors,
        grpc.aio.insecure_channel(f"127.0.0.1:{doors.grpc_port}") as channel,
    ):
        for _ in range(3):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_stream(CONSUME, None, None)(b"\xff").read()
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        stub: Any = unistream_pb2_grpc.CentrifugoUniStreamStub(channel)
        stream = stub.Consume(pb.ConnectRequest(token=TOKEN), timeout=30)
        assert (await stream.read()).connect.client
        stream.cancel()
    assert not [each for each in caplog.records if each.levelno >= logging.ERROR]
