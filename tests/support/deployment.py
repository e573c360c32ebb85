"""A configuration with its processes, and how a send through them is watched."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.fill import fill_postgres, fill_sqlite
from tests.support.ports import free_port
from tests.support.published_client import PublishedClient
from tests.support.tocsin_processes import Process, Processes, wait_until

from tocsin.simulator.fcm import Fcm
from tocsin.simulator.server import Simulator

TOPIC = "derby"


class Deployment:
    """A configuration, the ports in it, and the processes that use it."""

    def __init__(
        self,
        processes: Processes,
        simulator: Simulator,
        parts: Mapping[str, Any],
        queue: Mapping[str, Any],
        push: Mapping[str, Any] | None = None,
    ) -> None:
        """`parts` are sections beside, `push` keys of `push_notifications`."""
        self.processes = processes
        self.simulator = simulator
        self.http_port, self.grpc_port = free_port(), free_port()
        self.address = f"127.0.0.1:{self.grpc_port}"
        self.config: dict[str, Any] = {
            "http_server": {"port": self.http_port},
            "http_api": {"key": "k"},
            "grpc_api": {"port": self.grpc_port, "key": "k"},
            **parts,
            "push_notifications": {
                "enabled_providers": ["fcm"],
                "queue": dict(queue),
                "fcm": {
                    "credentials_file": str(simulator.of(Fcm).account_file),
                    "endpoint": simulator.origin,
                    "ca_file": str(simulator.ca_file),
                },
                **(push or {}),
            },
        }
        self.path = processes.directory / "c.json"
        self.path.write_text(json.dumps(self.config))

    def change(self, *section: str, **keys: Any) -> None:
        """Set keys of a section, for the processes that start from now on."""
        found = self.config
        for name in section:
            found = found.setdefault(name, {})
        found.update(keys)
        self.path.write_text(json.dumps(self.config))

    def serve(self) -> Process:
        process = self.processes.start("serve", "--config", str(self.path))
        return process.wait_ready(self.http_port)

    def serve_beside(self) -> tuple[Process, str]:
        """One more server on ports of its own, with its gRPC address."""
        http_port, grpc_port = free_port(), free_port()
        ports = ["--http_server.port", str(http_port)]
        ports += ["--grpc_api.port", str(grpc_port)]
        process = self.processes.start("serve", "--config", str(self.path), *ports)
        return process.wait_ready(http_port), f"127.0.0.1:{grpc_port}"

    def worker(self, *, clock_off_s: float = 0.0) -> Process:
        process = self.processes.start(
            "worker", "--config", str(self.path), clock_off_s=clock_off_s
        )
        return process.wait_event("worker started")


def register(client: PublishedClient, at: Deployment, count: int) -> None:
    requests = [
        {
            "provider": "fcm",
            "token": f"token-{number:05d}-{'x' * 120}",
            "platform": "android",
            "user": f"u{number}",
            "topics": [TOPIC],
        }
        for number in range(count)
    ]
    answers = client.call_many(
        at.address, "DeviceRegister", requests, key="k", timeout_s=60
    )
    wrong = [a for a in answers if not a["ok"] or a["response"].get("error")]
    assert wrong == [], wrong[:3]


def fill(at: Deployment, count: int) -> None:
    """Devices as `register` would leave them, without their calls."""
    tokens = [f"token-{number:05d}-{'x' * 120}" for number in range(count)]
    database = at.config["database"]
    if "postgresql" in database:
        fill_postgres(database["postgresql"]["dsn"], tokens, TOPIC)
    else:
        fill_sqlite(Path(database["sqlite"]["path"]), tokens, TOPIC)


def send(client: PublishedClient, at: Deployment, **more: Any) -> str:
    request = {
        "recipient": {"filter": {"topics": [TOPIC]}},
        "notification": {"fcm": {"message": {"notification": {"title": "Kick-off"}}}},
        **more,
    }
    answer = client.call(at.address, "SendPushNotification", request, key="k")
    assert answer["ok"], answer
    uid: str = answer["response"]["result"]["uid"]
    return uid


def reached(simulator: Simulator) -> int:
    return len(simulator.ledger.delivered)


def duplicates(simulator: Simulator) -> int:
    return sum(1 for count in simulator.ledger.delivered.values() if count > 1)


def wait_reached(simulator: Simulator, count: int, *, deadline_s: float = 60) -> None:
    wait_until(
        lambda: reached(simulator) >= count,
        deadline_s=deadline_s,
        what=f"{count} devices reached",
    )
