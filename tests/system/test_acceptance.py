"""The main job with real processes: devices in, pushes out, a worker killed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.deployment import (
    TOPIC,
    Deployment,
    duplicates,
    fill,
    reached,
    register,
    send,
    wait_reached,
)
from tests.support.ports import free_port
from tests.support.published_client import PublishedClient
from tests.support.redis_server import RedisServer, start_redis
from tests.support.tocsin_processes import Processes, fetch, wait_until

from tocsin.simulator.server import Simulator

pytestmark = pytest.mark.system

DEVICES = 20_000


@pytest.fixture
def clustered(
    processes: Processes,
    simulator: Simulator,
    postgres_dsn: str,
    redis_server: RedisServer,
    redis_address: str,
) -> Deployment:
    """PostgreSQL and Redis, as the acceptance configuration has them."""
    return Deployment(
        processes,
        simulator,
        {"database": {"postgresql": {"dsn": postgres_dsn}}},
        {"type": "redis", "redis": {"address": redis_address}},
    )


@pytest.fixture
def embedded(processes: Processes, simulator: Simulator, tmp_path: Path) -> Deployment:
    """SQLite alone: the worker runs inside the server."""
    return Deployment(
        processes,
        simulator,
        {"database": {"sqlite": {"path": str(tmp_path / "t.db")}}},
        {"type": "database"},
    )


@pytest.mark.timeout(180)
def test_a_worker_killed_in_mid_send_loses_nothing(
    clustered: Deployment, published_client: PublishedClient
) -> None:
    """SIGKILL of one of two workers: all 20,000 reached, at most 2 % twice."""
    simulator = clustered.simulator
    clustered.serve()
    fill(clustered, DEVICES)
    victim, _ = clustered.worker(), clustered.worker()
    send(published_client, clustered)
    wait_reached(simulator, DEVICES // 4)
    victim.kill()
    wait_reached(simulator, DEVICES)
    assert duplicates(simulator) <= DEVICES * 0.02


@pytest.mark.timeout(180)
def test_a_killed_server_with_its_worker_inside_goes_on_where_it_was(
    embedded: Deployment, published_client: PublishedClient
) -> None:
    """On SQLite the one process is killed in mid-send and started again."""
    simulator = embedded.simulator
    server = embedded.serve()
    fill(embedded, 6000)
    send(published_client, embedded)
    wait_reached(simulator, 1500)
    server.kill()
    before = reached(simulator)
    embedded.serve()
    wait_reached(simulator, 6000)
    assert before < 6000
    assert duplicates(simulator) <= 400


@pytest.mark.timeout(120)
def test_a_drained_worker_doubles_nothing(
    clustered: Deployment, published_client: PublishedClient
) -> None:
    """SIGTERM in mid-send: the other worker ends the send, nothing twice."""
    simulator = clustered.simulator
    clustered.serve()
    fill(clustered, 6000)
    leaver, _ = clustered.worker(), clustered.worker()
    send(published_client, clustered)
    wait_reached(simulator, 1000)
    assert leaver.terminate() == 0
    wait_reached(simulator, 6000)
    assert duplicates(simulator) == 0


@pytest.mark.timeout(120)
def test_every_call_of_the_registry_works_over_the_published_client(
    clustered: Deployment, published_client: PublishedClient
) -> None:
    """The eight device and topic calls and a send, as the schema has them."""
    clustered.serve()
    clustered.worker()

    def call(method: str, **request: Any) -> Any:
        answer = published_client.call(clustered.address, method, request, key="k")
        assert answer["ok"], answer
        assert not answer["response"].get("error"), answer
        return answer["response"].get("result") or {}

    device = {"provider": "fcm", "platform": "ios", "user": "anna"}
    call("UserTopicUpdate", user="anna", op="add", topics=["santos"])
    id = call("DeviceRegister", **device, token="t1", topics=["news"])["id"]
    call("DeviceTopicUpdate", device_id=id, op="add", topics=["extra"])
    item = call("DeviceList", filter={"ids": [id]}, include_topics=True)["items"][0]
    assert sorted(item["topics"]) == ["extra", "news", "santos"]
    rows = call("DeviceTopicList", filter={"topic_prefix": "ex"})["items"]
    assert [row["topic"] for row in rows] == ["extra"]
    users = call("UserTopicList", filter={"users": ["anna"]})["items"]
    assert [row["topic"] for row in users] == ["santos"]
    call("DeviceUpdate", ids=[id], user_update={"user": ""})
    item = call("DeviceList", filter={"ids": [id]}, include_topics=True)["items"][0]
    assert sorted(item["topics"]) == ["extra", "news"]
    call(
        "SendPushNotification",
        recipient={"filter": {"ids": [id]}},
        notification={"fcm": {"message": {"data": {"a": "b"}}}},
    )
    wait_until(lambda: clustered.simulator.ledger.delivered.get("t1") == 1)
    call("DeviceRemove", ids=[id])
    assert call("DeviceList", filter={"ids": [id]}).get("items", []) == []


def test_the_key_comes_before_everything(
    embedded: Deployment, published_client: PublishedClient
) -> None:
    """Without the key nothing answers; with it, maps are not available yet."""
    embedded.serve()
    for method in ("DeviceList", "Publish", "Info"):
        answer = published_client.call(embedded.address, method, {})
        assert (answer["code"], answer["details"]) == (
            "UNAUTHENTICATED",
            "unauthenticated",
        )
    answer = published_client.call(
        embedded.address, "MapPublish", {"channel": "c"}, key="k"
    )
    assert answer["response"]["error"]["code"] == 108


def test_a_repeated_uid_sends_once(
    embedded: Deployment, published_client: PublishedClient
) -> None:
    """Same uid and content: same answer, one push. Other content: conflict."""
    embedded.serve()
    register(published_client, embedded, 3)
    assert send(published_client, embedded, uid="once") == "once"
    assert send(published_client, embedded, uid="once") == "once"
    other = {
        "recipient": {"filter": {"topics": [TOPIC]}},
        "notification": {"fcm": {"message": {"data": {"x": "y"}}}},
        "uid": "once",
    }
    answer = published_client.call(
        embedded.address, "SendPushNotification", other, key="k"
    )
    assert answer["response"]["error"]["code"] == 113
    wait_reached(embedded.simulator, 3)
    send(published_client, embedded, uid="second")
    wait_until(lambda: set(embedded.simulator.ledger.delivered.values()) == {2})


def test_metrics_have_their_documented_names(
    embedded: Deployment, published_client: PublishedClient
) -> None:
    """A scrape of the server with its worker shows the seed's metrics."""
    embedded.serve()
    register(published_client, embedded, 2)
    send(published_client, embedded)
    url = f"http://127.0.0.1:{embedded.http_port}/metrics"
    line = (
        'centrifugo_push_notification_count{provider="fcm",recipient_type="filter",'
        'platform="android",success="true",err_code=""} 2'
    )
    wait_until(lambda: line in fetch(url)[1], what=line)
    text = fetch(url)[1]
    for name in (
        'centrifugo_push_queue_consuming_lag{provider="fcm",queue="send:fcm"}',
        'centrifugo_push_consuming_inflight_jobs{provider="fcm",queue="send:fcm"}',
        'centrifugo_push_job_duration_seconds_count{provider="fcm"',
        "centrifugo_push_job_duration_seconds_histogram_bucket{",
        'centrifugo_database_pool_max_conns{pool="database"}',
    ):
        assert name in text
    assert "_count_total" not in text


