"""What becomes of connections that are in use when a database is closed."""

from __future__ import annotations

import asyncio
from typing import Any

import aiosqlite
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from tocsin.storage.engine import Database


class Holder:
    """Holds a transaction open until it is told to end."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.may_end = asyncio.Event()
        self.raw: Any = None

    async def work(self, connection: AsyncConnection) -> int:
        """Select one, slowly."""
        self.raw = (await connection.get_raw_connection()).driver_connection
        found = await connection.execute(text("SELECT 1"))
        self.begun.set()
        await self.may_end.wait()
        return int(found.scalar_one())


def is_closed(raw: Any) -> bool:
    """Whether a driver's own connection is."""
    if isinstance(raw, aiosqlite.Connection):
        return raw._connection is None
    return bool(raw.closed)


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_connection_in_use_is_closed_when_it_comes_back(
    migrated_database: Database, cancelled: bool
) -> None:
    """Its user ends as ever; nothing is left to the garbage collector."""
    holder = Holder()
    reading = asyncio.create_task(migrated_database.read(holder.work))
    await holder.begun.wait()
    await migrated_database.close()
    if cancelled:
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
    else:
        holder.may_end.set()
        assert await reading == 1
    assert is_closed(holder.raw)


async def test_a_closed_database_keeps_no_connection(
    migrated_database: Database,
) -> None:
    """Who comes late is served, and leaves nothing open."""
    await migrated_database.close()
    await migrated_database.check()
    stats = migrated_database.pool_stats()
    assert (stats.total_conns, stats.acquired_conns) == (0, 0)
