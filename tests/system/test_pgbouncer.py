"""Servers and workers behind a pooler that shares connections between transactions."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psycopg
import pytest
from tests.support.deployment import Deployment, register, send
from tests.support.pgbouncer import running_pgbouncer
from tests.support.postgres import temporary_root
from tests.support.published_client import PublishedClient
from tests.support.tocsin_processes import Processes, wait_until

from tocsin.simulator.server import Simulator

pytestmark = [pytest.mark.system]

DEVICES = 400


@pytest.fixture
def pooled_dsn(postgres_dsn: str) -> Iterator[str]:
    """Leads through a pooler with fewer server connections than it has clients."""
    root = temporary_root()
    with tempfile.TemporaryDirectory(prefix="tocsin-bouncer-", dir=root) as name:
        Path(name).chmod(0o755)
        with running_pgbouncer(Path(name), postgres_dsn, pool_size=6) as dsn:
            yield dsn


def test_registry_and_queue_behind_pgbouncer(
    processes: Processes,
    simulator: Simulator,
    published_client: PublishedClient,
    postgres_dsn: str,
    pooled_dsn: str,
) -> None:
    """No call fails, every device is reached once, and no session keeps anything."""
    database = {"database": {"postgresql": {"dsn": pooled_dsn}}}
    at = Deployment(processes, simulator, database, {"type": "database"})
    at.serve()
    _, beside = at.serve_beside()
    workers = [at.worker(), at.worker()]
    register(published_client, at, DEVICES)  # none answers an error
    requests = [{"filter": {"users": [f"u{number}"]}} for number in range(DEVICES)]
    answers = published_client.call_many(beside, "DeviceList", requests, key="k")
    assert [a for a in answers if not a["ok"] or a["response"].get("error")] == []
    delivered = simulator.ledger.delivered

    def has_delivered(wanted: int) -> bool:
        return sum(delivered.values()) >= wanted

    for sends in range(1, 5):
        send(published_client, at)
        wait_until(
            partial(has_delivered, sends * DEVICES),
            what=f"{sends} sends at {DEVICES} devices",
        )
        assert len(delivered) == DEVICES
        assert set(delivered.values()) == {sends}
    for process in processes.children:
        text = process.text()
        assert "prepared statement" not in text
        assert "job failed" not in text
    with psycopg.connect(postgres_dsn) as connection:
        held = connection.execute(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
        ).fetchone()
        listening = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE query ILIKE 'listen %'"
        ).fetchone()
    assert (held, listening) == ((0,), (0,))
    for worker in workers:
        assert worker.terminate() == 0
