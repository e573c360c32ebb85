"""`ReceiptStore` on SQL: messages whose fate is still to be asked for.

Part of the storage room; it must not know which service gave a ticket.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields

from sqlalchemy import delete, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tocsin.core.ports.receipts import Ticket
from tocsin.sql_access.dialects import inserting
from tocsin.storage.engine import Database
from tocsin.storage.tables import push_tickets

_AT_ONCE = 500
"""Rows in one statement, far below what either database takes as parameters."""


class SqlReceiptStore:
    """Tickets in PostgreSQL or SQLite."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, tickets: Sequence[Ticket], *, due_at_ms: int) -> None:
        """See `ReceiptStore.add`."""
        rows = [{**asdict(ticket), "due_at_ms": due_at_ms} for ticket in tickets]

        async def work(connection: AsyncConnection) -> None:
            into = inserting(push_tickets, connection.dialect.name)
            for at in range(0, len(rows), _AT_ONCE):
                statement = into.values(rows[at : at + _AT_ONCE])
                await connection.execute(statement.on_conflict_do_nothing())

        if rows:
            await self._database.write(work)

    async def claim(
        self, integration: str, *, now_ms: int, next_due_ms: int, limit: int
    ) -> list[Ticket]:
        """See `ReceiptStore.claim`."""
        table = push_tickets.c
        due = (
            select(table.id)
            .where(table.integration == integration, table.due_at_ms <= now_ms)
            .order_by(table.due_at_ms)
            .limit(limit)
            .with_for_update(skip_locked=True)
            # Not a subquery: that may be run again for each row, past its limit.
            .cte("due")
        )
        statement = (
            update(push_tickets)
            .where(table.integration == integration, table.id.in_(select(due.c.id)))
            .values(due_at_ms=next_due_ms)
            .returning(*(table[field.name] for field in fields(Ticket)))
        )

        async def work(connection: AsyncConnection) -> list[Ticket]:
            rows = (await connection.execute(statement)).mappings()
            return [Ticket(**row) for row in rows]

        return await self._database.write(work)

    async def drop(self, tickets: Sequence[Ticket]) -> list[Ticket]:
        """See `ReceiptStore.drop`."""
        keys = [(ticket.integration, ticket.id) for ticket in tickets]
        table = push_tickets.c
        place = tuple_(table.integration, table.id)

        async def work(connection: AsyncConnection) -> set[tuple[str, str]]:
            gone: set[tuple[str, str]] = set()
            for at in range(0, len(keys), _AT_ONCE):
                chosen = place.in_(keys[at : at + _AT_ONCE])
                statement = delete(push_tickets).where(chosen)
                found = await connection.execute(
                    statement.returning(table.integration, table.id)
                )
                gone |= {(row.integration, row.id) for row in found}
            return gone

        if not keys:
            return []
        gone = await self._database.write(work)
        return [one for one in tickets if (one.integration, one.id) in gone]

    async def purge_overdue(self, *, due_before_ms: int, limit: int) -> int:
        """See `ReceiptStore.purge_overdue`."""
        table = push_tickets.c
        oldest = (
            select(table.integration, table.id)
            .where(table.due_at_ms < due_before_ms)
            .order_by(table.due_at_ms)
            .limit(limit)
            .with_for_update(skip_locked=True)
            .cte("oldest")
        )
        chosen = tuple_(table.integration, table.id).in_(
            select(oldest.c.integration, oldest.c.id)
        )
        statement = delete(push_tickets).where(chosen).returning(table.id)

        async def work(connection: AsyncConnection) -> int:
            return len((await connection.execute(statement)).all())

        return await self._database.write(work)
