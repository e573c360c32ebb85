"""Rows of jobs, payloads and once markers: how they come and go, and what names them.

Part of the queue room; it must not hand jobs out.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    Insert,
    Table,
    TextClause,
    delete,
    func,
    insert,
    literal_column,
    select,
    text,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from tocsin.core.push import Job
from tocsin.queue.sql_connection import QueueDatabase
from tocsin.queue.sql_tables import Tables

# Each half sees the count from before the statement, so exactly one of them fits. The
# two are 0 where somebody else changed the count at this moment, or no row is there.
_CHANGE_AT_ONCE = """
    WITH ended AS (
        DELETE FROM {payloads}
        WHERE push_id = :of_push AND outstanding + :change <= 0 RETURNING 1
    ), counted AS (
        UPDATE {payloads} SET outstanding = outstanding + :change
        WHERE push_id = :of_push AND outstanding + :change > 0 RETURNING 1
    )
    SELECT (SELECT count(*) FROM ended), (SELECT count(*) FROM counted)
    """
_REMOVE = """
    WITH gone AS (DELETE FROM {jobs} WHERE id = :of_job RETURNING id),
    emptied AS (DELETE FROM {bodies} WHERE job_id IN (SELECT id FROM gone))
    SELECT count(*) FROM gone
    """

JobRow = tuple[str, str, bytes, int]
"""Queue, push id, bytes, due Unix milliseconds or 0 for now."""


class JobRows:
    """Statements inside a transaction of the caller."""

    def __init__(self, database: QueueDatabase, tables: Tables) -> None:
        self._database = database
        self._tables = tables
        self._at_once: TextClause | None = None
        self._removal: TextClause | None = None
        if not database.is_sqlite:
            # A remote server is asked once; SQLite is local and may be asked twice.
            payloads, jobs = tables.payloads.name, tables.jobs.name
            self._at_once = text(_CHANGE_AT_ONCE.format(payloads=payloads))
            self._removal = text(_REMOVE.format(jobs=jobs, bodies=tables.bodies.name))

    async def mark_once(
        self, connection: AsyncConnection, push_id: str, ttl_s: float
    ) -> bool:
        """Mark a request as accepted; `False` if it is marked already.

        Of two at once the second waits for the first one's end.
        """
        once, now_ms = self._tables.once, self._database.now
        expires_ms = now_ms + max(1, int(ttl_s * 1000))
        mark = self._database.inserting(once).values(
            push_id=push_id, expires_ms=expires_ms
        )
        statement = mark.on_conflict_do_update(
            index_elements=["push_id"],
            set_={"expires_ms": expires_ms},
            # A mark that has expired, but is not cleaned up yet, is taken
            # over.
            where=once.c.expires_ms <= now_ms,
        ).returning(once.c.push_id)
        values = self._database.now_values()
        return (await connection.execute(statement, values)).first() is not None

    async def is_marked(self, connection: AsyncConnection, push_id: str) -> bool:
        """Whether `mark_once` has marked this request, and its time is not over."""
        once = self._tables.once.c
        found = select(once.push_id).where(
            once.push_id == push_id, once.expires_ms > self._database.now
        )
        values = self._database.now_values()
        return (await connection.execute(found, values)).first() is not None

    async def count(
        self, connection: AsyncConnection, queues: Sequence[str], most: int
    ) -> int:
        """Unfinished jobs of these queues, each half counted no further than `most`."""
        jobs = self._tables.jobs
        total = 0
        # Apart, so that each half is answered from its partial index.
        for state in ("lease_owner = ''", "lease_owner <> ''"):
            some = (
                select(literal_column("1").label("one"))
                .select_from(jobs)
                .where(jobs.c.queue.in_(queues), literal_column(state))
                .limit(most)
                .subquery()
            )
            statement = select(func.count()).select_from(some)
            total += (await connection.execute(statement)).scalar_one()
        return total

    async def add_payload(
        self, connection: AsyncConnection, push_id: str, body: bytes, jobs: int
    ) -> None:
        """Store a payload with `jobs` more jobs that need it."""
        payloads = self._tables.payloads
        statement = self._database.inserting(payloads).values(
            push_id=push_id, outstanding=jobs, body=body
        )
        await connection.execute(
            statement.on_conflict_do_update(
                index_elements=["push_id"],
                set_={"outstanding": payloads.c.outstanding + jobs},
            )
        )

    async def change_outstanding(
        self, connection: AsyncConnection, push_id: str, change: int
    ) -> bool:
        """Count jobs of a request up or down.

        Returns whether its payload went with the last one.
        """
        if not change:
            return False
        payloads = self._tables.payloads
        if (ended := await self._change_at_once(connection, push_id, change)) is None:
            left = await connection.execute(
                update(payloads)
                .where(payloads.c.push_id == push_id)
                .values(outstanding=payloads.c.outstanding + change)
                .returning(payloads.c.outstanding)
            )
            outstanding = left.scalar()
            ended = outstanding is not None and outstanding <= 0
            if ended:
                await connection.execute(
                    delete(payloads).where(payloads.c.push_id == push_id)
                )
        return ended

    async def _change_at_once(
        self, connection: AsyncConnection, push_id: str, change: int
    ) -> bool | None:
        """Do `change_outstanding` in one statement; `None` if that did not work.

        It cannot where somebody else changes the count at this moment: both halves see
        the old count, and when the row lock is free neither may fit any more.
        """
        if self._at_once is None:
            return None
        values = {"of_push": push_id, "change": change}
        ended, counted = (await connection.execute(self._at_once, values)).one()
        return bool(ended) if ended or counted else None

    async def add(
        self,
        connection: AsyncConnection,
        jobs: Sequence[tuple[Job, bytes, int]],
        *,
        scheduled_uid: str | None = None,
    ) -> int:
        """Add (job, its bytes, due Unix milliseconds or 0 for now).

        Those due later can be taken back under `scheduled_uid`. Returns the highest
        id among the new rows.
        """
        return await self.add_raw(
            connection,
            [(job.queue, job.push_id, body, due_ms) for job, body, due_ms in jobs],
            scheduled_uid=scheduled_uid,
        )

    async def add_raw(
        self,
        connection: AsyncConnection,
        rows: Sequence[JobRow],
        *,
        scheduled_uid: str | None = None,
    ) -> int:
        """Add (queue, push id, bytes, due Unix milliseconds or 0 for now)."""
        highest = 0
        delayed = [row for row in rows if row[3]]
        if delayed:
            values = [
                {**_names(row), "run_at_ms": row[3], "scheduled_uid": scheduled_uid}
                for row in delayed
            ]
            highest = await self._insert(
                connection, insert(self._tables.jobs), delayed, values
            )
        at_once = [row for row in rows if not row[3]]
        if at_once:
            # Due at the moment of writing, not "since ever": else new work would
            # come before every retry that fell due meanwhile.
            statement = insert(self._tables.jobs).values(run_at_ms=self._database.now)
            now = self._database.now_values()
            values = [{**_names(row), **now} for row in at_once]
            added = await self._insert(connection, statement, at_once, values)
            highest = max(highest, added)
        return highest

    async def _insert(
        self,
        connection: AsyncConnection,
        statement: Insert,
        rows: Sequence[JobRow],
        values: Sequence[Mapping[str, Any]],
    ) -> int:
        id = self._tables.jobs.c.id
        found = await connection.scalars(
            # The order matters: bodies are matched with ids below.
            statement.returning(id, sort_by_parameter_order=True),
            values,
        )
        ids = found.all()
        await connection.execute(
            insert(self._tables.bodies),
            [{"job_id": id, "body": row[2]} for id, row in zip(ids, rows, strict=True)],
        )
        return int(max(ids))

    async def take_back(
        self, connection: AsyncConnection, uid: str
    ) -> list[tuple[str, bytes]]:
        """Remove what was scheduled under this uid and never handed out.

        Returns (push id, bytes) of each. A worker that claims a row at this moment
        either has it already, and the row stays, or finds it gone.
        """
        jobs, bodies = self._tables.jobs, self._tables.bodies
        gone = await connection.execute(
            delete(jobs)
            .where(
                jobs.c.scheduled_uid == uid,
                literal_column("lease_owner = ''"),
                jobs.c.deliveries == 0,
            )
            .returning(jobs.c.id, jobs.c.push_id)
        )
        push_ids = {row.id: row.push_id for row in gone}
        if not push_ids:
            return []
        found = await connection.execute(
            delete(bodies)
            .where(bodies.c.job_id.in_(push_ids))
            .returning(bodies.c.job_id, bodies.c.body)
        )
        return [(push_ids[row.job_id], row.body) for row in found]

    async def remove(self, connection: AsyncConnection, id: int) -> bool:
        """Remove a job; `False` if it is gone already."""
        jobs, bodies = self._tables.jobs, self._tables.bodies
        if self._removal is not None:
            found = await connection.execute(self._removal, {"of_job": id})
            return bool(found.scalar())
        gone = await connection.execute(delete(jobs).where(jobs.c.id == id))
        if not gone.rowcount:
            return False
        await connection.execute(delete(bodies).where(bodies.c.job_id == id))
        return True


def _names(row: JobRow) -> dict[str, Any]:
    return {"queue": row[0], "push_id": row[1]}


async def find_origin(connection: AsyncConnection, table: Table) -> str | None:
    """The name of this queue, or `None` while nobody has asked for one."""
    found = (await connection.execute(select(table.c.origin))).scalar()
    return None if found is None else str(found)


async def find_or_make_origin(connection: AsyncConnection, table: Table) -> str:
    """The name of this queue, in a transaction that writes."""
    add = text(
        f"INSERT INTO {table.name} (one, origin) VALUES (1, :name)"  # noqa: S608 - the prefix is checked
        " ON CONFLICT (one) DO NOTHING"
    )
    await connection.execute(add, {"name": secrets.token_hex(8)})
    found = await connection.execute(select(table.c.origin))
    return str(found.scalar_one())


async def last_job_id(connection: AsyncConnection, jobs: Table) -> int:
    """The highest id that was ever given, whether or not its job is still there."""
    if connection.dialect.name == "postgresql":
        statement = text(
            # A fresh sequence says 1 without having given it: only
            # `is_called` tells.
            f"SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {jobs.name}_id_seq"  # noqa: S608, E501 - the prefix is checked
        )
        return int((await connection.execute(statement)).scalar_one())
    # SQLite keeps this for AUTOINCREMENT columns; before the first row there is
    # none.
    statement = text("SELECT seq FROM sqlite_sequence WHERE name = :name")
    found = await connection.execute(statement, {"name": jobs.name})
    return int(found.scalar() or 0)
