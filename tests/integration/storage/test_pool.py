"""What a pool counts, on a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from tocsin.core.errors import ApiError
from tocsin.storage.engine import Database, open_postgres


@pytest.fixture
async def single(postgres_dsn: str) -> AsyncIterator[Database]:
    """A database with one connection."""
    database = open_postgres(postgres_dsn, pool_max_size=1)
    yield database
    await database.close()


async def test_hand_outs_are_counted(single: Database) -> None:
    """Only the first one had to wait, for its connection to be opened."""
    for _ in range(3):
        await single.check()
    stats = single.pool_stats()
    assert (stats.acquires_total, stats.empty_acquires_total) == (3, 1)
    assert stats.acquire_wait_seconds_total > 0
    assert (stats.max_conns, stats.total_conns, stats.idle_conns) == (1, 1, 1)
    assert stats.acquired_conns == 0


async def test_a_wait_for_a_busy_connection_is_counted(single: Database) -> None:
    """The time is that between asking and getting."""
    await single.check()
    before = single.pool_stats()
    async with single.engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
        assert single.pool_stats().acquired_conns == 1
        waiting = asyncio.create_task(single.check())
        await asyncio.sleep(0.1)
    await waiting
    after = single.pool_stats()
    assert after.empty_acquires_total == before.empty_acquires_total + 1
    waited_s = after.acquire_wait_seconds_total - before.acquire_wait_seconds_total
    assert 0.05 < waited_s < 5


async def test_a_wait_that_is_given_up_is_counted(single: Database) -> None:
    """A caller that goes away leaves the pool as it was."""
    async with single.engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
        waiting = asyncio.create_task(single.check())
        await asyncio.sleep(0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert single.pool_stats().canceled_acquires_total == 1
    await single.check()


async def test_an_unreachable_server_is_no_hand_out() -> None:
    """What was never got is not counted as given."""
    database = open_postgres("host=127.0.0.1 port=1 dbname=x")
    with pytest.raises(ApiError):
        await database.check()
    assert database.pool_stats().acquires_total == 0
    await database.close()
