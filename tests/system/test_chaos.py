"""Faults in mid-send with real processes: nothing accepted is lost, little is doubled.

After a crash at most the requests in flight and 100 results per worker are sent
again. Those that take longest run with `-m chaos` only.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from tests.support.cut_line import line_beside, slow_line
from tests.support.deployment import (
    Deployment,
    duplicates,
    fill,
    reached,
    send,
    wait_reached,
)
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer, start_postgres, temporary_root
from tests.support.published_client import PublishedClient
from tests.support.redis_server import RedisServer, start_redis
from tests.support.simulated_fcm import Switch, switchable_simulator
from tests.support.tocsin_processes import Process, Processes, fetch, wait_until

from tocsin.core.lanes import queue_names
from tocsin.simulator.server import Simulator

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

TAKEOVER_S = 3
IN_FLIGHT = 200  # two connections of a hundred streams
PER_CRASH = IN_FLIGHT + 100
DRAIN_S = 10
WITHIN_S = 60.0
LATENCY_MS = 60

IMPATIENT = {
    "retry": {"takeover": f"{TAKEOVER_S}s", "first_delay": "300ms", "max_delay": "2s"}
}


def deploy(
    processes: Processes,
    simulator: Simulator,
    database: dict[str, Any],
    queue: dict[str, Any],
) -> Deployment:
    simulator.faults.latency_ms = LATENCY_MS
    parts = {"database": database, "shutdown": {"timeout": f"{DRAIN_S}s"}}
    return Deployment(processes, simulator, parts, queue, IMPATIENT)


@pytest.fixture
def clustered(
    processes: Processes,
    simulator: Simulator,
    postgres_dsn: str,
    redis_server: RedisServer,
    redis_address: str,
) -> Deployment:
    """PostgreSQL and Redis: workers are processes of their own."""
    queue = {"type": "redis", "redis": {"address": redis_address}}
    return deploy(processes, simulator, {"postgresql": {"dsn": postgres_dsn}}, queue)


@pytest.fixture
def embedded(processes: Processes, simulator: Simulator, tmp_path: Path) -> Deployment:
    """SQLite alone: the worker runs inside the server."""
    database = {"sqlite": {"path": str(tmp_path / "t.db")}}
    return deploy(processes, simulator, database, {"type": "database"})


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis with an append-only file that the test may kill."""
    server = start_redis(tmp_path / "redis", appendonly=True)
    yield server
    server.stop()


