"""A browser registers, is sent to, and reads the message: the service as it runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.support.browsers import PRIVATE_KEY, PUBLIC_KEY, SUBJECT
from tests.support.simulated_fcm import running_simulator

from tocsin.app.lifecycle import Stopper
from tocsin.app.server import start_server
from tocsin.config import load_config
from tocsin.protocol import api_pb2, api_pb2_grpc
from tocsin.simulator.server import Simulator
from tocsin.simulator.webpush import WebPush

KEY = (("authorization", "apikey secret"),)


@pytest.fixture
async def simulator(tmp_path: Path) -> AsyncIterator[Simulator]:
    async with running_simulator(tmp_path) as simulator:
        yield simulator


@pytest.fixture
async def api(tmp_path: Path, simulator: Simulator) -> AsyncIterator[Any]:
    """The gRPC API of a server with a worker inside."""
    settings = {
        "http_server": {"address": "127.0.0.1", "port": 0},
        "grpc_api": {"address": "127.0.0.1", "port": 0, "key": "secret"},
        "database": {"sqlite": {"path": str(tmp_path / "tocsin.db")}},
        "push_notifications": {
            "enabled_providers": ["webpush"],
            "webpush": {
                "vapid_public_key": PUBLIC_KEY,
                "vapid_private_key": PRIVATE_KEY,
                "subject": SUBJECT,
                "ca_file": simulator.ca_file,
                "extra_allowed_endpoint_origins": [simulator.origin],
                "allow_private_addresses": True,
            },
        },
    }
    path = tmp_path / "tocsin.json"
    path.write_text(json.dumps(settings))
    async with AsyncExitStack() as stack:
        config = load_config(str(path), environ={}).config
        listening = await start_server(config, stack, Stopper())
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{listening.grpc_port}")
        await stack.enter_async_context(channel)
        yield api_pb2_grpc.CentrifugoApiStub(channel)


async def register(api: Any, subscription: dict[str, Any]) -> Any:
    request = api_pb2.DeviceRegisterRequest(
        provider="webpush",
        platform="web",
        token=json.dumps(subscription),
        topics=["news"],
    )
    return await api.DeviceRegister(request, metadata=KEY)


def notification(payload: Any, **headers: str) -> api_pb2.PushNotification:
    return api_pb2.PushNotification(
        webpush=api_pb2.WebPushPushNotification(
            headers=headers, payload=json.dumps(payload).encode()
        )
    )


async def send(api: Any, recipient: dict[str, Any], payload: Any) -> Any:
    return await api.SendPushNotification(
        api_pb2.SendPushNotificationRequest(
            recipient=api_pb2.PushRecipient(**recipient),
            notification=notification(payload, Urgency="high"),
        ),
        metadata=KEY,
    )


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - no event says it
            await asyncio.sleep(0.01)


async def test_from_registration_to_the_browser(api: Any, simulator: Simulator) -> None:
    """By topic and by raw subscription; a browser that is gone loses its device."""
    make = simulator.of(WebPush).new_subscription
    for name in ("ann", "bob", "dead-eve"):
        answer = await register(api, make(name, application_server_key=PUBLIC_KEY))
        assert not answer.error.message
    topic = {"filter": api_pb2.DeviceFilter(topics=["news"])}
    answer = await send(api, topic, {"title": "It rings"})
    assert answer.result.uid
    await until(lambda: simulator.ledger.stats()["distinct"] == 2)
    for name in ("ann", "bob"):
        received = simulator.of(WebPush).received(name)
        assert received is not None
        assert json.loads(received.plaintext) == {"title": "It rings"}
        assert received.headers["urgency"] == "high"
    raw = make("raw")
    assert (await send(api, {"webpush_tokens": [json.dumps(raw)]}, [1, 2])).result.uid
    await until(lambda: simulator.of(WebPush).received("raw") is not None)

    async def left() -> list[str]:
        page = await api.DeviceList(
            api_pb2.DeviceListRequest(include_webpush_keys=True), metadata=KEY
        )
        assert all(
            set(json.loads(one.webpush_keys)) == {"p256dh", "auth"}
            for one in page.result.items
        )
        return sorted(one.token.rpartition("/")[2] for one in page.result.items)

    async with asyncio.timeout(20):
        while await left() != ["ann", "bob"]:  # noqa: ASYNC110 - no event says it
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"endpoint": "https://push.example/x"}, "token: endpoint origin is not in"),
        ({"endpoint": "http://127.0.0.1/x"}, "token: endpoint must be an https URL"),
        ({"keys": {"p256dh": "AA", "auth": "AA"}}, "token: keys.p256dh"),
    ],
)
async def test_a_subscription_that_is_refused(
    api: Any, simulator: Simulator, change: dict[str, Any], words: str
) -> None:
    """Code 107 with the field, for registrations and for raw sends alike."""
    subscription = {**simulator.of(WebPush).new_subscription("a"), **change}
    answer = await register(api, subscription)
    assert answer.error.code == 107
    assert words in answer.error.message
    answer = await send(api, {"webpush_tokens": [json.dumps(subscription)]}, {})
    assert answer.error.code == 107
    assert words.replace("token:", "recipient.webpush_tokens[0]:") in (
        answer.error.message
    )
