"""Which indexes PostgreSQL uses, once there are enough rows to care."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import Select, select, text
from tests.support.clock import MovedClock

from tocsin.core.device import DeviceFilter, ProviderTokens
from tocsin.storage.device_filters import filter_conditions, walk
from tocsin.storage.devices import SqlDeviceStore
from tocsin.storage.engine import Database, open_postgres
from tocsin.storage.rows import has_prefix
from tocsin.storage.tables import device_topics, devices

DEVICES = 20_000
PAGE = 500
_FILL = (
    """
    INSERT INTO devices SELECT 'd' || lpad(i::text, 23, '0'), 'fcm', 't' || i,
      md5(i::text), 'ios', 'u' || i % 500, '', '', '{}',
      CASE WHEN i % 100 = 0 THEN '{"vip": "yes"}' ELSE '{}' END::jsonb,
      '', '', 1, 1, 1, NULL, '' FROM generate_series(1, :devices) i
    """,
    """
    INSERT INTO device_topics SELECT 'a' || lpad(i::text, 23, '0'),
      'd' || lpad(i::text, 23, '0'), 'news', 1 FROM generate_series(1, :devices) i
    """,
    """
    INSERT INTO device_topics SELECT 'b' || lpad(i::text, 23, '0'),
      'd' || lpad(i::text, 23, '0'), 'rare-' || i % 2000, 1
      FROM generate_series(1, :devices) i
    """,
)


@pytest.fixture
async def full(migrated_postgres_dsn: str) -> AsyncIterator[Database]:
    """A registry as it is right after an import, without statistics."""
    database = open_postgres(migrated_postgres_dsn)
    async with database.engine.begin() as connection:
        await connection.execute(
            text("ALTER TABLE devices SET (autovacuum_enabled = false)")
        )
        await connection.execute(
            text("ALTER TABLE device_topics SET (autovacuum_enabled = false)")
        )
        for statement in _FILL:
            await connection.execute(text(statement), {"devices": DEVICES})
    yield database
    await database.close()


async def analyze(database: Database) -> None:
    async with database.engine.connect() as connection:
        plain = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await plain.execute(text("VACUUM ANALYZE"))


async def explain(database: Database, statement: Select[Any], *before: str) -> str:
    """The plan as it was executed, with the rows that each step read."""
    compiled = statement.compile(dialect=database.engine.dialect)
    async with database.engine.connect() as connection:
        for each in before:
            await connection.execute(text(each))
        result = await connection.exec_driver_sql(
            f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) {compiled.string}",
            compiled.params,
        )
        return "\n".join(result.scalars())


def target_walk(filter: DeviceFilter, after: int) -> Select[Any]:
    return walk(
        [devices.c.id, devices.c.token, devices.c.platform],
        [devices.c.provider == "fcm", *filter_conditions(filter, "postgresql")],
        filter.topics,
        after=f"d{after:023}",
        limit=PAGE + 1,
        dialect="postgresql",
    )


def most_rows(plan: str) -> int:
    """The largest number of rows that any step of a plan read."""
    return max(
        int(float(line.split("rows=")[1].split()[0]))
        for line in plan.splitlines()
        if "actual" in line and "rows=" in line
    )


@pytest.mark.parametrize("topics", [("news",), ("news", "rare-1", "rare-2"), ()])
async def test_a_late_page_reads_no_more_than_itself(
    full: Database, topics: tuple[str, ...]
) -> None:
    """Deep in the walk every step reads about a page, and nothing is scanned."""
    await analyze(full)
    plan = await explain(full, target_walk(DeviceFilter(topics=topics), 15_000))
    assert "Seq Scan" not in plan
    assert most_rows(plan) <= PAGE + 50
    if topics:
        assert "device_topics_topic_device_idx" in plan


async def test_walk_follows_the_index_right_after_an_import(full: Database) -> None:
    """Without statistics the setting of the walk prevents a sort of the rest."""
    statement = target_walk(DeviceFilter(topics=("news",)), 1000)
    plan = await explain(full, statement, "SET LOCAL enable_sort = off")
    assert most_rows(plan) <= PAGE + 1
    assert "Index Only Scan using device_topics_topic_device_idx" in plan


async def test_the_walk_sets_its_plan_for_its_own_transaction(full: Database) -> None:
    """fetch_targets reads the whole topic and leaves the connection as it was."""
    store = SqlDeviceStore(full, clock=MovedClock())
    cursor, count = "", 0
    while True:
        page = await store.fetch_targets(
            DeviceFilter(topics=("news",)), provider="fcm", cursor=cursor, limit=3000
        )
        count += len(page.recipients)
        cursor = page.cursor
        if not cursor:
            break
    assert count == DEVICES
    async with full.engine.connect() as connection:
        assert await connection.scalar(text("SHOW enable_sort")) == "on"


async def test_prefix_search_uses_the_topic_index(full: Database) -> None:
    """A prefix is a range of the index, with bounds and no filter."""
    await analyze(full)
    statement = select(device_topics.c.id).where(
        *has_prefix(device_topics.c.topic, "rare-19")
    )
    plan = await explain(full, statement)
    assert "device_topics_topic_device_idx" in plan
    assert "Index Cond: ((topic >= 'rare-19'" in plan


async def test_tags_use_their_index(full: Database) -> None:
    """filter.tags is served by the index on tags."""
    await analyze(full)
    plan = await explain(full, target_walk(DeviceFilter(tags={"vip": "yes"}), 0))
    assert "devices_tags_idx" in plan
    assert most_rows(plan) <= DEVICES // 100


async def test_users_and_tokens_use_their_indexes(full: Database) -> None:
    """The selectors of updates and removals find their rows without a scan."""
    await analyze(full)
    plan = await explain(full, target_walk(DeviceFilter(users=("u1", "u2")), 0))
    assert "devices_user_id_idx" in plan
    pairs = (ProviderTokens("fcm", ("a", "b")),)
    plan = await explain(full, target_walk(DeviceFilter(provider_tokens=pairs), 0))
    assert "devices_token_key_unique" in plan
