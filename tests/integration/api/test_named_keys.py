"""Keys with names at both doors: known, limited to methods, limited in their rate."""

from __future__ import annotations

import json
from typing import Any

import grpc
import pytest
import structlog
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tests.support.api import World, calling, serving
from tests.support.http_api import HttpCaller, serving_http

from tocsin.api.auth import AccessKey, KeyRing, digest_of
from tocsin.api.push_funnel import PushFunnel
from tocsin.core.rates import RateLimit
from tocsin.protocol import api_pb2

DENIED = "permission denied: device_register: not among the methods of this key"
GOOD = api_pb2.DeviceRegisterRequest(provider="fcm", token="t", platform="ios")
LIST = api_pb2.DeviceListRequest()
DEVICE = {"provider": "fcm", "token": "t", "platform": "android"}


def keys() -> KeyRing:
    return KeyRing(
        [
            AccessKey("", digest_of("single-key")),
            AccessKey("all", digest_of("key-of-all")),
            AccessKey("reads", digest_of("key-of-reads"), frozenset({"device_list"})),
            AccessKey("slow", digest_of("key-of-slow"), rate=RateLimit(2, 3_600_000)),
        ]
    )


def by(name: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"apikey key-of-{name}"),)


def by_header(name: str) -> dict[str, str]:
    return {"X-API-Key": f"key-of-{name}"}


async def test_grpc_methods() -> None:
    """What the key may not call is an error in the reply, and changes nothing."""
    world = World()
    async with serving(world, keys=keys()) as server, calling(server) as stub:
        with structlog.testing.capture_logs() as logs:
            reply = await stub.DeviceRegister(GOOD, metadata=by("reads"))
        assert (reply.error.code, reply.error.message) == (103, DENIED)
        assert world.changes == 0
        assert (await stub.DeviceList(LIST, metadata=by("reads"))).HasField("result")
        assert (await stub.DeviceRegister(GOOD, metadata=by("all"))).result.id
    assert [line["caller"] for line in logs if "caller" in line] == ["reads"]
    assert "key-of-reads" not in str(logs)
    assert world.observed.keys == [
        ("reads", "grpc", "denied"),
        ("reads", "grpc", "admitted"),
        ("all", "grpc", "admitted"),
    ]


async def test_a_send_is_logged_with_its_caller() -> None:
    """By its name; a call with the single key has none."""
    send = api_pb2.SendPushNotificationRequest(
        recipient={"topics": ["news"]}, notification={"fcm": {"message": b"{}"}}
    )
    single = (("authorization", "apikey single-key"),)
    async with serving(World(), keys=keys()) as server, calling(server) as stub:
        with structlog.testing.capture_logs() as logs:
            for metadata in (by("all"), single):
                await stub.SendPushNotification(send, metadata=metadata)
    accepted = [line for line in logs if line["event"] == "send accepted"]
    assert [line.get("caller") for line in accepted] == ["all", None]