def test_health_answers_while_a_dependency_is_away(
    processes: Processes, simulator: Simulator, postgres_dsn: str, tmp_path: Path
) -> None:
    """`/health` is about the process, `/ready` about what it needs."""
    redis = start_redis(tmp_path / "redis")
    try:
        at = Deployment(
            processes,
            simulator,
            {"database": {"postgresql": {"dsn": postgres_dsn}}},
            {"type": "redis", "redis": {"address": redis.address}},
        )
        at.serve()
        base = f"http://127.0.0.1:{at.http_port}"
        checks = json.loads(fetch(f"{base}/ready")[1])["checks"]
        assert set(checks.values()) == {"ok"}
        assert {"database", "queue"} <= set(checks)
        redis.kill()
        wait_until(lambda: fetch(f"{base}/ready")[0] == 503, what="not ready")
        text = fetch(f"{base}/ready")[1]
        assert json.loads(text)["checks"]["database"] == "ok"
        assert json.loads(text)["checks"]["queue"] == "queue is unavailable"
        assert fetch(f"{base}/health")[0] == 200
    finally:
        redis.stop()


def test_a_busy_port_is_named(embedded: Deployment) -> None:
    """A second server on the same ports says which one is taken, and ends."""
    embedded.serve()
    second = embedded.processes.start("serve", "--config", str(embedded.path))
    assert second.wait_exit() == 1
    assert "in use" in second.text()
    assert "Traceback" not in second.text(), "a person can mend it: one line is enough"
    assert str(embedded.http_port) in second.text()


def test_no_configuration_answers_health_only(processes: Processes) -> None:
    """With no configuration at all it starts on tocsin.db and says what to set."""
    port, grpc_port = free_port(), free_port()
    flags = ("--http_server.port", str(port), "--grpc_api.port", str(grpc_port))
    server = processes.start("serve", *flags).wait_ready(port)
    assert (processes.directory / "tocsin.db").exists()
    assert "grpc_api.key" in server.text()
    assert server.terminate() == 0


def test_wrong_configuration_ends_with_every_fault(processes: Processes) -> None:
    """Exit code 2, and all faults at once."""
    path = processes.directory / "wrong.json"
    path.write_text('{"grpc_api":{"prot":1},"database":{"pool":2},"log":{"level":3}}')
    process = processes.start("serve", "--config", str(path))
    assert process.wait_exit() == 2
    for key in ("grpc_api.prot", "database.pool", "log.level"):
        assert key in process.text()


def test_a_worker_without_providers_is_a_configuration_error(
    processes: Processes,
) -> None:
    """It says what to set and ends with code 2."""
    process = processes.start("worker")
    assert process.wait_exit() == 2
    assert "push_notifications.enabled_providers" in process.text()


@pytest.mark.timeout(120)
def test_two_workers_share_a_sqlite_queue(
    embedded: Deployment, published_client: PublishedClient
) -> None:
    """A `tocsin worker` beside the server on the same file is allowed."""
    embedded.serve()
    fill(embedded, 2000)
    embedded.worker()
    send(published_client, embedded)
    wait_reached(embedded.simulator, 2000)
    assert duplicates(embedded.simulator) == 0
