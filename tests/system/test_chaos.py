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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
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
            stages = ("expand:fcm", "send:fcm")
            entries = sum(client.xlen(f"{{tocsin}}:stream:{name}") for name in stages)
            later = sum(client.zcard(f"{{tocsin}}:delayed:{name}") for name in stages)
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
        wait_until(lambda left=left: len(sender.unanswered) < left, what="answers")
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
        wait_until(lambda left=left: len(sender.unanswered) < left, what="answers")
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
    """SIGSTOP beyond the take-over, then SIGCONT: it sends nothing of others' work."""
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
    assert extra(simulator) <= (PER_CRASH if stopped_s > TAKEOVER_S else 0)


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
