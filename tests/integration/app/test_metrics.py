"""Every documented metric of pushes, scraped from a server that worked."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from tests.support.clickhouse_server import plain, scripted
from tests.support.simulated_fcm import running_simulator
from tests.support.whole_server import Tocsin, serving, until

from tocsin.simulator.server import Simulator

PUSH = {"provider", "queue"}
FLUSH = {"type", "retries", "result"}
POOL = {"pool"}

DOCUMENTED = {
    "push_notification_count": (
        "counter",
        {"provider", "recipient_type", "platform", "success", "err_code"},
    ),
    "push_scheduled_request_count": ("counter", {"recipient_type"}),
    "push_queue_consuming_lag": ("gauge", PUSH),
    "push_consuming_inflight_jobs": ("gauge", PUSH),
    "push_job_duration_seconds": ("summary", {"provider", "recipient_type"}),
    "push_job_duration_seconds_histogram": (
        "histogram",
        {"provider", "recipient_type", "le"},
    ),
    "clickhouse_analytics_drop_count": ("counter", {"type"}),
    "clickhouse_analytics_flush_duration_seconds": ("summary", FLUSH),
    "clickhouse_analytics_flush_duration_seconds_histogram": (
        "histogram",
        {*FLUSH, "le"},
    ),
    "clickhouse_analytics_batch_size": ("summary", {"type"}),
    "clickhouse_analytics_batch_size_histogram": ("histogram", {"type", "le"}),
    "database_pool_max_conns": ("gauge", POOL),
    "database_pool_total_conns": ("gauge", POOL),
    "database_pool_idle_conns": ("gauge", POOL),
    "database_pool_acquired_conns": ("gauge", POOL),
    "database_pool_acquires_total": ("counter", POOL),
    "database_pool_empty_acquires_total": ("counter", POOL),
    "database_pool_canceled_acquires_total": ("counter", POOL),
    "database_pool_acquire_wait_seconds_total": ("counter", POOL),
    "rate_limit_hits_over_limit": ("counter", set()),
}
"""Name → type and labels, as push-api.md §5.1 and the seed have them."""


@pytest.fixture
async def simulator(tmp_path: Path) -> AsyncIterator[Simulator]:
    directory = tmp_path / "fcm"
    directory.mkdir()
    async with running_simulator(directory) as simulator:
        yield simulator


async def families(tocsin: Tocsin) -> dict[str, Metric]:
    """Parsed families with samples, under the names that stand in the text."""
    text = await tocsin.metrics()
    names = [line.split()[2] for line in text.splitlines() if "# TYPE" in line]
    parsed = text_string_to_metric_families(text)
    return {
        name.removeprefix("centrifugo_"): family
        for name, family in zip(names, parsed, strict=True)
        if family.samples
    }


async def work(tocsin: Tocsin) -> None:
    """A send, one over a limit, one for later."""
    await tocsin.register()
    await tocsin.send()
    policy = {"rate": 1, "interval_ms": 60_000}
    limit = {"rate_limit": {"key": "all", "policies": [policy]}}
    limit["rate_limit"]["drop_if_rate_limited"] = True  # type: ignore[assignment]
    await tocsin.send(limit_strategy=limit)
    await tocsin.send(send_at=int(time.time()) + 3600)


async def test_every_documented_metric_is_fed(
    simulator: Simulator, tmp_path: Path
) -> None:
    """A working process shows each under its exact name, type and labels."""
    async with scripted() as server:
        # ClickHouse takes the table and one batch, and refuses another's rows.
        server.script = [plain(200), plain(200), plain(400, "Code: 27. no")]
        export = {"enabled": True, "flush_interval": "100ms", "flush_size": 2}
        section = {
            "enabled": True,
            "clickhouse_dsn": [server.origin],
            "export": {"notifications": export},
        }
        async with serving(simulator, tmp_path, clickhouse_analytics=section) as tocsin:
            await work(tocsin)

            async def all_there() -> bool:
                found = await families(tocsin)
                hits = found.get("rate_limit_hits_over_limit")
                # It stands there from the start; the worker has yet to count.
                counted = hits is not None and hits.samples[0].value > 0
                return counted and DOCUMENTED.keys() <= found.keys()

            try:
                await until(all_there)
            except TimeoutError:
                found = await families(tocsin)
                pytest.fail(f"never fed: {DOCUMENTED.keys() - found.keys()}")
            found = await families(tocsin)
            for name, (kind, labels) in DOCUMENTED.items():
                family = found[name]
                assert family.type == kind, name
                seen = {label for sample in family.samples for label in sample.labels}
                assert seen == labels, name
            assert found["database_pool_acquires_total"].samples[0].value > 0
            assert found["rate_limit_hits_over_limit"].samples[0].value > 0
