"""ClickHouse's SQL as ClickHouse itself reads it; needs chdb, which is opt-in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.analytics import row
from tests.support.clickhouse_server import chdb_store

from tocsin.analytics.clickhouse import (
    ClickHouseAnalyticsStore,
    ClickHouseSettings,
    build_schema,
)

pytest.importorskip("chdb", reason="chdb is not installed: pip install chdb")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[ClickHouseAnalyticsStore]:
    async with chdb_store(tmp_path) as store:
        yield store


async def test_a_repeated_batch_adds_nothing(store: ClickHouseAnalyticsStore) -> None:
    """A retry after an answer that was lost does not double its rows."""
    rows = [row(device_id=f"d{n}") for n in range(3000)]
    await store.append(rows, batch_id="b-1")
    await store.append(rows, batch_id="b-1")
    await store.append(rows, batch_id="b-2")
    count = await store.http.run(
        "SELECT count() FROM notifications FORMAT TabSeparated"
    )
    assert int(count) == 6000


async def test_rows_come_back_as_they_were(store: ClickHouseAnalyticsStore) -> None:
    """Fields and time reach the columns they are named for."""
    await store.append([row(user="a\tb\\", error_message="it's")], batch_id="b-1")
    answer = await store.http.run(
        "SELECT user, error_message, toUnixTimestamp(time) FROM notifications"
        " FORMAT JSONCompactEachRow"
    )
    assert answer.strip() == b'["a\\tb\\\\", "it\'s", 1800000000]'


async def test_schema_of_a_cluster_can_be_read(
    store: ClickHouseAnalyticsStore,
) -> None:
    """Its syntax is right; no cluster is here to run it."""
    settings = ClickHouseSettings(cluster="{cluster}")
    for statement in build_schema(settings):
        assert await store.http.run(f"EXPLAIN AST {statement}")
