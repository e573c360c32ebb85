"""`BreakerStore` on SQL: a row for each breaker or halt that stands.

Part of the storage room; it must not know what a breaker stops.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Executable, delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tocsin.core.ports.clock import Clock
from tocsin.sql_access.dialects import inserting
from tocsin.storage.engine import Database
from tocsin.storage.tables import breakers

_table = breakers.c


class SqlBreakerStore:
    """Breakers in PostgreSQL or SQLite."""

    def __init__(self, database: Database, *, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def fetch(self) -> Mapping[str, str]:
        """See the port."""

        async def work(connection: AsyncConnection) -> dict[str, str]:
            rows = await connection.execute(select(_table.name, _table.state))
            return {row.name: row.state for row in rows}

        return await self._database.read(work)

    async def swap(self, name: str, before: str | None, after: str | None) -> bool:
        """See the port."""
        now_ms = self._clock.now_ms()

        async def work(connection: AsyncConnection) -> bool:
            statement = _change(connection.dialect.name, name, before, after, now_ms)
            found = (await connection.execute(statement)).first()
            return (found is None) is (before is None and after is None)

        return await self._database.write(work)


def _change(
    dialect: str, name: str, before: str | None, after: str | None, now_ms: int
) -> Executable:
    """A statement that returns the name if it found what it had to."""
    stands = (_table.name == name, _table.state == before)
    if before is not None and after is not None:
        changed = update(breakers).where(*stands)
        return changed.values(state=after, changed_at_ms=now_ms).returning(_table.name)
    if before is not None:
        return delete(breakers).where(*stands).returning(_table.name)
    if after is None:
        return select(_table.name).where(_table.name == name)
    added = inserting(breakers, dialect).values(
        name=name, state=after, changed_at_ms=now_ms
    )
    return added.on_conflict_do_nothing(index_elements=["name"]).returning(_table.name)
