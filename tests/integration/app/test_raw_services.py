"""HMS, Expo and the raw-body services from a gRPC call to the service and back."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.support.simulated_fcm import running_simulator
from tests.support.whole_server import Tocsin, serving, until

from tocsin.protocol import api_pb2, api_pb2_grpc
from tocsin.simulator import (
    expo,
    hms,
    one_signal,
    push_webhook,
    pusher_beams,
    pushpad,
)
from tocsin.simulator.expo import Expo
from tocsin.simulator.server import Simulator

WITH_KEY = (("authorization", "apikey k"),)
MESSAGES: dict[str, dict[str, Any]] = {
    "hms": {"notification": {"title": "Goal"}},
    "expo": {"title": "Goal"},
    "one_signal": {"contents": {"en": "Goal"}},
    "push_webhook": {"title": "Goal"},
    "pusher_beams": {"web": {"notification": {"title": "Goal"}}},
    "pushpad": {"notification": {"body": "Goal"}},
}
"""Field of the notification, and what stands in it."""
RAW = {
    "hms_tokens": "hms",
    "hms_topic": "hms",
    "hms_condition": "hms",
    "expo_tokens": "expo",
    "one_signal_ids": "one_signal",
    "push_webhook_targets": "push_webhook",
    "pusher_beams_users": "pusher_beams",
    "pushpad_uids": "pushpad",
}
"""Field of the recipient, and of the body that it needs."""


def providers(simulator: Simulator, receipt_delay: str) -> dict[str, Any]:
    """Every service of this file at the simulator."""
    at = {"endpoint": simulator.origin, "ca_file": simulator.ca_file}
    return {
        "enabled_providers": [name.replace("_", "-") for name in MESSAGES],
        "hms": {
            "app_id": hms.APP_ID,
            "app_secret": hms.APP_SECRET,
            "auth_endpoint": simulator.origin,
            "push_endpoint": simulator.origin,
            "ca_file": simulator.ca_file,
        },
        "expo": {
            "access_token": expo.ACCESS_TOKEN,
            "receipt_delay": receipt_delay,
            **at,
        },
        "one_signal": {
            "app_id": one_signal.APP_ID,
            "api_key": one_signal.API_KEY,
            "api_version": "externalId",
            **at,
        },
        "push_webhook": {
            "url": simulator.origin + push_webhook.PATH,
            "secret": push_webhook.SECRET,
            "ca_file": simulator.ca_file,
        },
        "pusher_beams": {
            "instance_id": pusher_beams.INSTANCE_ID,
            "secret_key": pusher_beams.SECRET_KEY,
            **at,
        },
        "pushpad": {
            "auth_token": pushpad.AUTH_TOKEN,
            "project_id": pushpad.PROJECT_ID,
            **at,
        },
    }


class Caller:
    """The API of a running server by gRPC."""

    def __init__(self, stub: Any, tocsin: Tocsin) -> None:
        self.stub = stub
        self.tocsin = tocsin

    async def register(self, provider: str, token: str) -> str:
        request = api_pb2.DeviceRegisterRequest(
            provider=provider, token=token, platform="android", topics=["derby"]
        )
        answer = await self.stub.DeviceRegister(request, metadata=WITH_KEY)
        assert not answer.HasField("error"), answer.error
        id: str = answer.result.id
        return id

    async def devices(self) -> set[str]:
        request = api_pb2.DeviceListRequest()
        answer = await self.stub.DeviceList(request, metadata=WITH_KEY)
        return {item.id for item in answer.result.items}

    async def send(self, recipient: Any, *fields: str) -> None:
        bodies: dict[str, Any] = {}
        for name in fields:
            kind = (
                api_pb2.HmsPushNotification
                if name == "hms"
                else api_pb2.RawPushNotification
            )
            bodies[name] = kind(message=json.dumps(MESSAGES[name]).encode())
        request = api_pb2.SendPushNotificationRequest(
            recipient=recipient, notification=api_pb2.PushNotification(**bodies)
        )
        answer = await self.stub.SendPushNotification(request, metadata=WITH_KEY)
        assert not answer.HasField("error"), answer.error
        assert answer.result.uid


@asynccontextmanager
async def calling(
    simulator: Simulator, folder: Path, *, receipt_delay: str = "15m"
) -> AsyncIterator[Caller]:
    async with (
        serving(
            simulator,
            folder,
            grpc_api={"address": "127.0.0.1", "port": 0, "key": "k"},
            push_notifications=providers(simulator, receipt_delay),
        ) as tocsin,
        grpc.aio.insecure_channel(f"127.0.0.1:{tocsin.listening.grpc_port}") as channel,
    ):
        yield Caller(api_pb2_grpc.CentrifugoApiStub(channel), tocsin)


@pytest.fixture
async def simulator(tmp_path: Path) -> AsyncIterator[Simulator]:
    async with running_simulator(tmp_path) as simulator:
        yield simulator


async def test_every_raw_recipient_reaches_its_service(
    simulator: Simulator, tmp_path: Path
) -> None:
    """Tokens, ids, users, targets, a topic and a condition, each once."""
    async with calling(simulator, tmp_path) as caller:
        expected = {}
        for field, body in RAW.items():
            targets: Any = [f"{field}-a", f"{field}-b"]
            if field in ("hms_topic", "hms_condition"):
                targets = f"{field}-a"
            await caller.send(api_pb2.PushRecipient(**{field: targets}), body)
            names = [targets] if isinstance(targets, str) else targets
            expected.update(dict.fromkeys(names, 1))

        async def all_there() -> bool:
            return len(simulator.ledger.delivered) == len(expected)

        await until(all_there)
    assert simulator.ledger.delivered == expected


async def test_one_topic_holds_devices_of_all_services(
    simulator: Simulator, tmp_path: Path
) -> None:
    """Each device gets the body of its own provider."""
    async with calling(simulator, tmp_path) as caller:
        names = [name.replace("_", "-") for name in MESSAGES]
        tokens = {f"{name}-token-{i}" for name in names for i in range(3)}
        for token in tokens:
            await caller.register(token.partition("-token-")[0], token)
        filter = api_pb2.DeviceFilter(topics=["derby"])
        await caller.send(api_pb2.PushRecipient(filter=filter), *MESSAGES)

        async def all_there() -> bool:
            return len(simulator.ledger.delivered) == len(tokens)

        await until(all_there)
    assert simulator.ledger.delivered == dict.fromkeys(tokens, 1)


async def test_a_receipt_removes_a_dead_device_after_a_restart(
    simulator: Simulator, tmp_path: Path
) -> None:
    """Tickets outlive the process that got them; only the dead device goes."""
    simulator.of(Expo).withhold_receipts = True
    async with calling(simulator, tmp_path, receipt_delay="200ms") as caller:
        good = await caller.register("expo", "ExponentPushToken[good-1]")
        dead = await caller.register("expo", "ExponentPushToken[dead-1]")
        filter = api_pb2.DeviceFilter(topics=["derby"])
        await caller.send(api_pb2.PushRecipient(filter=filter), "expo")

        async def asked() -> bool:
            return simulator.ledger.answers["receipts"] >= 1

        await until(asked)
        assert await caller.devices() == {good, dead}
    simulator.of(Expo).withhold_receipts = False
    async with calling(simulator, tmp_path, receipt_delay="200ms") as caller:

        async def gone() -> bool:
            return await caller.devices() == {good}

        await until(gone)

        async def counted() -> bool:
            return "push_receipt_count{" in await caller.tocsin.metrics()

        await until(counted)
        metrics = await caller.tocsin.metrics()
    row = 'centrifugo_push_receipt_count{provider="expo",success='
    assert f'{row}"true",err_code=""}} 1' in metrics
    assert f'{row}"false",err_code="unregistered"}} 1' in metrics
    assert len(simulator.ledger.delivered) == 2


async def test_without_a_database_raw_sends_work_and_receipts_are_left(
    simulator: Simulator, tmp_path: Path, redis_address: str
) -> None:
    """Nothing could be removed by a receipt, so nobody asks for one."""
    sections = {
        "grpc_api": {"address": "127.0.0.1", "port": 0, "key": "k"},
        "worker": {"embedded": True},
        "database": {},
        "push_notifications": {
            **providers(simulator, "50ms"),
            "queue": {"redis": {"address": redis_address}},
        },
    }
    async with (
        serving(simulator, tmp_path, **sections) as tocsin,
        grpc.aio.insecure_channel(f"127.0.0.1:{tocsin.listening.grpc_port}") as channel,
    ):
        caller = Caller(api_pb2_grpc.CentrifugoApiStub(channel), tocsin)
        await caller.send(api_pb2.PushRecipient(expo_tokens=["dead-1"]), "expo")

        async def counted() -> bool:
            text = 'push_notification_count{provider="expo"'
            return text in await tocsin.metrics()

        await until(counted)
        assert simulator.ledger.delivered == {"dead-1": 1}
        assert tocsin.listening.resources.receipts is None
    assert simulator.ledger.answers["receipts"] == 0


async def test_illegal_hms_tokens_lose_their_devices(
    simulator: Simulator, tmp_path: Path
) -> None:
    """One of the request worked, so the illegal one is dead, and it alone."""
    async with calling(simulator, tmp_path) as caller:
        good = await caller.register("hms", "good-1")
        await caller.register("hms", "dead-1")
        filter = api_pb2.DeviceFilter(topics=["derby"])
        await caller.send(api_pb2.PushRecipient(filter=filter), "hms")

        async def gone() -> bool:
            return await caller.devices() == {good}

        await until(gone)


async def test_hms_tokens_stay_when_none_worked(
    simulator: Simulator, tmp_path: Path
) -> None:
    """All of them wrong may mean that the app id is."""
    async with calling(simulator, tmp_path) as caller:
        ids = {await caller.register("hms", f"dead-{i}") for i in range(3)}
        filter = api_pb2.DeviceFilter(topics=["derby"])
        await caller.send(api_pb2.PushRecipient(filter=filter), "hms")

        async def counted() -> bool:
            text = 'err_code="all_tokens_invalid"} 3'
            return text in await caller.tocsin.metrics()

        await until(counted)
        assert await caller.devices() == ids
