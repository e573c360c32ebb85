from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from google.rpc import status_pb2
from grpc.aio import EOF  # type: ignore[attr-defined] # not in the stubs
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tests.support.api import KEY, WITH_KEY, World, calling, serving
from tests.support.certificates import make_ca

from tocsin.api import grpc_server, pace
from tocsin.api.auth import KeyRing
from tocsin.api.grpc_calls import address_of
from tocsin.api.grpc_server import GrpcServer, GrpcSettings
from tocsin.api.listening import ListenError
from tocsin.api.methods.table import SERVICE
from tocsin.api.tls import DoorTls, ServerTls
from tocsin.core.device import DeviceFilter
from tocsin.core.errors import QueueUnavailable
from tocsin.core.ids import is_id
from tocsin.core.push import Expand
from tocsin.protocol import api_pb2, api_pb2_grpc

GOOD = api_pb2.DeviceRegisterRequest(provider="fcm", token="t", platform="ios")
SEND = api_pb2.SendPushNotificationRequest(
    recipient={"topics": ["news"]}, notification={"fcm": {"message": b"{}"}}
)
_INFO = api_pb2.InfoRequest()
BY_TRANSPORT = (*WITH_KEY, ("x-centrifugo-error-mode", "transport"))


def _channel(server: GrpcServer, **kwargs: Any) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", **kwargs)


