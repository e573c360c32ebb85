"""Sends for later, cancelled ones and rendered ones, with processes that die."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.ports import free_port
from tests.support.published_client import PublishedClient
from tests.support.tocsin_processes import (
    COMMAND,
    Process,
    Processes,
    fetch,
    wait_until,
)

from tocsin.simulator.exchange import Reply, Request
from tocsin.simulator.fcm import Fcm
from tocsin.simulator.server import Simulator

pytestmark = pytest.mark.system

MESSAGE = {"fcm": {"message": {"notification": {"title": "Kick-off"}}}}


@dataclass
class Site:
    """One configuration and the processes that use it."""

    processes: Processes
    simulator: Simulator
    client: PublishedClient
    parts: Mapping[str, Any]
    queue: Mapping[str, Any]
    name: str = "site"

    def __post_init__(self) -> None:
        self.http_port, self.grpc_port = free_port(), free_port()
        config = {
            "http_server": {"port": self.http_port},
            "grpc_api": {"port": self.grpc_port, "key": "k"},
            **self.parts,
            "push_notifications": {
                "enabled_providers": ["fcm"],
                "queue": dict(self.queue),
                "fcm": {
                    "credentials_file": str(self.simulator.of(Fcm).account_file),
                    "endpoint": self.simulator.origin,
                    "ca_file": str(self.simulator.ca_file),
                },
            },
        }
        self.path = self.processes.directory / f"{self.name}.json"
        self.path.write_text(json.dumps(config))

    def serve(self) -> Process:
        process = self.processes.start("serve", "--config", str(self.path))
        return process.wait_ready(self.http_port)

    def worker(self) -> Process:
        process = self.processes.start("worker", "--config", str(self.path))
        return process.wait_event("worker started")

    def call(self, method: str, **request: Any) -> dict[str, Any]:
        address = f"127.0.0.1:{self.grpc_port}"
        answer = self.client.call(address, method, request, key="k")
        assert answer["ok"], answer
        response: dict[str, Any] = answer["response"]
        return response

    def send(self, *tokens: str, **more: Any) -> str:
        request = {
            "recipient": {"fcm_tokens": list(tokens)},
            "notification": MESSAGE,
            **more,
        }
        response = self.call("SendPushNotification", **request)
        assert not response.get("error"), response
        uid: str = response["result"]["uid"]
        return uid


def delivered(simulator: Simulator) -> dict[str, int]:
    return dict(simulator.ledger.delivered)


@pytest.mark.timeout(180)
def test_a_scheduled_send_outlives_its_processes(
    processes: Processes,
    simulator: Simulator,
    published_client: PublishedClient,
    redis_address: str,
) -> None:
    """Without a database: server and worker die before the moment; one is sent once.

    What was cancelled before the crash stays cancelled, also for its repeat.
    """
    redis = {"type": "redis", "redis": {"address": redis_address}}
    site = Site(processes, simulator, published_client, {}, redis)
    server, worker = site.serve(), site.worker()
    send_at = int(time.time()) + 5
    site.send("kept", uid="kept", send_at=send_at)
    unnamed = site.send("unnamed", send_at=send_at)
    site.send("cancelled", uid="cancelled", send_at=send_at)
    for uid in ("cancelled", unnamed, "unknown", "cancelled"):
        assert not site.call("CancelPush", uid=uid).get("error")
    metrics = fetch(f"http://127.0.0.1:{site.http_port}/metrics")[1]
    assert (
        'centrifugo_push_scheduled_request_count{recipient_type="tokens"} 3' in metrics
    )
    assert 'err_code="cancelled"} 2' in metrics
    for process in (server, worker):
        process.kill()
    assert delivered(simulator) == {}
    site.serve()
    site.worker()
    site.send("kept", uid="kept", send_at=send_at)
    site.send("cancelled", uid="cancelled", send_at=send_at)
    wait_until(lambda: "kept" in delivered(simulator), what="the push that was kept")
    assert time.time() >= send_at
    site.send("last")
    wait_until(lambda: "last" in delivered(simulator))
    assert delivered(simulator) == {"kept": 1, "last": 1}
    assert not site.call("CancelPush", uid="kept").get("error")
    refused = site.call("CancelPush", uid="")["error"]
    assert refused["message"] == "bad request: uid: must not be empty"


@pytest.mark.timeout(180)
def test_the_queue_moves_to_another_engine(
    processes: Processes,
    simulator: Simulator,
    published_client: PublishedClient,
    redis_address: str,
    tmp_path: Path,
) -> None:
    """From SQLite to Redis with the documented steps: nothing lost, nothing twice."""
    database = {"database": {"sqlite": {"path": str(tmp_path / "t.db")}}}
    old = Site(
        processes, simulator, published_client, database, {"type": "database"}, "old"
    )
    redis = {"type": "redis", "redis": {"address": redis_address}}
    new = Site(processes, simulator, published_client, database, redis, "new")
    server = old.serve()
    now_s = int(time.time())
    old.send("later", uid="later", send_at=now_s + 6)
    old.send("never", uid="never", send_at=now_s + 3600)
    old.send("internal-1")  # is tried again after ten seconds
    old.send("badpayload-1")  # goes to the dead letters
    answers = simulator.ledger.answers
    wait_until(lambda: answers["internal"] and answers["badpayload"])
    assert server.terminate() == 0

    drain = ("queue", "drain", "--config", str(old.path), "--to", str(new.path))
    done = _run(processes, *drain)
    assert re.fullmatch(r"moved 3 jobs \(\d of them .*\) and 1 dead letters", done)
    assert _run(processes, *drain) == (
        "moved 0 jobs (0 of them due later) and 0 dead letters"
    )
    assert "1 dead letters" in _run(
        processes, "queue", "dead", "--config", str(new.path)
    )

    new.serve()
    new.worker()
    assert not new.call("CancelPush", uid="never").get("error")
    wait_until(lambda: "later" in delivered(simulator))
    wait_until(lambda: answers["internal"] > 1, what="the retry on the new queue")
    assert delivered(simulator) == {"later": 1}


@pytest.mark.timeout(120)
def test_rendered_pushes_reach_each_device_in_its_words(
    processes: Processes,
    simulator: Simulator,
    published_client: PublishedClient,
    tmp_path: Path,
) -> None:
    """Meta, user and locale of each device, escaped; limits hold beside them."""
    bodies: list[dict[str, Any]] = []
    answer = simulator.answer

    def record(request: Request) -> Reply:
        if request.path.endswith("messages:send"):
            bodies.append(json.loads(request.body)["message"])
        return answer(request)

    simulator.answer = record  # type: ignore[method-assign] # sees what arrives
    database = {"database": {"sqlite": {"path": str(tmp_path / "t.db")}}}
    site = Site(processes, simulator, published_client, database, {"type": "database"})
    site.serve()
    devices: list[dict[str, Any]] = [
        {"token": "a", "user": "ann", "locale": "pt-BR", "meta": {"n": 'A"\\ü'}},
        {"token": "b", "user": "bob", "locale": "de", "timezone": "Europe/Berlin"},
        {"token": "c", "user": "ann", "locale": "en"},
    ]
    for device in devices:
        site.call("DeviceRegister", provider="fcm", platform="ios", **device)
    text = "{{default [[Hi]] .l10n.hi}} {{.device.user}} {{.device.meta.n}}"
    request: dict[str, Any] = {
        "recipient": {"filter": {"users": ["ann", "bob"]}},
        "notification": {"fcm": {"message": {"notification": {"body": text}}}},
        "localizations": {"pt": {"translations": {"hi": "Oi"}}},
        "use_meta": True,
        "limit_strategy": {
            "rate_limit": {
                "key": "device.user",
                "policies": [{"rate": 1, "interval_ms": 3_600_000}],
                "drop_if_rate_limited": True,
            },
            "time_limit": {
                "send_after_time": "00:00:00",
                "send_before_time": "23:59:59",
                "no_tz_send_now": True,
            },
        },
    }
    assert not site.call("SendPushNotification", **request).get("error")
    url = f"http://127.0.0.1:{site.http_port}/metrics"
    wait_until(lambda: 'err_code="rate_limited"} 1' in fetch(url)[1])
    wait_until(lambda: len(bodies) == 2)
    found = {body["token"]: body["notification"]["body"] for body in bodies}
    assert found == {"a": 'Oi ann A"\\ü', "b": "Hi bob "}

    request["notification"]["fcm"]["message"] = {"data": {"x": "{{.device.nick}}"}}
    refused = site.call("SendPushNotification", **request)["error"]
    assert refused["message"].startswith(
        "bad request: notification.fcm.message: template at data.x, column 3: unknown"
    )


@pytest.mark.timeout(120)
def test_a_dry_run_contacts_nobody(
    processes: Processes,
    simulator: Simulator,
    published_client: PublishedClient,
    tmp_path: Path,
) -> None:
    """Everything happens but the request; results count as successes."""
    database = {"database": {"sqlite": {"path": str(tmp_path / "t.db")}}}
    site = Site(processes, simulator, published_client, database, {"type": "database"})
    config = json.loads(site.path.read_text())
    push = config["push_notifications"]
    push |= {"dry_run": True, "dry_run_latency": "20ms"}
    del push["fcm"]  # nobody is contacted, so nothing has to lie there
    site.path.write_text(json.dumps(config))
    server = site.serve()
    site.send("a", "b", "c")
    line = (
        'centrifugo_push_notification_count{provider="fcm",recipient_type="tokens",'
        'platform="",success="true",err_code=""} 3'
    )
    url = f"http://127.0.0.1:{site.http_port}/metrics"
    wait_until(lambda: line in fetch(url)[1], what=line)
    assert "dry run: nothing was sent" in server.text()
    assert simulator.ledger.stats()["requests"] == 0


def _run(processes: Processes, *arguments: str) -> str:
    """The last line that a command of its own prints."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        cwd=processes.directory,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if not line.startswith("{")]
    return lines[-1]
