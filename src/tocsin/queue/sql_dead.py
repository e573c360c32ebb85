"""The dead letters of the SQL queue: listed, replayed and purged.

Part of the queue room; it must not decide what dies, only keep what did.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from tocsin.core.errors import BadRequest
from tocsin.core.push import DeadLetter
from tocsin.queue.codec import encode_job, parse_dead_job, parse_letter, refresh
from tocsin.queue.sql_jobs import JobRows
from tocsin.queue.sql_tables import Tables

_LARGEST_ID = 2**63 - 1


class DeadTable:
    """Letters with the job, the reason and a copy of the payload."""

    def __init__(self, tables: Tables, rows: JobRows) -> None:
        self._tables = tables
        self._rows = rows

    async def add(
        self,
        connection: AsyncConnection,
        push_id: str,
        letters: Sequence[tuple[str, bytes, bytes]],
    ) -> None:
        """Keep (queue, letter, raw bytes) of a request, before its payload goes."""
        payloads = self._tables.payloads
        found = await connection.execute(
            select(payloads.c.body).where(payloads.c.push_id == push_id)
        )
        payload = found.scalar() or b""
        await connection.execute(
            insert(self._tables.dead),
            [
                {
                    "queue": queue,
                    "push_id": push_id,
                    "letter": letter,
                    "raw": raw,
                    "payload": payload,
                }
                for queue, letter, raw in letters
            ],
        )

    async def fetch_page(
        self, connection: AsyncConnection, *, limit: int, after: str
    ) -> list[DeadLetter]:
        """Oldest first; raises `BadRequest` for an `after` that is no id."""
        dead = self._tables.dead
        start = _known_form([after]) if after else [0]
        if not start:
            raise BadRequest("after", "is not the id of a dead letter")
        statement = (
            select(dead)
            .where(dead.c.id > start[0])
            .order_by(dead.c.id)
            .limit(max(1, limit))
        )
        return [
            parse_letter(
                row.letter,
                id=str(row.id),
                queue=row.queue,
                push_id=row.push_id,
                payload=row.payload,
            )
            for row in await connection.execute(statement)
        ]

    async def replay(self, connection: AsyncConnection, ids: Sequence[str]) -> int:
        """Delete the letters first: that decides between two who replay them."""
        dead = self._tables.dead
        replayed = 0
        # In order, so that two who replay the same letters never deadlock.
        for id in sorted(set(_known_form(ids))):
            row = (
                await connection.execute(
                    delete(dead).where(dead.c.id == id).returning(*dead.c)
                )
            ).first()
            if row is None:
                continue
            job = parse_dead_job(row.letter)
            # What could not be read goes back as it came: this release may read it.
            body = row.raw if job is None else encode_job(refresh(job))
            await self._rows.add_payload(connection, row.push_id, row.payload, 1)
            await self._rows.add_raw(connection, [(row.queue, row.push_id, body, 0)])
            replayed += 1
        return replayed

    async def purge(self, connection: AsyncConnection, ids: Sequence[str]) -> int:
        """Delete these letters; returns how many there were."""
        dead = self._tables.dead
        purged = 0
        for id in sorted(set(_known_form(ids))):
            gone = await connection.execute(delete(dead).where(dead.c.id == id))
            purged += gone.rowcount
        return purged


def _known_form(ids: Sequence[str]) -> list[int]:
    numbers = [int(id) for id in ids if id.isascii() and id.isdigit()]
    return [number for number in numbers if number <= _LARGEST_ID]
