"""Opens analytics where the configuration has a place for it: store and buffer.

The exit stack of the caller writes what is left and closes both.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass

import structlog

from tocsin.analytics.writer import AnalyticsWriter, BufferLimits
from tocsin.app.faults import opening
from tocsin.config import Config
from tocsin.config.clickhouse import parse_dsn
from tocsin.core.ports.analytics import AnalyticsStore
from tocsin.storage.engine import Database
from tocsin.telemetry.metrics import Metrics

SQL_LIMITS = BufferLimits(max_rows=200_000, flush_rows=5000, flush_interval_s=1.0)
"""Rows show after a second; a transaction holds SQLite's one writer for 20 ms."""
CLOSE_S = 10.0
"""Most seconds of the drain that go to rows which the store does not take."""
PURGE_ROWS = 5000

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class OpenAnalytics:
    """What is open."""

    store: AnalyticsStore
    writer: AnalyticsWriter


async def open_analytics(
    config: Config, metrics: Metrics, database: Database | None, stack: AsyncExitStack
) -> OpenAnalytics | None:
    """Store and writer, or `None` where rows have no place.

    Raises `ApiError` when ClickHouse cannot be reached and has to be.
    """
    store = await open_store(config, database, stack)
    if store is None:
        return None
    writer = AnalyticsWriter(store, _limits(config), metrics)
    writer.start()
    _log.info("results of pushes are kept", store=config.analytics_kind)
    stack.push_async_callback(writer.close, min(CLOSE_S, config.shutdown.timeout))
    return OpenAnalytics(store, writer)


async def open_store(
    config: Config, database: Database | None, stack: AsyncExitStack
) -> AnalyticsStore | None:
    """The store alone, for those who only read."""
    if config.analytics_kind == "clickhouse":
        return await _open_clickhouse(config, stack)
    if config.analytics_kind is None or database is None:
        return None
    from tocsin.analytics.sql import SqlAnalyticsStore

    return SqlAnalyticsStore(database)


async def purge_analytics(
    store: AnalyticsStore, *, now_ms: int, retention_s: float
) -> None:
    """Forget rows over their retention, a bounded number at a time."""
    before_ms = now_ms - int(retention_s * 1000)
    while await store.purge(before_ms=before_ms, limit=PURGE_ROWS) == PURGE_ROWS:
        pass


async def _open_clickhouse(config: Config, stack: AsyncExitStack) -> AnalyticsStore:
    from tocsin.analytics.clickhouse import ClickHouseAnalyticsStore, ClickHouseSettings
    from tocsin.analytics.clickhouse_http import ClickHouseHttp

    section = config.clickhouse_analytics
    settings = ClickHouseSettings(
        database=section.clickhouse_database,
        cluster=section.clickhouse_cluster,
        ttl=section.export.notifications.ttl,
        skip_schema=section.skip_schema_initialization,
    )
    addresses = [parse_dsn(dsn) for dsn in section.clickhouse_dsn]
    store = ClickHouseAnalyticsStore(
        ClickHouseHttp(addresses, settings.database), settings
    )
    stack.push_async_callback(store.close)
    if not section.skip_ping_on_start:
        where = " ".join(address.origin for address in addresses)
        with opening("clickhouse_analytics.clickhouse_dsn", where):
            await store.prepare()
    return store


def _limits(config: Config) -> BufferLimits:
    if config.analytics_kind == "sql":
        return SQL_LIMITS
    section = config.clickhouse_analytics.export.notifications
    return BufferLimits(
        max_rows=section.max_buffer_size,
        flush_rows=section.flush_size,
        flush_interval_s=section.flush_interval,
    )
