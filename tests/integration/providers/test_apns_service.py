"""APNs behind the whole service: what is accepted, sent, and done to devices."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from tests.support.apns_devices import build_apns, token_of
from tests.support.http2_client import eventually
from tests.support.jobs import make_send_job
from tests.support.sends import FreePace, batch_of
from tests.support.simulated_fcm import running_simulator

from tocsin.app.lifecycle import Stopper
from tocsin.app.server import start_server
from tocsin.config import load_config
from tocsin.core.clock import SystemClock
from tocsin.core.device import DeviceFilter, PageRequest, Registration
from tocsin.core.outcome import Outcome
from tocsin.core.ports.queue import Delivery
from tocsin.core.push import (
    Body,
    Payload,
    Recipients,
    Send,
    TargetKind,
)
from tocsin.delivery.retries import RetryPolicy
from tocsin.delivery.run import Run
from tocsin.delivery.settlement import Settlement
from tocsin.protocol import api_pb2, api_pb2_grpc
from tocsin.simulator.apns_keys import BUNDLE_ID, KEY_ID, TEAM_ID
from tocsin.simulator.apns_listener import ApnsListener
from tocsin.simulator.server import Simulator
from tocsin.storage.devices import SqlDeviceStore
from tocsin.storage.engine import Database
from tocsin.telemetry.metrics import Metrics

ALERT = b'{"aps":{"alert":"x"}}'


@dataclass
class Service:
    """A running server with its worker, and who speaks to it."""

    api: Any
    simulator: Simulator

    async def send(self, **fields: Any) -> Any:
        apns = api_pb2.ApnsPushNotification(
            payload=fields.pop("payload", ALERT), headers=fields.pop("headers", {})
        )
        return await self.api.SendPushNotification(
            api_pb2.SendPushNotificationRequest(
                recipient=api_pb2.PushRecipient(**fields),
                notification=api_pb2.PushNotification(apns=apns, expire_at=2**31),
            )
        )


@asynccontextmanager
async def serving(directory: Path) -> AsyncIterator[Service]:
    async with AsyncExitStack() as stack:
        simulator = await stack.enter_async_context(running_simulator(directory))
        path = directory / "tocsin.json"
        path.write_text(json.dumps(_settings(directory, simulator)))
        config = load_config(str(path), environ={}).config
        listening = await start_server(config, stack, Stopper())
        channel = await stack.enter_async_context(
            grpc.aio.insecure_channel(f"127.0.0.1:{listening.grpc_port}")
        )
        yield Service(api_pb2_grpc.CentrifugoApiStub(channel), simulator)


def _settings(directory: Path, simulator: Simulator) -> dict[str, object]:
    return {
        "http_server": {"address": "127.0.0.1", "port": 0},
        "grpc_api": {"address": "127.0.0.1", "port": 0, "insecure": True},
        "database": {"sqlite": {"path": str(directory / "tocsin.db")}},
        "push_notifications": {
            "enabled_providers": ["apns"],
            "apns": {
                "endpoint": simulator.of(ApnsListener).origin,
                "bundle_id": BUNDLE_ID,
                "token_key_file": simulator.of(ApnsListener).key_file,
                "token_key_id": KEY_ID,
                "token_team_id": TEAM_ID,
                "ca_file": simulator.ca_file,
            },
        },
    }


async def test_from_the_call_to_the_phone(tmp_path: Path) -> None:
    """Raw tokens and devices alike get payload and headers as they were given."""
    async with serving(tmp_path) as service:
        await service.api.DeviceRegister(
            api_pb2.DeviceRegisterRequest(
                provider="apns", token=token_of("device"), platform="ios", user="u"
            )
        )
        headers = {"Apns-Collapse-Id": "c", "apns-priority": "5"}
        tokens = [token_of("raw-1"), token_of("raw-2")]
        answers = [
            await service.send(apns_tokens=tokens, headers=headers),
            await service.send(
                filter=api_pb2.DeviceFilter(users=["u"]), headers=headers
            ),
        ]
        assert [answer.error.code for answer in answers] == [0, 0]
        delivered = service.simulator.ledger.delivered
        await eventually(lambda: delivered == {"raw-1": 1, "raw-2": 1, "device": 1})
        for request in service.simulator.of(ApnsListener).apns.requests:
            assert request.body == ALERT
            assert request.headers["apns-collapse-id"] == "c"
            assert request.headers["apns-priority"] == "5"
            assert request.headers["apns-expiration"] == str(2**31)


async def test_a_wrong_header_is_refused_at_the_call(tmp_path: Path) -> None:
    """107 with the path of the header; nothing is queued."""
    async with serving(tmp_path) as service:
        for name, value in (("x-custom", "1"), ("apns-priority", "11")):
            answer = await service.send(
                apns_tokens=[token_of("a")], headers={name: value}
            )
            assert answer.error.code == 107
            field = f'notification.apns.headers["{name}"]'
            assert answer.error.message.startswith(f"bad request: {field}: ")
        await asyncio.sleep(0)
        assert not service.simulator.of(ApnsListener).apns.requests


async def test_a_410_counts_only_against_older_registrations(
    migrated_database: Database, tmp_path: Path
) -> None:
    """A token that died before the device registered again is alive."""
    store = SqlDeviceStore(migrated_database, clock=SystemClock(), topics_per_device=10)
    names = ["unregistered3600-a", "unregistered-b", "expiredtoken-c", "alive"]
    ids = [
        await store.register(Registration("apns", token_of(name), "ios"))
        for name in names
    ]
    # The registry and the simulator must not share a millisecond.
    await asyncio.sleep(0.005)
    async with running_simulator(tmp_path) as simulator:
        await _send_and_settle(simulator, store, names, ids)
    left = await store.fetch_page(DeviceFilter(), PageRequest())
    assert [device.id for device in left.items] == [ids[0], ids[3]]


async def _send_and_settle(
    simulator: Simulator,
    store: SqlDeviceStore,
    names: Sequence[str],
    ids: Sequence[str],
) -> None:
    """One batch to these devices, and what follows from its results."""
    targets = tuple(map(token_of, names))
    work = Send(
        TargetKind.TOKEN, Recipients(targets, tuple(ids), ("ios",) * len(targets))
    )
    job = make_send_job(work=work, provider="apns", accepted_at_ms=1)
    clock = SystemClock()
    payload = Payload("p", "u", "", {"apns": Body(ALERT)})
    run = Run(Delivery(job, "r", 1, b""), job, payload, clock.now_ms())

    def report(index: int, outcome: Outcome) -> None:
        run.results.append((index, outcome, clock.now_ms()))

    provider = build_apns(simulator)
    await provider.send(batch_of(targets, message=ALERT), report, FreePace())
    await provider.close()
    settlement = Settlement(
        devices=store,
        retry=RetryPolicy(first_delay_s=1.0),
        clock=clock,
        metrics=Metrics(),
    )
    await settlement.take_in([run])
