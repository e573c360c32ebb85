"""Who waits for whom: a single send beside a broadcast, a credential beside a slow one.

The bounds are generous, since other tests may run on the same machine; what was
measured is printed.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Self

import httpx
import pytest
from tests.support.deployment import TOPIC, Deployment, fill, reached
from tests.support.simulated_fcm import control
from tests.support.tocsin_processes import Processes, wait_until

from tocsin.simulator.exchange import Reply, Request
from tocsin.simulator.fcm import Fcm
from tocsin.simulator.server import Simulator

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

MESSAGE = {"fcm": {"message": {"notification": {"title": "Kick-off"}}}}
BROADCAST = 20_000
BEFORE_S = 1.0
"""A single send has to arrive within this time. Behind a broadcast, or behind a
credential whose provider is silent, it would take many seconds."""


class Arrivals:
    """When the push to a token came to the simulator."""

    def __init__(self, simulator: Simulator) -> None:
        self.at: dict[str, float] = {}
        self._answer: Callable[[Request], Reply] = simulator.answer
        simulator.answer = self._note  # type: ignore[method-assign] # watched, not changed

    def has(self, token: str) -> bool:
        return token in self.at

    def _note(self, request: Request) -> Reply:
        if request.path.endswith("messages:send"):
            token = json.loads(request.body)["message"].get("token", "")
            self.at.setdefault(token, time.perf_counter())
        return self._answer(request)


class Caller:
    """Sends over HTTP, as a back end does."""

    def __init__(self, at: Deployment) -> None:
        # One connection: to make a client takes longer than what is measured.
        self._client = httpx.Client(
            base_url=f"http://127.0.0.1:{at.http_port}/api/",
            headers={"X-API-Key": "k"},
            timeout=30,
            trust_env=False,
            verify=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def send(self, recipient: dict[str, Any], **more: Any) -> None:
        body = {"recipient": recipient, "notification": MESSAGE, **more}
        answer = self._client.post("send_push_notification", json=body)
        assert "error" not in answer.json(), answer.text

    def time_singles(
        self, arrivals: Arrivals, prefix: str, count: int, **more: Any
    ) -> list[float]:
        """Seconds from each call to its arrival, one send after the other."""
        took = []
        for number in range(count):
            token, started = f"{prefix}-{number}", time.perf_counter()
            self.send({"fcm_tokens": [token]}, **more)
            wait_until(partial(arrivals.has, token), deadline_s=60)
            took.append(arrivals.at[token] - started)
            time.sleep(0.05)
        return took


def deploy(
    place: str,
    processes: Processes,
    simulator: Simulator,
    request: pytest.FixtureRequest,
    **push: Any,
) -> Deployment:
    parts: dict[str, Any]
    queue: dict[str, Any]
    if place == "sqlite":
        path = str(processes.directory / "tocsin.db")
        parts, queue = {"database": {"sqlite": {"path": path}}}, {"type": "database"}
    else:
        dsn = request.getfixturevalue("postgres_dsn")
        parts = {"database": {"postgresql": {"dsn": dsn}}}
        address = request.getfixturevalue("redis_address")
        queue = {"redis": {"address": address}} if place == "redis" else {}
    at = Deployment(processes, simulator, parts, queue, push)
    at.serve()
    if place != "sqlite":
        at.worker()
    return at


def told(what: str, took: list[float]) -> None:
    worst, middle = max(took) * 1000, statistics.median(took) * 1000
    print(f"\n{what}: median {middle:.0f} ms, at most {worst:.0f} ms")


@pytest.mark.parametrize("place", ["redis", "postgresql", "sqlite"])
async def test_a_single_send_does_not_wait_for_a_broadcast(
    place: str,
    processes: Processes,
    simulator: Simulator,
    request: pytest.FixtureRequest,
) -> None:
    """Neither to one token nor to one user, while thousands are still to be reached."""
    arrivals = Arrivals(simulator)
    at = deploy(place, processes, simulator, request)
    fill(at, BROADCAST)
    # Slow enough that this process, which imitates it, is not what is measured.
    await control(simulator, latency_ms=400)
    with Caller(at) as caller:
        usual = caller.time_singles(arrivals, "usual", 10)
        caller.send({"topics": [TOPIC]})
        wait_until(lambda: reached(simulator) > 500, what="a broadcast under way")
        took = caller.time_singles(arrivals, "single", 15)
    assert reached(simulator) < BROADCAST, "the broadcast ended too early to tell"
    told(f"single send alone ({place})", usual)
    told(f"single send behind a broadcast ({place})", took)
    assert statistics.median(took) < BEFORE_S, took


@pytest.mark.parametrize("fault", ["silent", "slow30000", "projectquota"])
async def test_a_credential_that_is_slow_or_paused_delays_no_other(
    fault: str,
    processes: Processes,
    simulator: Simulator,
    request: pytest.FixtureRequest,
) -> None:
    """However many sends wait for it, single ones and lists, in every lane."""
    arrivals = Arrivals(simulator)
    section = {
        "credentials_file": str(simulator.of(Fcm).account_file),
        "endpoint": simulator.origin,
        "ca_file": str(simulator.ca_file),
    }
    items = [{"identifier": name, "provider": "fcm", **section} for name in ("a", "b")]
    at = deploy("redis", processes, simulator, request, integrations=items)
    with Caller(at) as caller:
        usual = caller.time_singles(arrivals, "usual", 5, integration="b")
        told("a credential alone", usual)
        for number in range(300):
            caller.send({"fcm_tokens": [f"{fault}-{number}"]}, integration="a")
        for number in range(8):
            tokens = [f"{fault}-{number}-{one}" for one in range(1000)]
            caller.send({"fcm_tokens": tokens}, integration="a")
        took = caller.time_singles(arrivals, "other", 20, integration="b")
        told(f"a credential beside one that is {fault}", took)
        assert statistics.median(took) < BEFORE_S, took
        assert max(took) < 3 * BEFORE_S, took
        took = caller.time_singles(
            arrivals, "list", 5, integration="b", priority="normal"
        )
        told(f"the same in the normal lane, {fault}", took)
        assert max(took) < 3 * BEFORE_S, took