async def test_grpc_by_transport() -> None:
    """In transport error mode it is a status of its own."""
    async with (
        serving(World(), keys=keys(), transport_errors=True) as server,
        calling(server) as stub,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as denied:
            await stub.DeviceRegister(GOOD, metadata=by("reads"))
        assert denied.value.code() is grpc.StatusCode.PERMISSION_DENIED
        assert denied.value.details() == DENIED
        for _ in range(2):
            await stub.DeviceList(LIST, metadata=by("slow"))
        with pytest.raises(grpc.aio.AioRpcError) as limited:
            await stub.DeviceList(LIST, metadata=by("slow"))
        assert limited.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_grpc_batch() -> None:
    """Each command counts, and is allowed or not, as if it had come alone."""
    request = api_pb2.BatchRequest(
        commands=[{"device_register": GOOD}, {"device_list": {}}, {"device_list": {}}]
    )
    world = World()
    async with serving(world, keys=keys()) as server, calling(server) as stub:
        answer = await stub.Batch(request, metadata=by("reads"))
        assert [reply.error.code for reply in answer.replies] == [103, 0, 0]
        assert world.changes == 0
        answer = await stub.Batch(request, metadata=by("slow"))
        assert [reply.error.code for reply in answer.replies] == [0, 0, 108]
        assert "rate of this key" in answer.replies[2].error.message
        answer = await stub.Batch(request, metadata=by("slow"))
        assert [reply.error.code for reply in answer.replies] == [108] * 3


async def test_grpc_strangers_and_reflection() -> None:
    """Each key opens reflection; no name and no part of a key opens anything."""
    async with serving(World(), keys=keys()) as server, calling(server) as stub:
        for metadata in ((("authorization", "apikey reads"),), by(""), by("nobody")):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.DeviceList(LIST, metadata=metadata)
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        single = (("authorization", "apikey single-key"),)
        assert (await stub.DeviceRegister(GOOD, metadata=single)).result.id
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            reflection: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
            asked = reflection_pb2.ServerReflectionRequest(list_services="")
            stream = reflection.ServerReflectionInfo(
                iter([asked]), metadata=by("reads")
            )
            found = [reply async for reply in stream]
            assert found[0].list_services_response.service
            with pytest.raises(grpc.aio.AioRpcError):
                async for _ in reflection.ServerReflectionInfo(iter([asked])):
                    pass


async def test_grpc_keys_are_replaced_while_it_serves() -> None:
    """On an open connection: the new key is known, the old one a stranger."""
    ring = keys()
    async with serving(World(), keys=ring) as server, calling(server) as stub:
        await stub.DeviceList(LIST, metadata=by("all"))
        ring.replace([AccessKey("next", digest_of("key-of-next"))])
        await stub.DeviceList(LIST, metadata=by("next"))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.DeviceList(LIST, metadata=by("all"))
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def _post(http: HttpCaller, method: str, name: str, **more: Any) -> Any:
    body = more.pop("body", {})
    headers = {**by_header(name), **more.pop("headers", {})}
    return await http.send(f"/api/{method}", body, headers=headers, **more)


async def test_http_methods() -> None:
    """In the answer by default, as a status in transport error mode."""
    world = World()
    async with serving_http(world, keys=keys()) as http:
        answer = await _post(http, "device_register", "reads", body=DEVICE)
        error = {"code": 103, "message": DENIED}
        assert (answer.status, answer.json) == (200, {"error": error})
        transport = {"X-Centrifugo-Error-Mode": "transport"}
        answer = await _post(
            http, "device_register", "reads", body=DEVICE, headers=transport
        )
        assert (answer.status, answer.json) == (403, error)
        assert world.changes == 0
        assert "result" in (await _post(http, "device_list", "reads")).json
        answer = await http.send("/api/device_list?api_key=key-of-reads", headers={})
        assert "result" in answer.json
        assert (await _post(http, "device_list", "nobody")).status == 401


async def test_http_rate() -> None:
    """429 tells in seconds when to come again; other keys are not touched."""
    transport = {"X-Centrifugo-Error-Mode": "transport"}
    async with serving_http(World(), keys=keys()) as http:
        for _ in range(2):
            assert "result" in (await _post(http, "device_list", "slow")).json
        answer = await _post(http, "device_list", "slow")
        assert (answer.status, answer.json["error"]["code"]) == (200, 108)
        answer = await _post(http, "device_list", "slow", headers=transport)
        assert answer.status == 429
        assert 1700 < int(answer.headers["Retry-After"]) <= 1800
        assert "result" in (await _post(http, "device_list", "all")).json


async def test_http_batch() -> None:
    """Each command on its own, also in parallel."""
    commands = [{"device_register": DEVICE}, {"device_list": {}}, {"device_list": {}}]
    world = World()
    async with serving_http(world, keys=keys()) as http:
        for parallel in (False, True):
            both = {"commands": commands, "parallel": parallel}
            replies = (await _post(http, "batch", "reads", body=both)).json["replies"]
            assert replies[0]["error"]["code"] == 103
            assert all("device_list" in reply for reply in replies[1:])
        assert world.changes == 0
        body = {"commands": commands, "parallel": True}
        replies = (await _post(http, "batch", "slow", body=body)).json["replies"]
        assert [reply.get("error", {}).get("code") for reply in replies].count(108) == 1


async def test_http_legacy() -> None:
    """The oldest form, by name and by number."""
    world = World()
    commands = [
        {"id": 1, "method": "device_register", "params": DEVICE},
        {"id": 2, "method": 22, "params": DEVICE},
        {"id": 3, "method": "device_list", "params": {}},
    ]
    body = b"\n".join(json.dumps(each).encode() for each in commands)
    async with serving_http(world, keys=keys()) as http:
        answer = await http.send("/api", body, headers=by_header("reads"))
        first, second, third = map(json.loads, answer.text.split("\n"))
        assert first["error"]["code"] == second["error"]["code"] == 103
        assert "result" in third
    assert world.changes == 0
    assert ("reads", "http", "denied") in world.observed.keys


async def test_the_funnel_is_a_method_too() -> None:
    """It is denied and limited as the others are."""
    world, ring = World(), keys()
    funnel = PushFunnel(world.services, ring, observer=world.observed)
    options = {"routes": funnel.routes()}
    async with serving_http(world, keys=ring, gateway=options) as http:
        path = "/api/push_funnel?uid=x"
        answer = await http.send(path, None, verb="GET", headers=by_header("reads"))
        assert answer.json["error"]["code"] == 103
        for _ in range(2):
            await http.send(path, None, verb="GET", headers=by_header("slow"))
        headers = {**by_header("slow"), "X-Centrifugo-Error-Mode": "transport"}
        answer = await http.send(path, None, verb="GET", headers=headers)
        assert (answer.status, "Retry-After" in answer.headers) == (429, True)
        assert (await http.send(path, None, verb="GET", headers={})).status == 401