async def _code(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""


async def test_device_lives_its_life() -> None:
    """Register, topics, update, lists in both spellings, remove: over the wire."""
    world = World()
    async with serving(world) as server, calling(server) as stub:

        async def call(rpc: str, request: Any) -> Any:
            reply = await getattr(stub, rpc)(request, metadata=WITH_KEY)
            assert not reply.HasField("error"), reply.error
            assert reply.HasField("result")
            return reply.result

        id = (await call("DeviceRegister", GOOD)).id
        assert is_id(id)
        assert list(world.devices.rows) == [id]
        await call(
            "DeviceTopicUpdate",
            api_pb2.DeviceTopicUpdateRequest(
                device_id=id, op="add", topics=["a", "b", "a"]
            ),
        )
        await call(
            "UserTopicUpdate",
            api_pb2.UserTopicUpdateRequest(user="u", op="set", topics=["mine"]),
        )
        await call(
            "DeviceUpdate",
            api_pb2.DeviceUpdateRequest(ids=[id], user_update={"user": "u"}),
        )
        devices = await call(
            "DeviceList",
            api_pb2.DeviceListRequest(
                users=["u"], include_topics=True, include_total_count=True
            ),
        )
        assert list(devices.items[0].topics) == ["a", "b", "mine"]
        assert devices.total_count == 1
        first = await call(
            "DeviceTopicList", api_pb2.DeviceTopicListRequest(device_ids=[id], limit=2)
        )
        assert first.has_more
        assert first.next_cursor == first.items[-1].id
        rest = await call(
            "DeviceTopicList",
            api_pb2.DeviceTopicListRequest(
                filter={"device_ids": [id]}, since=first.items[-1].id
            ),
        )
        assert [row.topic for row in rest.items] == ["mine"]
        assert rest.items[0].device.id == rest.items[0].device_id == id
        bound = await call(
            "UserTopicList", api_pb2.UserTopicListRequest(topic_prefix="mi")
        )
        assert [(row.user, row.topic) for row in bound.items] == [("u", "mine")]
        await call("DeviceRemove", api_pb2.DeviceRemoveRequest(users=["u"], ids=[id]))
        assert world.devices.rows == {}


async def test_send_becomes_jobs() -> None:
    """A send answers its uid and carries the caller's request id to the queue."""
    world = World()
    async with serving(world) as server, calling(server) as stub:
        reply = await stub.SendPushNotification(
            SEND, metadata=(*WITH_KEY, ("x-request-id", "req-7"))
        )
    (payload, (job,)), *_ = world.queue.accepted
    assert reply.result.uid == payload.uid
    assert job.work == Expand(DeviceFilter(topics=("news",)))
    assert job.correlation_id == "req-7"


async def test_errors_are_in_band() -> None:
    """By default an error is in the reply, with no result beside it."""
    world = World()
    async with serving(world) as server, calling(server) as stub:
        reply = await stub.DeviceRegister(
            api_pb2.DeviceRegisterRequest(), metadata=WITH_KEY
        )
        assert reply.error.code == 107
        assert reply.error.message.startswith("bad request: provider: ")
        assert not reply.HasField("result")
        world.queue.limit = 0
        reply = await stub.SendPushNotification(SEND, metadata=WITH_KEY)
        assert (reply.error.code, reply.error.message) == (
            108,
            "not available: queue is full",
        )
        reply = await stub.DeviceTopicUpdate(
            api_pb2.DeviceTopicUpdateRequest(device_id="nope", op="set"),
            metadata=(*WITH_KEY, ("x-centrifugo-error-mode", "Transport")),
        )
        assert reply.error.code == 104


async def _transport_error(call: Any) -> tuple[grpc.StatusCode, api_pb2.Error]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    trailers: dict[str, bytes] = dict(caught.value.trailing_metadata() or ())  # type: ignore[arg-type] # pairs
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    error = api_pb2.Error()
    assert status.details[0].Unpack(error)
    assert status.code == caught.value.code().value[0]
    assert status.message == caught.value.details() == error.message
    return caught.value.code(), error


async def test_transport_mode_by_metadata_and_configuration() -> None:
    """On request the status carries the error, packed into its details."""
    world = World()
    world.queue.limit = 0
    async with serving(world) as server, calling(server) as stub:
        code, error = await _transport_error(
            stub.DeviceRegister(api_pb2.DeviceRegisterRequest(), metadata=BY_TRANSPORT)
        )
        assert (code, error.code) == (grpc.StatusCode.INVALID_ARGUMENT, 107)
        code, error = await _transport_error(
            stub.SendPushNotification(SEND, metadata=BY_TRANSPORT)
        )
        assert (code, error.code) == (grpc.StatusCode.RESOURCE_EXHAUSTED, 108)
        reply = await stub.DeviceRegister(GOOD, metadata=BY_TRANSPORT)
        assert reply.result.id
    async with (
        serving(world, transport_errors=True) as server,
        calling(server) as stub,
    ):
        code, error = await _transport_error(
            stub.DeviceTopicUpdate(
                api_pb2.DeviceTopicUpdateRequest(device_id="nope", op="set"),
                metadata=WITH_KEY,
            )
        )
        assert (code, error.code) == (grpc.StatusCode.NOT_FOUND, 104)


@pytest.mark.parametrize(
    "failure", [RuntimeError("dsn=secret"), QueueUnavailable("connection refused")]
)
async def test_unexpected_failure_leaks_nothing(
    failure: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    """A failure of ours is 100 without its text, logged once with the request id."""
    world = World()
    world.queue.failure = failure
    async with serving(world) as server, calling(server) as stub:
        metadata = (*WITH_KEY, ("x-request-id", "req-9"))
        reply = await stub.SendPushNotification(SEND, metadata=metadata)
    assert reply.error.code == 100
    assert reply.error.message.startswith("internal server error")
    assert "secret" not in reply.error.message
    failed = [
        line for line in capsys.readouterr().out.splitlines() if "call failed" in line
    ]
    assert len(failed) == 1
    assert "request_id" in failed[0]
    assert "req-9" in failed[0]


async def test_calls_are_observed_and_failures_logged(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each call is measured under its name and code; only failures write a line."""
    world = World()
    async with serving(world) as server, calling(server) as stub:
        await stub.DeviceRegister(GOOD, metadata=WITH_KEY)
        bad = api_pb2.DeviceRegisterRequest(provider="fcm", token="hush\0hush")
        await stub.DeviceRegister(bad, metadata=WITH_KEY)
    assert world.observed.commands == [
        ("device_register", "grpc", 0),
        ("device_register", "grpc", 107),
    ]
    out = capsys.readouterr().out
    assert out.count("call failed") == 1
    assert "hush" not in out


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        (("authorization", KEY),),
        (("authorization", f"apikey  {KEY}"),),
        (("authorization", "apikey wrong"), *WITH_KEY),
    ],
)
async def test_key_comes_before_everything(
    metadata: tuple[tuple[str, str], ...],
) -> None:
    """Without the exact key every method is refused alike, known or not."""
    world = World()
    async with serving(world) as server, calling(server) as stub:
        channel = _channel(server)
        refused = (grpc.StatusCode.UNAUTHENTICATED, "unauthenticated")
        assert await _code(stub.DeviceRegister(GOOD, metadata=metadata)) == refused
        publish = stub.Publish(api_pb2.PublishRequest(), metadata=metadata)
        assert await _code(publish) == refused
        unknown = channel.unary_unary("/no.such.Service/Method", None, None)
        assert await _code(unknown(b"", metadata=metadata)) == refused
        for version in ("v1", "v1alpha"):
            reflect = channel.stream_stream(
                f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
                None,
                None,
            )
            # Nothing is ever written: the refusal must not wait for a message.
            stream = reflect(None, metadata=metadata)
            assert await _code(stream.read()) == refused
        await channel.close(None)
    assert world.changes == 0
    assert world.observed.commands == []


async def test_refused_calls_of_one_address_wait_and_good_ones_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first refusals come at once; a flood is held, also while the key is used."""
    monkeypatch.setattr(pace, "WINDOW_S", 3_600.0)
    monkeypatch.setattr(grpc_server, "REFUSAL_HOLD_S", 3_600.0)
    async with asyncio.timeout(60), serving(World()) as server:
        async with calling(server) as stub:
            for _ in range(grpc_server.REFUSALS_AT_ONCE):
                code, _ = await _code(stub.DeviceRegister(GOOD))
                assert code is grpc.StatusCode.UNAUTHENTICATED
            held = [asyncio.create_task(_code(stub.Info(_INFO))) for _ in range(20)]
            for _ in range(5):
                reply = await stub.DeviceRegister(GOOD, metadata=WITH_KEY)
                assert reply.HasField("result")
            assert not any(each.done() for each in held)
            # A shutdown lets them go, and does not wait for its grace.
            await server.stop(600.0)
            refused = await asyncio.gather(*held)
        assert {code for code, _ in refused} == {grpc.StatusCode.UNAUTHENTICATED}


async def test_health_checks_of_one_connection_are_held_beyond_their_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They need no key; those of another connection are answered meanwhile."""
    monkeypatch.setattr(pace, "WINDOW_S", 3_600.0)
    monkeypatch.setattr(grpc_server, "CHECK_HOLD_S", 3_600.0)
    alone = [("grpc.use_local_subchannel_pool", 1)]
    request = health_pb2.HealthCheckRequest()
    async with (
        asyncio.timeout(60),
        serving(World()) as server,
        _channel(server, options=alone) as flooding,
        _channel(server, options=alone) as other,
    ):
        checking = health_pb2_grpc.HealthStub(flooding)
        for _ in range(grpc_server.CHECKS_AT_ONCE):
            await checking.Check(request)
        held = asyncio.ensure_future(checking.Check(request))
        watched = asyncio.ensure_future(anext(aiter(checking.Watch(request))))
        await health_pb2_grpc.HealthStub(other).Check(request)
        assert not held.done()
        assert not watched.done()
        held.cancel()
        watched.cancel()


async def test_a_refused_call_names_who_asked() -> None:
    """The words of the HTTP door, with method and address, and without the key."""
    metadata = (("authorization", "apikey guess"),)
    async with serving(World()) as server, calling(server) as stub:
        with structlog.testing.capture_logs() as lines:
            await _code(stub.DeviceRegister(GOOD, metadata=metadata))
    assert lines == [
        {
            "event": "call refused: the request does not carry the configured key",
            "log_level": "warning",
            "method": "/centrifugal.centrifugo.api.CentrifugoApi/DeviceRegister",
            "peer": "127.0.0.1",
        }
    ]


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:127.0.0.1:4711", "127.0.0.1"),
        ("ipv6:%5B::1%5D:4711", "::1"),
        ("ipv6:[2001:db8::7]:1", "2001:db8::7"),
        ("unix:", "unix"),
    ],
)
def test_address_of_a_peer(peer: str, address: str) -> None:
    """As HTTP tells it: the port says nothing at night."""
    assert address_of(peer) == address


async def test_no_key_configured(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a key in the configuration nobody comes in, and the log says why."""
    async with serving(World(), keys=KeyRing()) as server, calling(server) as stub:
        for metadata in ((), (("authorization", "apikey "),)):
            assert await _code(stub.DeviceRegister(GOOD, metadata=metadata)) == (
                grpc.StatusCode.UNAUTHENTICATED,
                "unauthenticated",
            )
        health = health_pb2_grpc.HealthStub(_channel(server))
        reply = await health.Check(health_pb2.HealthCheckRequest())
        assert reply.status == health_pb2.HealthCheckResponse.SERVING
    out = capsys.readouterr().out
    assert "grpc_api.key" in out
    assert "TOCSIN_GRPC_API_KEY" in out


async def test_insecure() -> None:
    """Insecure lets calls in without a key."""
    async with (
        serving(World(), keys=KeyRing(insecure=True)) as server,
        calling(server) as stub,
    ):
        assert (await stub.DeviceRegister(GOOD)).result.id


async def test_not_built_and_unknown_methods() -> None:
    """With the key, what is not built says so, and what is unknown has a status."""
    async with serving(World()) as server, calling(server) as stub:
        reply = await stub.MapPublish(api_pb2.MapPublishRequest(), metadata=WITH_KEY)
        assert reply.error.code == 108
        assert reply.error.message == "not available: map_publish"
        async with _channel(server) as channel:
            unknown = channel.unary_unary(f"/{SERVICE.full_name}/NoSuch", None, None)
            code, _ = await _code(unknown(b"", metadata=WITH_KEY))
            assert code is grpc.StatusCode.UNIMPLEMENTED


async def _reflect(
    channel: grpc.aio.Channel, version: str, **request: str
) -> reflection_pb2.ServerReflectionResponse:
    reflect = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    stream = reflect(None, metadata=WITH_KEY)
    await stream.write(reflection_pb2.ServerReflectionRequest(**request))
    reply: reflection_pb2.ServerReflectionResponse = await stream.read()
    await stream.done_writing()
    assert await stream.code() is grpc.StatusCode.OK
    return reply


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection(version: str) -> None:
    """With the key a tool can list the services and fetch the schema."""
    async with serving(World()) as server, _channel(server) as channel:
        listed = await _reflect(channel, version, list_services="")
        names = {s.name for s in listed.list_services_response.service}
        assert {SERVICE.full_name, "grpc.health.v1.Health"} <= names
        found = await _reflect(
            channel, version, file_containing_symbol=SERVICE.full_name
        )
        assert found.file_descriptor_response.file_descriptor_proto


async def test_reflection_can_be_off() -> None:
    """Switched off, reflection is an unknown method."""
    async with (
        serving(World(), reflection=False) as server,
        _channel(server) as channel,
    ):
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        stream = stub.ServerReflectionInfo(metadata=WITH_KEY)
        code, _ = await _code(stream.read())
        assert code is grpc.StatusCode.UNIMPLEMENTED


async def test_gzip_is_accepted() -> None:
    """A compressed request is read."""
    world = World()
    async with serving(world) as server:
        channel = _channel(server, compression=grpc.Compression.Gzip)
        async with channel:
            stub = api_pb2_grpc.CentrifugoApiStub(channel)
            request = api_pb2.DeviceRegisterRequest()
            request.CopyFrom(GOOD)
            request.meta["note"] = "x" * 4000
            reply = await stub.DeviceRegister(request, metadata=WITH_KEY)
    assert world.devices.rows[reply.result.id].meta["note"] == "x" * 4000


@pytest.mark.parametrize(("limit", "size"), [(0, 4 * 1024 * 1024), (2000, 2000)])
async def test_oversized_message(limit: int, size: int) -> None:
    """A message over the limit is RESOURCE_EXHAUSTED; 0 means gRPC's default."""
    async with (
        serving(World(), max_receive_bytes=limit) as server,
        calling(server) as stub,
    ):
        big = api_pb2.DeviceRegisterRequest(token="x" * size)
        code, _ = await _code(stub.DeviceRegister(big, metadata=WITH_KEY))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        below = api_pb2.DeviceRegisterRequest(token="x" * (size - 100))
        reply = await stub.DeviceRegister(below, metadata=WITH_KEY)
        assert reply.error.code == 107


@pytest.mark.parametrize("host", ["127.0.0.1", ""])
async def test_busy_port(host: str) -> None:
    """A port in use is an error that names the address and the setting."""
    async with serving(World(), host=host) as first:
        settings = GrpcSettings(host=host, port=first.port)
        second = GrpcServer(World().services, settings)
        with pytest.raises(ListenError, match=rf":{first.port}\b.*grpc_api\.port"):
            await second.start()
        await second.stop(0)


async def test_port_held_by_another_program() -> None:
    """A plain socket of another program counts as busy too."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        settings = GrpcSettings(host="127.0.0.1", port=held.getsockname()[1])
        with pytest.raises(ListenError):
            await GrpcServer(World().services, settings).start()


async def test_several_processes_may_share_a_port_on_request() -> None:
    """With reuse_port a second server opens the same port."""
    async with (
        serving(World(), reuse_port=True) as first,
        serving(World(), reuse_port=True, port=first.port) as second,
    ):
        assert second.port == first.port


def _tls_channel(
    port: int, ca: Path, pair: tuple[Path, Path] | None = None
) -> grpc.aio.Channel:
    cert, key = pair or (None, None)
    credentials = grpc.ssl_channel_credentials(
        root_certificates=ca.read_bytes(),
        private_key=key.read_bytes() if key else None,
        certificate_chain=cert.read_bytes() if cert else None,
    )
    return grpc.aio.secure_channel(f"localhost:{port}", credentials)


async def test_tls(tmp_path: Path) -> None:
    """TLS serves; a client in plain text gets nowhere."""
    ca = make_ca(tmp_path)
    cert, key = ca.issue()
    tls = DoorTls(ServerTls(cert.read_bytes(), key.read_bytes()))
    async with serving(World(), tls=tls) as server:
        async with _tls_channel(server.port, ca.pem_path) as channel:
            stub = api_pb2_grpc.CentrifugoApiStub(channel)
            reply = await stub.DeviceRegister(GOOD, metadata=WITH_KEY)
            assert reply.result.id
        async with calling(server) as stub:
            code, _ = await _code(stub.DeviceRegister(GOOD, metadata=WITH_KEY))
            assert code is grpc.StatusCode.UNAVAILABLE


async def test_client_certificates(tmp_path: Path) -> None:
    """With a client CA only clients with its certificate come in, key or not."""
    ca = make_ca(tmp_path / "ours")
    other = make_ca(tmp_path / "other")
    cert, key = ca.issue()
    tls = DoorTls(
        ServerTls(cert.read_bytes(), key.read_bytes(), ca.pem_path.read_bytes())
    )
    async with serving(World(), tls=tls) as server:
        good = ca.issue(["client"], client=True)
        async with _tls_channel(server.port, ca.pem_path, good) as channel:
            stub = api_pb2_grpc.CentrifugoApiStub(channel)
            assert (await stub.DeviceRegister(GOOD, metadata=WITH_KEY)).result.id
            code, _ = await _code(stub.DeviceRegister(GOOD))
            assert code is grpc.StatusCode.UNAUTHENTICATED
        for pair in (None, other.issue(["client"], client=True)):
            async with _tls_channel(server.port, ca.pem_path, pair) as channel:
                stub = api_pb2_grpc.CentrifugoApiStub(channel)
                code, _ = await _code(stub.DeviceRegister(GOOD, metadata=WITH_KEY))
                assert code is grpc.StatusCode.UNAVAILABLE


class _Gate:
    """A device store whose registration waits until it is let through."""

    def __init__(self, world: World) -> None:
        self.entered = asyncio.Event()
        self.open = asyncio.Event()
        register = world.devices.register

        async def gated(registration: Any) -> str:
            self.entered.set()
            await self.open.wait()
            return await register(registration)

        world.devices.register = gated  # type: ignore[method-assign] # a gate


async def test_drain_lets_running_calls_end() -> None:
    """Draining turns new calls away and answers the running ones."""
    world = World()
    gate = _Gate(world)
    async with serving(world) as server, calling(server) as stub:
        call = asyncio.ensure_future(stub.DeviceRegister(GOOD, metadata=WITH_KEY))
        await asyncio.wait_for(gate.entered.wait(), 10)
        stopping = asyncio.ensure_future(server.stop(30))
        async with calling(server) as late:
            code, _ = await _code(late.DeviceRegister(GOOD, metadata=WITH_KEY))
            # A call that crosses the GOAWAY on its way is cancelled by gRPC.
            assert code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
        assert not stopping.done()
        gate.open.set()
        assert (await call).result.id
        await asyncio.wait_for(stopping, 10)
    assert len(world.devices.rows) == 1


async def test_open_streams_do_not_hold_up_a_drain() -> None:
    """Watchers hear NOT_SERVING, reflection streams end, and the server stops."""
    async with serving(World()) as server, _channel(server) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        states = health_pb2.HealthCheckResponse
        watches = {
            service: health.Watch(health_pb2.HealthCheckRequest(service=service))
            for service in ("", SERVICE.full_name, "unknown")
        }
        first = {name: (await watch.read()).status for name, watch in watches.items()}
        assert first == {
            "": states.SERVING,
            SERVICE.full_name: states.SERVING,
            "unknown": states.SERVICE_UNKNOWN,
        }
        reflect = reflection_pb2_grpc.ServerReflectionStub(
            channel
        ).ServerReflectionInfo(metadata=WITH_KEY)
        await reflect.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        await reflect.read()
        stopping = asyncio.ensure_future(server.stop(30))
        last = {name: (await watch.read()).status for name, watch in watches.items()}
        assert last == {
            "": states.NOT_SERVING,
            SERVICE.full_name: states.NOT_SERVING,
            "unknown": states.SERVICE_UNKNOWN,
        }
        assert await reflect.read() is EOF
        await asyncio.wait_for(stopping, 10)


async def test_health_of_an_unknown_service() -> None:
    """Asked for a service that is not here, health answers NOT_FOUND."""
    async with serving(World()) as server, _channel(server) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        asked = health_pb2.HealthCheckRequest(service="unknown")
        code, _ = await _code(health.Check(asked))
        assert code is grpc.StatusCode.NOT_FOUND


async def test_drain_ends_with_its_grace() -> None:
    """A call that does not end is cut when the grace is over."""
    world = World()
    gate = _Gate(world)
    async with serving(world) as server, calling(server) as stub:
        call = asyncio.ensure_future(stub.DeviceRegister(GOOD, metadata=WITH_KEY))
        await asyncio.wait_for(gate.entered.wait(), 10)
        await asyncio.wait_for(server.stop(0.05), 10)
        with pytest.raises(grpc.aio.AioRpcError):
            await call
    assert world.devices.rows == {}
