"""Results while processes are killed: each recipient has one, in one order."""

from __future__ import annotations

import json
import time
import urllib.request
from collections import Counter
from typing import Any

import pytest
from tests.support.deployment import Deployment, fill, reached, send, wait_reached
from tests.support.published_client import PublishedClient
from tests.support.redis_server import RedisServer
from tests.support.tocsin_processes import Processes, wait_until

from tocsin.simulator.server import Simulator

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

DEVICES = 3000
KILLS = 3
PER_CRASH = 300
"""Requests in flight, and results that were not recorded."""


@pytest.fixture
def clustered(
    processes: Processes,
    simulator: Simulator,
    postgres_dsn: str,
    redis_server: RedisServer,
    redis_address: str,
) -> Deployment:
    """PostgreSQL and Redis: workers are processes of their own."""
    simulator.faults.latency_ms = 60
    parts = {
        "database": {"postgresql": {"dsn": postgres_dsn}},
        "admin": {"key": "operators"},
        "shutdown": {"timeout": "10s"},
    }
    push = {
        "retry": {"takeover": "3s", "first_delay": "300ms", "max_delay": "2s"},
        "results": {"detail": "recipient"},
    }
    queue = {"type": "redis", "redis": {"address": redis_address}}
    return Deployment(processes, simulator, parts, queue, push)


class Follower:
    """Reads results page by page, and goes on where it was."""

    def __init__(self, at: Deployment) -> None:
        self.url = f"http://127.0.0.1:{at.http_port}/admin/api/list_results"
        self.position = 0
        self.events: list[dict[str, Any]] = []

    def read(self) -> bool:
        """Take in a page; `False` if there was nothing, or nobody to ask."""
        asked = json.dumps({"position": self.position, "limit": 1000}).encode()
        headers = {"X-API-Key": "operators"}
        request = urllib.request.Request(self.url, asked, headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                result = json.load(answer)["result"]
        except OSError:
            return False
        self.events += result["results"]
        self.position = int(result["position"])
        return bool(result["results"])

    def has_ended(self) -> bool:
        """Whether the send is told to be over."""
        while self.read():
            pass
        return any(each["detail"] == "send" for each in self.events)


def test_every_recipient_has_a_result_whoever_is_killed(
    clustered: Deployment, published_client: PublishedClient, simulator: Simulator
) -> None:
    """Workers in mid-send, and a server under its readers; few come twice."""
    server = clustered.serve()
    follower = Follower(clustered)
    fill(clustered, DEVICES)
    workers = [clustered.worker(), clustered.worker()]
    uid = send(published_client, clustered)
    for number in range(KILLS):
        wait_reached(simulator, DEVICES // 5 * (number + 1))
        follower.read()
        workers[number % 2].kill()
        workers[number % 2] = clustered.worker()
    server.kill()
    time.sleep(0.1)
    follower.read()
    clustered.serve()
    wait_until(follower.has_ended, deadline_s=90, what="the end of the send")
    assert reached(simulator) == DEVICES
    positions = [int(each["position"]) for each in follower.events]
    assert positions == list(range(1, len(positions) + 1))
    ends = [each for each in follower.events if each["detail"] == "recipient"]
    devices = Counter(each["device_id"] for each in ends)
    assert len(devices) == DEVICES
    assert {each["outcome"] for each in ends} == {"delivered"}
    assert len(ends) - DEVICES <= KILLS * PER_CRASH
    assert {each["uid"] for each in follower.events} == {uid}
    (whole,) = (each for each in follower.events if each["detail"] == "send")
    counts = {name: int(count) for name, count in whole["counts"].items()}
    assert counts == {"delivered": DEVICES, "matched": DEVICES}