@pytest.fixture
def own_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A PostgreSQL that the test may stop."""
    root = temporary_root()
    with tempfile.TemporaryDirectory(prefix="tocsin-pg-", dir=root) as directory:
        server = start_postgres(Path(directory))
        yield server
        server.stop()


@pytest.fixture
def switch(tmp_path: Path) -> Iterator[Switch]:
    """A local FCM that goes away and comes back."""
    directory = tmp_path / "fcm"
    directory.mkdir()
    with switchable_simulator(directory, port=free_port()) as switch:
        yield switch


def extra(simulator: Simulator, per_device: int = 1) -> int:
    """Messages beyond what each device was to get."""
    return sum(simulator.ledger.delivered.values()) - per_device * reached(simulator)


def unfinished(at: Deployment) -> int:
    """Entries of the queue, in hands or not; -1 while it cannot be asked."""
    queue, database = at.config["push_notifications"]["queue"], at.config["database"]
    if queue["type"] == "redis":
        host, port = queue["redis"]["address"].split(":")
        with redis.Redis(host=host, port=int(port)) as client:
            names = queue_names("fcm")
            entries = sum(client.xlen(f"{{tocsin}}:stream:{name}") for name in names)
            later = sum(client.zcard(f"{{tocsin}}:delayed:{name}") for name in names)
            return int(entries + later)
    count = "SELECT count(*) FROM queue_jobs"
    if "sqlite" in database:
        connection = sqlite3.connect(database["sqlite"]["path"], timeout=10)
        try:
            return int(connection.execute(count).fetchone()[0])
        finally:
            connection.close()
    with psycopg.connect(database["postgresql"]["dsn"]) as one:
        row = one.execute(count).fetchone()
        return -1 if row is None else int(row[0])


def wait_finished(at: Deployment, devices: int) -> None:
    """Wait until every device was reached and nothing is left to do."""
    wait_reached(at.simulator, devices, deadline_s=WITHIN_S)
    wait_until(lambda: unfinished(at) == 0, deadline_s=WITHIN_S, what="an empty queue")


def dead_letters(at: Deployment) -> str:
    """What `tocsin queue dead list` prints."""
    listing = at.processes.start("queue", "dead", "--config", str(at.path))
    assert listing.wait_exit(deadline_s=20) == 0, listing.text()
    return listing.text()


class Sender(threading.Thread):
    """Sends under many uids, again and again until each is answered."""

    def __init__(
        self, client: PublishedClient, address: str, uids: int, devices: int
    ) -> None:
        super().__init__(name="sender")
        self._client, self._address = client, address
        self.requests = [
            {
                "recipient": {"fcm_tokens": [f"u{uid}.{n}" for n in range(devices)]},
                "notification": {"fcm": {"message": {"data": {"of": f"{uid}"}}}},
                "uid": f"u{uid}",
            }
            for uid in range(uids)
        ]
        self.unanswered = list(self.requests)
        self.calls = 0
        self.wrong: list[Any] = []

    def run(self) -> None:
        """In rounds over what has no answer yet."""
        end = time.monotonic() + WITHIN_S
        while self.unanswered and time.monotonic() < end:
            for request in self.unanswered[:10]:
                if self._is_answered(request):
                    self.unanswered.remove(request)

    def has_fewer_unanswered(self, count: int) -> bool:
        return len(self.unanswered) < count

    def _is_answered(self, request: dict[str, Any]) -> bool:
        self.calls += 1
        answer = self._client.call(
            self._address, "SendPushNotification", request, key="k", timeout_s=3
        )
        if not answer["ok"]:
            return False
        error = answer["response"].get("error")
        if error is not None and error["code"] != 100:
            self.wrong.append(answer)
        return error is None


@pytest.mark.chaos
@pytest.mark.parametrize("seed", [1, 2])
def test_workers_killed_at_random_lose_nothing(
    seed: int, clustered: Deployment, published_client: PublishedClient
) -> None:
    """Five kills while three sends run: every device has each of them."""
    chance, counts = random.Random(seed), clustered.simulator.ledger.delivered
    clustered.serve()
    fill(clustered, 4000)
    workers = [clustered.worker(), clustered.worker()]
    for _ in range(3):
        send(published_client, clustered)
    for _ in range(5):
        time.sleep(chance.uniform(0.1, 0.6))
        victim = chance.randrange(2)
        workers[victim].kill()
        workers[victim] = clustered.worker()
    wait_finished(clustered, 4000)
    assert min(counts.values()) >= 3
    assert extra(clustered.simulator, 3) <= 5 * PER_CRASH


def test_a_killed_server_keeps_what_it_answered(
    clustered: Deployment, published_client: PublishedClient
) -> None:
    """Killed twice under clients that retry by uid: each uid is sent exactly once."""
    chance, counts = random.Random(3), clustered.simulator.ledger.delivered
    clustered.worker()
    server = clustered.serve()
    sender = Sender(published_client, clustered.address, uids=400, devices=5)
    sender.start()
    for left in (300, 150):
        wait_until(partial(sender.has_fewer_unanswered, left), what="answers")
        time.sleep(chance.uniform(0.0, 0.05))
        server.kill()
        server = clustered.serve()
    sender.join()
    assert (sender.unanswered, sender.wrong) == ([], [])
    again = published_client.call_many(
        clustered.address, "SendPushNotification", sender.requests[::10], key="k"
    )
    assert all(answer["ok"] and "result" in answer["response"] for answer in again)
    wait_finished(clustered, 400 * 5)
    assert set(counts.values()) == {1}


@pytest.mark.chaos
def test_a_killed_server_with_its_worker_inside_keeps_what_it_answered(
    embedded: Deployment, published_client: PublishedClient
) -> None:
    """The same on SQLite, where each kill may double what was in flight."""
    server = embedded.serve()
    sender = Sender(published_client, embedded.address, uids=300, devices=10)
    sender.start()
    for left in (200, 100):
        wait_until(partial(sender.has_fewer_unanswered, left), what="answers")
        server.kill()
        server = embedded.serve()
    sender.join()
    assert (sender.unanswered, sender.wrong) == ([], [])
    wait_finished(embedded, 300 * 10)
    assert extra(embedded.simulator) <= 2 * PER_CRASH


@pytest.mark.chaos
@pytest.mark.parametrize("away_s", [0.0, TAKEOVER_S + 2.0])
def test_workers_outlive_a_killed_redis(
    away_s: float,
    processes: Processes,
    simulator: Simulator,
    postgres_dsn: str,
    own_redis: RedisServer,
    published_client: PublishedClient,
) -> None:
    """Gone for a moment or beyond the take-over time, all goes on where it was."""
    queue = {"type": "redis", "redis": {"address": own_redis.address}}
    database = {"postgresql": {"dsn": postgres_dsn}}
    at = deploy(processes, simulator, database, queue)
    at.serve()
    fill(at, 8000)
    workers = [at.worker(), at.worker()]
    send(published_client, at)
    wait_reached(simulator, 2000)
    own_redis.kill()
    time.sleep(away_s)
    own_redis.start_again()
    wait_finished(at, 8000)
    assert extra(simulator) <= len(workers) * PER_CRASH
    assert [worker.child.poll() for worker in workers] == [None, None]


@pytest.fixture
def redis_pair(tmp_path: Path) -> Iterator[tuple[RedisServer, RedisServer]]:
    """A primary, and a replica that is in step with it."""
    at_once = ("--repl-diskless-sync-delay", "0")
    primary = start_redis(tmp_path / "primary", options=at_once)
    link = ("--replicaof", f"127.0.0.1 {primary.port}")
    replica = start_redis(tmp_path / "replica", options=(*at_once, *link))
    wait_until(lambda: "state=online" in info(primary, "replication"), what="a replica")
    yield primary, replica
    primary.kill()
    replica.kill()


def info(server: RedisServer, section: str) -> str:
    with redis.Redis(port=server.port) as client:
        found = client.info(section)
    return " ".join(
        ",".join(f"{k}={v}" for k, v in value.items())
        if isinstance(value, dict)
        else f"{key}:{value}"
        for key, value in found.items()
    )


def api(at: Deployment, method: str, body: dict[str, Any]) -> dict[str, Any]:
    """The answer of the HTTP API of this deployment's first server."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{at.http_port}/api/{method}",
        json.dumps(body).encode(),
        {"X-API-Key": "k", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


@pytest.mark.chaos
def test_a_redis_that_is_replaced_behind_its_address_is_followed(
    processes: Processes,
    simulator: Simulator,
    postgres_dsn: str,
    redis_pair: tuple[RedisServer, RedisServer],
    published_client: PublishedClient,
) -> None:
    """The old one stays reachable as a replica, and nobody's connection breaks.

    A planned failover, so that nothing is lost between the two: all sends arrive,
    nodes hear each other, and readiness follows.
    """
    primary, replica = redis_pair
    with line_beside(primary.port) as line:
        address = f"127.0.0.1:{line.port}"
        simulator.faults.latency_ms = LATENCY_MS
        parts = {
            "database": {"postgresql": {"dsn": postgres_dsn}},
            "shutdown": {"timeout": f"{DRAIN_S}s"},
            "engine": {"type": "redis", "redis": {"address": f"redis://{address}"}},
        }
        queue = {"type": "redis", "redis": {"address": address}}
        at = Deployment(processes, simulator, parts, queue, IMPATIENT)
        ready = f"http://127.0.0.1:{at.http_port}/ready"
        at.serve()
        at.serve_beside()
        fill(at, 4000)
        workers = [at.worker(), at.worker()]
        send(published_client, at)
        sender = Sender(published_client, at.address, uids=300, devices=5)
        sender.start()
        wait_until(lambda: len(sender.unanswered) < 250, what="answers")
        with redis.Redis(port=primary.port) as client:
            client.execute_command("FAILOVER")
        wait_until(lambda: "role:master" in info(replica, "replication"), what="it")
        # The role moves before the address does, as with names.
        wait_until(lambda: "read-only replica" in fetch(ready)[1], what="not ready")
        line.lead_to(replica.port)
        wait_until(lambda: fetch(ready)[0] == 200, deadline_s=20, what="ready")
        published = api(at, "publish", {"channel": "news", "data": {"n": 1}})
        assert "result" in published, published

        def nodes() -> int:
            return len(api(at, "info", {})["result"]["nodes"])

        wait_until(lambda: nodes() == 2, deadline_s=20, what="both nodes")
        sender.join()
        assert (sender.unanswered, sender.wrong) == ([], [])
        wait_finished(at, 4000 + 300 * 5)
        assert extra(simulator) <= len(workers) * PER_CRASH
        assert [worker.child.poll() for worker in workers] == [None, None]
        listened = info(primary, "clients")
        assert "pubsub_clients:0" in listened or "pubsub_clients" not in listened


@pytest.mark.chaos
@pytest.mark.parametrize("queue_in", ["redis", "postgresql"])
def test_workers_outlive_a_restarted_postgresql(
    queue_in: str,
    processes: Processes,
    simulator: Simulator,
    own_postgres: PostgresServer,
    redis_address: str,
    published_client: PublishedClient,
) -> None:
    """Stopped in mid-expand beyond the take-over time: no page is lost or doubled."""
    database = {"postgresql": {"dsn": own_postgres.create_database("registry")}}
    queue: dict[str, Any] = {"type": "database"}
    if queue_in == "redis":
        queue = {"type": "redis", "redis": {"address": redis_address}}
    at = deploy(processes, simulator, database, queue)
    at.change("push_notifications", "fcm", tokens_batch_size=50)
    at.serve()
    fill(at, 16_000)
    workers = [at.worker(), at.worker()]
    send(published_client, at)
    wait_reached(simulator, 2000)
    own_postgres.stop()
    time.sleep(TAKEOVER_S + 2)
    own_postgres.start_again()
    wait_finished(at, 16_000)
    assert extra(simulator) <= (0 if queue_in == "redis" else 2 * PER_CRASH)
    assert [worker.child.poll() for worker in workers] == [None, None]


@pytest.mark.chaos
def test_a_provider_that_was_away_gets_everything(
    processes: Processes,
    switch: Switch,
    postgres_dsn: str,
    redis_address: str,
    published_client: PublishedClient,
) -> None:
    """Gone in mid-send and back with its tokens forgotten: nothing is given up."""
    queue = {"type": "redis", "redis": {"address": redis_address}}
    database = {"postgresql": {"dsn": postgres_dsn}}
    at = deploy(processes, switch.simulator, database, queue)
    at.serve()
    fill(at, 4000)
    at.worker()
    send(published_client, at)
    wait_reached(switch.simulator, 1000)
    switch.off()
    time.sleep(4)
    switch.on()
    wait_finished(at, 4000)
    # What it took without answering may come again, and nothing else.
    assert extra(switch.simulator) <= IN_FLIGHT
    assert "send:fcm" not in dead_letters(at)


@pytest.mark.parametrize("signalled", [signal.SIGTERM, signal.SIGINT])
def test_a_drained_worker_leaves_nothing_lying(
    signalled: signal.Signals,
    clustered: Deployment,
    published_client: PublishedClient,
) -> None:
    """What it had in hand is with the other at once, not after the take-over time."""
    at = clustered
    at.change("push_notifications", "retry", takeover="60s")
    at.serve()
    fill(at, 6000)
    leaver, _ = at.worker(), at.worker()
    send(published_client, at)
    wait_reached(at.simulator, 1500)
    leaver.child.send_signal(signalled)
    assert leaver.wait_exit(deadline_s=DRAIN_S) == 0
    wait_finished(at, 6000)
    assert duplicates(at.simulator) == 0


def test_a_drained_server_with_its_worker_inside_doubles_nothing(
    embedded: Deployment, published_client: PublishedClient
) -> None:
    """SIGTERM in mid-send, then a new start: the rest is sent, nothing twice."""
    server = embedded.serve()
    fill(embedded, 5000)
    send(published_client, embedded)
    wait_reached(embedded.simulator, 1500)
    assert server.terminate(deadline_s=DRAIN_S) == 0
    before = reached(embedded.simulator)
    embedded.serve()
    wait_finished(embedded, 5000)
    assert before < 5000
    assert duplicates(embedded.simulator) == 0


@pytest.mark.chaos
@pytest.mark.parametrize("stopped_s", [TAKEOVER_S - 1.5, TAKEOVER_S + 1.0])
def test_a_stalled_worker_stops_when_it_comes_back(
    stopped_s: float, clustered: Deployment, published_client: PublishedClient
) -> None:
    """SIGSTOP, then SIGCONT: it sends nothing of what another worker took over.

    Shorter than the take-over it loses nothing, unless the machine is so busy that its
    next beat comes too late.
    """
    at, simulator = clustered, clustered.simulator
    at.serve()
    fill(at, 10_000)
    sleeper, _ = at.worker(), at.worker()
    send(published_client, at)
    wait_reached(simulator, 3000)
    os.kill(sleeper.pid, signal.SIGSTOP)
    time.sleep(stopped_s)
    os.kill(sleeper.pid, signal.SIGCONT)
    wait_finished(at, 10_000)
    assert sleeper.terminate() == 0
    has_lost = any(
        each.get("reason") in ("taken_over", "gone") for each in sleeper.events()
    )
    assert has_lost or stopped_s < TAKEOVER_S
    assert extra(simulator) <= (PER_CRASH if has_lost else 0)


@pytest.mark.chaos
def test_two_processes_share_a_sqlite_file_under_load(
    embedded: Deployment, published_client: PublishedClient
) -> None:
    """A worker beside the server, broadcasts and single sends at once: all once."""
    simulator = embedded.simulator
    embedded.serve()
    fill(embedded, 4000)
    worker = embedded.worker()
    sender = Sender(published_client, embedded.address, uids=150, devices=4)
    send(published_client, embedded)
    sender.start()
    sender.join()
    assert (sender.unanswered, sender.wrong) == ([], [])
    wait_finished(embedded, 4000 + 150 * 4)
    assert duplicates(simulator) == 0
    assert worker.terminate(deadline_s=DRAIN_S) == 0


@pytest.mark.chaos
def test_a_far_queue_that_is_overrun_doubles_nothing(
    processes: Processes,
    simulator: Simulator,
    own_postgres: PostgresServer,
    published_client: PublishedClient,
) -> None:
    """PostgreSQL 50 ms away, a pool of four, 600 sends due at once: each once.

    All connections are taken for longer than a lease lasts, so what was sent waits
    to be settled, and a renewal meets rows that settlements have locked.
    """
    dsn = own_postgres.create_database("far")
    near = deploy(
        processes, simulator, {"postgresql": {"dsn": dsn}}, {"type": "database"}
    )
    near.serve()
    due_s = int(time.time()) + 8
    requests = [
        {
            "recipient": {"fcm_tokens": [f"u{uid}.{n}" for n in range(5)]},
            "notification": {"fcm": {"message": {"data": {"of": f"{uid}"}}}},
            "uid": f"u{uid}",
            "send_at": due_s,
        }
        for uid in range(600)
    ]
    answers = published_client.call_many(
        near.address, "SendPushNotification", requests, key="k", timeout_s=60
    )
    assert all(answer["ok"] and "result" in answer["response"] for answer in answers)
    with slow_line(own_postgres.port, delay_s=0.05) as line:
        far = dsn.replace(f":{own_postgres.port}/", f":{line.port}/")
        near.change("database", postgresql={"dsn": far, "pool_max_size": 4})
        near.change("push_notifications", "retry", takeover="5s")
        workers = [near.worker(), near.worker()]
        wait_reached(simulator, 3000, deadline_s=120)
        near.change("database", postgresql={"dsn": dsn})
        wait_until(lambda: unfinished(near) == 0, what="an empty queue")
        assert [worker.child.poll() for worker in workers] == [None, None]
    assert duplicates(simulator) == 0


def test_two_servers_with_one_uid_send_it_once(
    clustered: Deployment,
    published_client: PublishedClient,
    tmp_path: Path,
) -> None:
    """The same uids at both doors at the same moment: all answered, each sent once."""
    clustered.serve()
    _, second = clustered.serve_beside()
    clustered.worker()
    with PublishedClient.start(tmp_path / "second") as other:
        senders = [
            Sender(published_client, clustered.address, uids=150, devices=3),
            Sender(other, second, uids=150, devices=3),
        ]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
    assert [s.unanswered + s.wrong for s in senders] == [[], []]
    wait_finished(clustered, 150 * 3)
    assert set(clustered.simulator.ledger.delivered.values()) == {1}


@pytest.mark.chaos
@pytest.mark.parametrize("away", ["database", "queue"])
def test_a_store_away_for_many_take_overs_makes_no_job_poison(
    away: str,
    processes: Processes,
    simulator: Simulator,
    own_postgres: PostgresServer,
    own_redis: RedisServer,
    published_client: PublishedClient,
) -> None:
    """Gone for twelve take-overs in mid-broadcast: no dead letter, and few lines."""
    queue = {"type": "redis", "redis": {"address": own_redis.address}}
    database = {"postgresql": {"dsn": own_postgres.create_database("registry")}}
    at = deploy(processes, simulator, database, queue)
    at.change("push_notifications", "retry", takeover="1s")
    at.change("push_notifications", "fcm", tokens_batch_size=50)
    at.serve()
    fill(at, 20_000)
    workers = [at.worker(), at.worker()]
    send(published_client, at)
    wait_reached(simulator, 2000)
    server = own_postgres if away == "database" else own_redis
    server.stop()
    time.sleep(13)
    server.start_again()
    wait_finished(at, 20_000)
    assert dead_letters(at) == "0 dead letters\n"
    assert extra(simulator) <= (0 if away == "database" else 2 * PER_CRASH)
    for worker in workers:
        lines = [line for line in worker.events() if line.get("store") == away]
        told = [line for line in lines if line["level"] == "warning"]
        assert 1 <= len(told) <= 2  # a connection may turn out dead later
        assert "job failed" not in worker.text()


class Accepted:
    """Sends under uids that were answered, while no worker runs."""

    def __init__(self, client: PublishedClient, at: Deployment, count: int) -> None:
        self._client, self._at = client, at
        self.requests = [
            {
                "recipient": {"fcm_tokens": [f"lost{number}.{n}" for n in range(3)]},
                "notification": {"fcm": {"message": {"data": {"of": f"{number}"}}}},
                "uid": f"lost{number}",
            }
            for number in range(count)
        ]

    def call(self) -> None:
        """All of them, again where need be, until each is answered with its uid."""
        left = list(self.requests)
        end = time.monotonic() + 20
        while left:
            assert time.monotonic() < end, left
            answers = self._client.call_many(
                self._at.address, "SendPushNotification", left, key="k"
            )
            found = [answer["response"].get("result", {}) for answer in answers]
            left = [
                request
                for request, result in zip(left, found, strict=True)
                if result.get("uid") != request["uid"]
            ]

    def check_each_is_sent_once(self) -> None:
        """With a worker at last."""
        self._at.worker()
        wait_finished(self._at, 3 * len(self.requests))
        assert set(self._at.simulator.ledger.delivered.values()) == {1}


def notices(at: Deployment) -> dict[str, str]:
    """What `/ready` says beside its checks; it is 200 or away."""
    try:
        status, body = fetch(f"http://127.0.0.1:{at.http_port}/ready")
    except OSError:
        return {}
    if status != 200:
        return {}
    found: dict[str, str] = json.loads(body).get("notices", {})
    return found


def wait_named(at: Deployment, server: Process, kind: str) -> None:
    """Within ten seconds the loss is in `/ready`, in the log and in the metrics."""
    wait_until(lambda: "queue" in notices(at), deadline_s=10, what="a notice")
    [line] = [each for each in server.events() if each.get("kind") == kind]
    assert line["level"] == "error"
    _, metrics = fetch(f"http://127.0.0.1:{at.http_port}/metrics")
    assert f'push_queue_loss_count{{kind="{kind}"}} 1\n' in metrics


@pytest.mark.chaos
@pytest.mark.parametrize("with_database", [True, False])
def test_a_redis_that_came_back_empty_is_named_and_repeats_heal(
    with_database: bool,
    processes: Processes,
    simulator: Simulator,
    postgres_dsn: str,
    own_redis: RedisServer,
    published_client: PublishedClient,
) -> None:
    """Killed, its files gone, started again: each repeated uid is sent once."""
    queue = {"type": "redis", "redis": {"address": own_redis.address}}
    database = {"postgresql": {"dsn": postgres_dsn}} if with_database else {}
    at = deploy(processes, simulator, database, queue)
    server = at.serve()
    sends = Accepted(published_client, at, 60)
    sends.call()
    own_redis.kill()
    shutil.rmtree(own_redis.directory / "appendonlydir")
    own_redis.start_again()
    wait_named(at, server, "replaced")
    sends.call()
    sends.call()
    sends.check_each_is_sent_once()


def sends_in_log(at: Deployment) -> list[tuple[str, str, int]]:
    """Of each send in the log its uid, its state, and how often it was repaired."""
    with psycopg.connect(at.config["database"]["postgresql"]["dsn"]) as one:
        return one.execute(
            "SELECT uid, progress, repairs FROM push_sends ORDER BY uid"
        ).fetchall()


@pytest.mark.chaos
def test_a_broadcast_outlives_a_redis_that_comes_back_empty(
    processes: Processes,
    simulator: Simulator,
    postgres_dsn: str,
    own_redis: RedisServer,
    published_client: PublishedClient,
) -> None:
    """Nobody repeats anything: what the queue has lost is queued again by itself."""
    queue = {"type": "redis", "redis": {"address": own_redis.address}}
    at = deploy(processes, simulator, {"postgresql": {"dsn": postgres_dsn}}, queue)
    at.serve()
    fill(at, 20_000)
    at.worker()
    send(published_client, at, uid="broadcast")
    wait_reached(simulator, 3_000)
    own_redis.kill()
    shutil.rmtree(own_redis.directory / "appendonlydir")
    own_redis.start_again()
    wait_reached(simulator, 20_000, deadline_s=WITHIN_S)
    wait_until(
        lambda: sends_in_log(at) == [("broadcast", "finished", 1)],
        deadline_s=WITHIN_S,
        what="a send that is over",
    )
    # The pages that were open, and what was in the hands of the worker.
    assert extra(simulator) <= 20_000


@pytest.mark.chaos
@pytest.mark.parametrize("is_server_killed", [True, False])
def test_a_redis_without_the_end_of_its_log_is_named_and_repeats_heal(
    is_server_killed: bool,
    processes: Processes,
    simulator: Simulator,
    postgres_dsn: str,
    own_redis: RedisServer,
    published_client: PublishedClient,
) -> None:
    """Cut by 50 kB: what was kept is sent once, what was lost too, when repeated."""
    queue = {"type": "redis", "redis": {"address": own_redis.address}}
    at = deploy(processes, simulator, {"postgresql": {"dsn": postgres_dsn}}, queue)
    server = at.serve()
    sends = Accepted(published_client, at, 200)
    sends.call()
    with redis.Redis(port=own_redis.port) as client:
        client.execute_command("WAITAOF", 1, 0, 5000)
    if is_server_killed:
        wait_marked(postgres_dsn, 200)
        server.kill()
    own_redis.kill()
    own_redis.cut_log(50_000)
    own_redis.start_again()
    if is_server_killed:
        server = at.serve()
    wait_named(at, server, "went_back")
    kept = unfinished(at)
    assert 0 < kept < 200
    sends.call()
    assert unfinished(at) == 200
    sends.check_each_is_sent_once()


def wait_marked(dsn: str, accepted: int) -> None:
    """Wait until the registry knows that the queue came so far."""

    def marked() -> bool:
        with psycopg.connect(dsn) as one:
            row = one.execute("SELECT max(accepted) FROM push_queues").fetchone()
            return row is not None and row[0] is not None and row[0] >= accepted

    wait_until(marked, deadline_s=10, what="a mark in the registry")


@pytest.mark.chaos
def test_a_flushed_queue_is_what_a_worker_says_it_is(
    clustered: Deployment,
    redis_server: RedisServer,
    published_client: PublishedClient,
) -> None:
    """FLUSHALL in mid-batch: no other worker is blamed for what is lost."""
    at = clustered
    at.serve()
    fill(at, 4000)
    worker = at.worker()
    send(published_client, at)
    wait_reached(at.simulator, 300)
    redis_server.flush()
    wait_until(
        lambda: "the queue lost its data, and this job with it" in worker.text(),
        deadline_s=20,
        what="what happened",
    )
    assert "taken over by another worker" not in worker.text()
    wait_until(lambda: "queue" in notices(at), deadline_s=10, what="a notice")


@pytest.mark.chaos
def test_a_moved_queue_is_no_loss(
    processes: Processes,
    simulator: Simulator,
    postgres_dsn: str,
    redis_address: str,
    redis_server: RedisServer,
    own_redis: RedisServer,
    published_client: PublishedClient,
) -> None:
    """Uids that are repeated before and after the drain are sent once; all is well."""
    old = {"type": "redis", "redis": {"address": own_redis.address}}
    at = deploy(processes, simulator, {"postgresql": {"dsn": postgres_dsn}}, old)
    server = at.serve()
    sends = Accepted(published_client, at, 40)
    sends.call()
    server.terminate()
    before = at.path.with_name("old.json")
    before.write_text(at.path.read_text())
    at.change("push_notifications", queue={"type": "redis"})
    at.change("push_notifications", "queue", redis={"address": redis_address})
    server = at.serve()
    sends.call()
    drain = ("queue", "drain", "--config", str(before), "--to", str(at.path))
    assert processes.start(*drain).wait_exit(deadline_s=30) == 0
    sends.call()
    sends.check_each_is_sent_once()
    assert notices(at) == {}
    assert "the queue is another one than before" in server.text()
    assert [line for line in server.events() if line["level"] == "error"] == []


@pytest.mark.chaos
def test_a_queue_database_made_anew_is_named_at_the_start(
    processes: Processes,
    simulator: Simulator,
    own_postgres: PostgresServer,
    published_client: PublishedClient,
) -> None:
    """The registry knows what the queue beside it had, and repeats heal."""
    database = {"postgresql": {"dsn": own_postgres.create_database("registry")}}
    queue = {
        "type": "postgresql",
        "postgresql": {"dsn": own_postgres.create_database("queue")},
    }
    at = deploy(processes, simulator, database, queue)
    server = at.serve()
    sends = Accepted(published_client, at, 30)
    sends.call()
    wait_marked(database["postgresql"]["dsn"], 30)
    server.terminate()
    own_postgres.drop_database("queue")
    own_postgres.create_database("queue")
    server = at.serve()
    wait_named(at, server, "replaced")
    sends.call()
    at.worker()
    wait_reached(simulator, 90)
    sends.call()
    assert set(simulator.ledger.delivered.values()) == {1}


def removed_devices(at: Deployment) -> int:
    """Soft-removed rows of the registry."""
    with psycopg.connect(at.config["database"]["postgresql"]["dsn"]) as one:
        row = one.execute(
            "SELECT count(*) FROM devices WHERE removed_at_ms IS NOT NULL"
        ).fetchone()
    assert row is not None
    return int(row[0])


def replay_all(at: Deployment) -> None:
    replay = at.processes.start("queue", "replay", "--all", "--config", str(at.path))
    assert replay.wait_exit(deadline_s=20) == 0, replay.text()


def send_to_users(client: PublishedClient, at: Deployment, numbers: range) -> None:
    users = [f"u{number}" for number in numbers]
    send(client, at, recipient={"filter": {"users": users}})
    wait_until(lambda: unfinished(at) == 0, deadline_s=WITHIN_S, what="an empty queue")


@pytest.mark.chaos
def test_a_wrong_project_purges_nobody_and_burns_no_send(
    clustered: Deployment, published_client: PublishedClient
) -> None:
    """Mismatch storms over two workers, small and whole: all is sent in the end."""
    at, simulator = clustered, clustered.simulator
    simulator.faults.latency_ms = 10
    at.serve()
    fill(at, 3000)
    workers = [at.worker(), at.worker()]
    send(published_client, at)
    wait_finished(at, 3000)
    for number in range(5):  # between healthy ones, each to people of its own
        simulator.faults.change({"send": {"fault": "mismatch"}})
        send_to_users(published_client, at, range(number * 30, number * 30 + 30))
        simulator.faults.change({"send": None})
        send_to_users(published_client, at, range(1000, 1250))
    assert removed_devices(at) == 0
    simulator.ledger.delivered.clear()
    simulator.faults.change({"send": {"fault": "mismatch"}})
    send(published_client, at)
    wait_until(
        lambda: any("credential paused" in worker.text() for worker in workers),
        deadline_s=WITHIN_S,
        what="a credential that is paused",
    )
    assert (removed_devices(at), reached(simulator)) == (0, 0)
    simulator.faults.change({"send": None})
    # What waited goes out by itself, and what was given up is there to replay.
    wait_until(lambda: unfinished(at) == 0, deadline_s=WITHIN_S, what="an empty queue")
    assert dead_letters(at).count("sender_id_mismatch") >= 5
    replay_all(at)
    wait_finished(at, 3000)
    assert removed_devices(at) == 0
    # Beside the broadcast 150 had their small send.
    assert sum(simulator.ledger.delivered.values()) >= 3000 + 150


@pytest.mark.chaos
def test_a_provider_that_calls_everybody_dead_purges_nobody(
    clustered: Deployment, published_client: PublishedClient
) -> None:
    """UNREGISTERED for all over two workers: the registry stays, the send too."""
    at, simulator = clustered, clustered.simulator
    at.serve()
    fill(at, 3000)
    for _ in range(2):
        at.worker()
    send(published_client, at)
    wait_finished(at, 3000)
    simulator.ledger.delivered.clear()
    simulator.faults.change({"send": {"fault": "dead"}})
    send(published_client, at)
    wait_until(lambda: unfinished(at) == 0, deadline_s=WITHIN_S, what="an empty queue")
    assert reached(simulator) == 0
    wait_until(lambda: removed_devices(at) == 0, what="nobody removed")
    simulator.faults.change({"send": None})
    replay_all(at)
    wait_until(lambda: unfinished(at) == 0, deadline_s=WITHIN_S, what="an empty queue")
    # Those of the first answers, which were believed until the flood was seen.
    assert reached(simulator) >= 3000 - 400
    send(published_client, at)
    wait_finished(at, 3000)
