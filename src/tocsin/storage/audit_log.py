"""`AuditStore` on SQL: a row for each administrative call.

Part of the storage room; it must not know what a method does.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sqlalchemy import ColumnElement, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tocsin.core.errors import BadRequest
from tocsin.core.ports.audit import UNENDED, AuditEntry, AuditFilter
from tocsin.storage.engine import Database
from tocsin.storage.tables import admin_calls

_LARGEST_ID = 2**63 - 1

_table = admin_calls.c


class SqlAuditStore:
    """Administrative calls in PostgreSQL or SQLite."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, entry: AuditEntry) -> str:
        """See `AuditStore.begin`."""
        row = asdict(entry)
        del row["id"]
        statement = insert(admin_calls).values(**row).returning(_table.id)

        async def work(connection: AsyncConnection) -> str:
            return str((await connection.execute(statement)).scalar_one())

        return await self._database.write(work)

    async def end(self, id: str, *, count: int, result: str) -> None:
        """See `AuditStore.end`."""
        statement = (
            update(admin_calls)
            .where(_table.id == _number(id), _table.result == UNENDED)
            .values(count=count, result=result)
        )
        await self._database.write(lambda connection: connection.execute(statement))

    async def fetch_page(
        self, chosen: AuditFilter, *, limit: int, before: str = ""
    ) -> list[AuditEntry]:
        """See `AuditStore.fetch_page`."""
        conditions = _conditions(chosen)
        if before:
            number = _number(before)
            if not number:
                raise BadRequest("before", "is not the id of an entry")
            conditions.append(_table.id < number)
        statement = (
            select(admin_calls)
            .where(*conditions)
            .order_by(_table.id.desc())
            .limit(limit)
        )

        async def work(connection: AsyncConnection) -> list[AuditEntry]:
            rows = (await connection.execute(statement)).mappings()
            return [AuditEntry(**{**row, "id": str(row["id"])}) for row in rows]

        return await self._database.read(work)

    async def prune(self, before_ms: int) -> int:
        """See `AuditStore.prune`."""
        statement = delete(admin_calls).where(_table.at_ms < before_ms)

        async def work(connection: AsyncConnection) -> int:
            return int((await connection.execute(statement)).rowcount)

        return await self._database.write(work)


def _conditions(chosen: AuditFilter) -> list[ColumnElement[Any]]:
    conditions: list[ColumnElement[Any]] = []
    if chosen.actors:
        conditions.append(_table.actor.in_(chosen.actors))
    if chosen.methods:
        conditions.append(_table.method.in_(chosen.methods))
    if chosen.since_ms:
        conditions.append(_table.at_ms >= chosen.since_ms)
    if chosen.until_ms:
        conditions.append(_table.at_ms < chosen.until_ms)
    return conditions


def _number(id: str) -> int:
    """The number in an id, 0 for what is none."""
    if not (id.isascii() and id.isdigit()) or int(id[:20]) > _LARGEST_ID:
        return 0
    return int(id[:20])
