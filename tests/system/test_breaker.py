"""A credential that its provider refuses, between healthy sends, with two workers.

Nothing is removed, no attempt is used up, and all of it is sent once it works again.
"""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.deployment import Deployment, fill, send, wait_reached
from tests.support.published_client import PublishedClient
from tests.support.tocsin_processes import Process, Processes, wait_until
from tests.support.verbs import run_verb

from tocsin.simulator.server import Simulator

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

DEVICES = 600
IN_FLIGHT = 200  # two connections of a hundred streams
PAUSED = "provider credential paused; its pushes wait in the queue"
WORKS = "provider credential works again; what waited for it is sent"


@pytest.fixture
def deployed(
    request: pytest.FixtureRequest, processes: Processes, simulator: Simulator
) -> Deployment:
    """With a database that workers share, or with a Redis alone."""
    simulator.faults.latency_ms = 20
    redis = {"address": request.getfixturevalue("redis_address")}
    parts: dict[str, Any] = {}
    if request.param == "database":
        dsn = request.getfixturevalue("postgres_dsn")
        parts["database"] = {"postgresql": {"dsn": dsn}}
    queue = {"type": "redis", "redis": redis}
    return Deployment(processes, simulator, parts, queue)


def send_to_all(client: PublishedClient, at: Deployment) -> None:
    if "database" in at.config:
        send(client, at)
        return
    for start in range(0, DEVICES, 100):
        tokens = [f"token-{n:05d}-{'x' * 120}" for n in range(start, start + 100)]
        send(client, at, recipient={"fcm_tokens": tokens})


def lines(workers: list[Process], event: str) -> list[dict[str, Any]]:
    return [
        line for each in workers for line in each.events() if line["event"] == event
    ]


def all_got(simulator: Simulator, times: int) -> bool:
    counts = list(simulator.ledger.delivered.values())
    return len(counts) == DEVICES and min(counts) >= times


@pytest.mark.parametrize(
    ("deployed", "fault"),
    [("database", "lost"), ("redis-alone", "mismatch")],
    indirect=["deployed"],
)
def test_a_wrong_project_between_healthy_sends(
    published_client: PublishedClient,
    deployed: Deployment,
    simulator: Simulator,
    fault: str,
) -> None:
    """A bare 404 stops both workers at once, mismatches after some; both end well."""
    folder = deployed.path.parent
    deployed.serve()
    workers = [deployed.worker(), deployed.worker()]
    if "database" in deployed.config:
        fill(deployed, DEVICES)
    send_to_all(published_client, deployed)
    wait_reached(simulator, DEVICES)

    simulator.faults.change({"send": {"fault": fault}})
    send_to_all(published_client, deployed)
    wait_until(lambda: lines(workers, PAUSED), what="the credential is paused")
    wait_until(lambda: _listed(deployed) != "closed", what="the verb shows it")
    asked = simulator.ledger.answers[fault]
    # A bare 404 proves it by one answer: no more than what was in flight.
    if fault == "lost":
        assert asked <= 2 * IN_FLIGHT
    assert asked < DEVICES
    send_to_all(published_client, deployed)
    [line] = lines(workers, PAUSED)
    assert line["log_level" if "log_level" in line else "level"] == "error"
    assert lines(workers, "recipients ended in the dead letters") == []

    simulator.faults.change({"send": None})
    tried = run_verb(folder, "credentials", "probe", "fcm", "--config", "c.json")
    # 1 where a worker's own probe has found it out before.
    assert tried.returncode in (0, 1), tried.stderr
    wait_until(lambda: all_got(simulator, 3), deadline_s=90, what="all got all three")
    assert sum(simulator.ledger.delivered.values()) == 3 * DEVICES
    assert len(lines(workers, WORKS)) == 1
    if "database" in deployed.config:
        gone = run_verb(folder, "devices", "removed", "--config", "c.json")
        assert gone.stdout.split()[0] == "0", gone.stdout
    dead = run_verb(folder, "queue", "dead", "--config", "c.json")
    assert dead.stdout == "0 dead letters\n"


@pytest.mark.parametrize("deployed", ["database"], indirect=True)
def test_a_refused_body_between_healthy_sends(
    published_client: PublishedClient, deployed: Deployment, simulator: Simulator
) -> None:
    """A few are asked, the rest waits to be mended; another send is not held up."""
    folder = deployed.path.parent
    deployed.serve()
    workers = [deployed.worker(), deployed.worker()]
    fill(deployed, DEVICES)
    simulator.faults.change({"send": {"fault": "toobig"}})
    send_to_all(published_client, deployed)
    letters = wait_until(lambda: _letters(deployed, DEVICES), what="all are letters")
    assert all("body_refused: invalid_argument: 400" in line for line in letters)
    assert simulator.ledger.answers["toobig"] <= 2 * 20
    assert len([*_told(workers)]) == 1

    simulator.faults.change({"send": None})
    send_to_all(published_client, deployed)
    wait_until(lambda: all_got(simulator, 1), what="the healthy send")
    replayed = run_verb(folder, "queue", "replay", "--all", "--config", "c.json")
    assert replayed.returncode == 0, replayed.stderr
    wait_until(lambda: all_got(simulator, 2), what="what was replayed")
    assert sum(simulator.ledger.delivered.values()) == 2 * DEVICES


def _told(workers: list[Process]) -> list[str]:
    events = (line["event"] for each in workers for line in each.events())
    return [event for event in events if "refuses the body" in event]


def _letters(at: Deployment, count: int) -> list[str]:
    """The lines of the dead letters, once they hold so many recipients."""
    done = run_verb(at.path.parent, "queue", "dead", "--config", "c.json")
    lines = [line for line in done.stdout.splitlines() if " recipients  " in line]
    sizes = [int(line.split(" recipients  ")[0].split()[-1]) for line in lines]
    return lines if sum(sizes) == count else []


def _listed(at: Deployment) -> str:
    done = run_verb(at.path.parent, "credentials", "--config", "c.json")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.split()[2]
