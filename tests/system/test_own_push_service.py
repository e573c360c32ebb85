"""A push service that stands in one declaration works in every room."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from tests.support.ports import free_port
from tests.support.tocsin_processes import Process, Processes, wait_until

from tocsin.protocol import api_pb2, api_pb2_grpc

pytestmark = pytest.mark.system
PROGRAM = "tests.support.pigeon_service"
NOTE = b'{"note":"come home"}'


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    with Processes(tmp_path) as processes:
        yield processes


def simulated(processes: Processes) -> tuple[dict[str, str], dict[str, Any]]:
    """What `simulate` prints: facts by name, and the section of a configuration."""
    folder = str(processes.directory / "simulator")
    arguments = ("--dir", folder, "--port", "0", "--apns-port", "0")
    running = processes.start("simulate", *arguments, program=PROGRAM)
    wait_until(lambda: running.text().endswith("}\n"), what="simulate")
    facts, _, section = running.text().partition("\nThe keys that lead here")
    said = dict(line.rsplit(None, 1) for line in facts.splitlines() if line)
    return said, json.loads(section[section.index("{") :])["push_notifications"]


def delivered(said: dict[str, str]) -> dict[str, int]:
    trust = ssl.create_default_context(cafile=said["ca file"])
    url = said["origin"] + "/control/delivered"
    answer = httpx.get(url, verify=trust, trust_env=False)
    return dict(answer.json()["delivered"])


def serving(processes: Processes, push: dict[str, Any], grpc_port: int) -> Process:
    port = free_port()
    config = {
        "http_server": {"address": "127.0.0.1", "port": port},
        "grpc_api": {"address": "127.0.0.1", "port": grpc_port, "key": "k"},
        "database": {"sqlite": {"path": "t.db"}},
        "push_notifications": push,
    }
    (processes.directory / "c.json").write_text(json.dumps(config))
    served = processes.start("serve", "--config", "c.json", program=PROGRAM)
    return served.wait_ready(port)


def test_a_declared_service_is_registered_sent_to_and_imitated(
    processes: Processes,
) -> None:
    """Token check, settings, queue, worker, adapter and imitation are all its own."""
    said, push = simulated(processes)
    assert said["seal of pigeons"] == "wax"
    assert push["carrier_pigeon"]["seal"] == "wax"
    assert "push_webhook" not in push
    grpc_port = free_port()
    serving(processes, push, grpc_port)
    with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
        api = api_pb2_grpc.CentrifugoApiStub(channel)
        key = (("authorization", "apikey k"),)

        def register(token: str) -> api_pb2.DeviceRegisterResponse:
            device = api_pb2.DeviceRegisterRequest(
                provider="carrier-pigeon",
                token=token,
                platform="web",
                topics=["home"],
            )
            answer: api_pb2.DeviceRegisterResponse = api.DeviceRegister(
                device, metadata=key
            )
            return answer

        ids = {register(ring).result.id for ring in ("nl-0001 ", "NL-0001")}
        assert len(ids) == 1, "two spellings are one device"
        assert ids.pop()[15] == "g"
        dead = register("XX-0002").result.id
        refused = register("sparrow").error.message
        assert "token: is no number of a ring, such as NL-1234" in refused
        phone = api_pb2.DeviceRegisterRequest(
            provider="apns", token="NL-0001", platform="ios"
        )
        other = api.DeviceRegister(phone, metadata=key).error.message
        assert (
            "a token of Pigeon Post: register it with provider carrier-pigeon" in other
        )
        body = api_pb2.PushNotification()
        body.push_webhook.message = NOTE
        for recipient in (
            api_pb2.PushRecipient(topics=["home"]),
            api_pb2.PushRecipient(push_webhook_targets=["be-0003"]),
        ):
            request = api_pb2.SendPushNotificationRequest(
                recipient=recipient, notification=body
            )
            answer = api.SendPushNotification(request, metadata=key)
            assert not answer.error.message
        expected = {f"{ring} {NOTE.decode()}": 1 for ring in ("NL-0001", "BE-0003")}
        wait_until(lambda: delivered(said) == expected, what="both notes")

        def left() -> list[str]:
            request = api_pb2.DeviceListRequest()
            items = api.DeviceList(request, metadata=key).result.items
            return [device.id for device in items]

        wait_until(lambda: dead not in left(), what="the lost ring is removed")
        assert len(left()) == 1


def test_its_section_is_held_to_the_same_rules(processes: Processes) -> None:
    """What is missing, unknown or nearly right is told as for any other."""
    section = {"enabled_providers": ["carrier-pigeon"], "carrier_pigeon": {"sel": "x"}}
    (processes.directory / "c.json").write_text(
        json.dumps(
            {"database": {"sqlite": {"path": "t.db"}}, "push_notifications": section}
        )
    )
    check = processes.start("check-config", "--config", "c.json", program=PROGRAM)
    assert check.child.wait(60) != 0
    path = "push_notifications.carrier_pigeon"
    assert f"{path}.seal: must be set, since carrier-pigeon is enabled" in check.text()
    assert f"{path}.sel" in check.text()
    assert f"{path}.seal?" in check.text()
