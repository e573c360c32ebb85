"""`LetterCopies` on SQL: the queue's dead letters, should the queue lose them.

Part of the storage room; it must not know what a letter says.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from tocsin.core.ports.queue_stock import StoredLetter
from tocsin.sql_access.dialects import inserting
from tocsin.storage.engine import Database
from tocsin.storage.tables import push_letter_copies

_table = push_letter_copies.c


class SqlLetterCopies:
    """Copies in PostgreSQL or SQLite."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, letters: Sequence[StoredLetter]) -> None:
        """See `LetterCopies.add`."""
        rows = [
            {
                "digest": letter.digest,
                "queue": letter.queue,
                "push_id": letter.push_id,
                "letter": letter.letter,
                "raw": letter.raw,
                "payload": letter.payload,
            }
            for letter in letters
        ]
        if not rows:
            return

        async def work(connection: AsyncConnection) -> None:
            statement = inserting(push_letter_copies, connection.dialect.name)
            await connection.execute(
                statement.on_conflict_do_nothing(index_elements=["digest"]), rows
            )

        await self._database.write(work)

    async def fetch(self, *, after: str, limit: int) -> dict[str, StoredLetter]:
        """See `LetterCopies.fetch`."""
        statement = (
            select(push_letter_copies)
            .where(_table.digest > after)
            .order_by(_table.digest)
            .limit(limit)
        )

        async def work(connection: AsyncConnection) -> dict[str, StoredLetter]:
            return {
                row.digest: StoredLetter(
                    "",
                    row.queue,
                    row.push_id,
                    bytes(row.letter),
                    bytes(row.raw),
                    bytes(row.payload),
                )
                for row in await connection.execute(statement)
            }

        return await self._database.read(work)

    async def list_digests(self, *, after: str, limit: int) -> list[str]:
        """See `LetterCopies.list_digests`."""
        statement = (
            select(_table.digest)
            .where(_table.digest > after)
            .order_by(_table.digest)
            .limit(limit)
        )

        async def work(connection: AsyncConnection) -> list[str]:
            return list((await connection.execute(statement)).scalars())

        return await self._database.read(work)

    async def remove(self, digests: Collection[str]) -> None:
        """See `LetterCopies.remove`."""
        if digests:
            statement = delete(push_letter_copies).where(_table.digest.in_(digests))
            await self._database.write(lambda connection: connection.execute(statement))
