"""Hands out jobs of the SQL queue: fair claims, leases and their renewal.

Part of the queue room; it must not decode jobs nor end them.

A claim is one short transaction that writes who holds the job and until when.
No row stays locked while a batch is sent.

A renewal must never wait. In a first version it waited for a connection behind all
settlements of its process. With a connection of its own it locked row after row in
the order of their ids, just ahead of the settlements, which go in that order too, and
so waited for nearly each of them: with a database 50 ms away up to 7 s, while the
lease lasts 4. So it has its own connection and skips locked rows: whoever holds such
a lock is this process, which settles or records, or a rival that took the job.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Row,
    and_,
    bindparam,
    exists,
    literal,
    literal_column,
    select,
    union_all,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import ReturningUpdate

from tocsin.core.elapsed import elapsed_s
from tocsin.queue.rules import ShareBehind, Timing
from tocsin.queue.sql_connection import QueueDatabase
from tocsin.queue.sql_tables import Tables

_JUMP_S = 1.0
"""No clock gains so much between two looks, in seconds: somebody has set it."""

NOBODY: ColumnElement[str] = literal_column("''")
"""As text in the statement: only so do planners use the partial indexes."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A job row in this owner's hands."""

    id: int
    queue: str
    push_id: str
    body: bytes
    count: int
    done: bytes
    held_until: float


@dataclass(frozen=True, slots=True)
class Renewed:
    """Ids of leases that still stand (`held`), and which of them were prolonged.

    The rest of `held` is locked at the moment; `taken` are those that somebody else
    has now. `until` is the `elapsed_s` up to which a prolonged lease can be trusted.
    """

    held: set[int]
    prolonged: set[int]
    taken: set[int]
    until: float


class Claims:
    """The leases of one owner; `renewing` is where they are prolonged."""

    def __init__(
        self,
        database: QueueDatabase,
        tables: Tables,
        *,
        owner: str,
        timing: Timing,
        renewing: QueueDatabase,
    ) -> None:
        self._database = database
        self._renewing = renewing
        self._timing = timing
        self._tables = tables
        self._owner = owner
        self._lease_end = database.now + timing.silent_ms
        jobs = tables.jobs
        self._is_due = and_(
            jobs.c.lease_owner == NOBODY, jobs.c.run_at_ms <= database.now
        )
        self._is_abandoned = and_(
            jobs.c.lease_owner != NOBODY, jobs.c.lease_until_ms <= database.now
        )
        # Statements are built once: building costs more than running them.
        self._claim_due = self._claim_of(self._is_due)
        self._claim_abandoned = self._claim_of(self._is_abandoned)
        self._renewal = self._renewal_of_mine()
        self._standing = select(jobs.c.id, jobs.c.lease_owner).where(
            jobs.c.id.in_(bindparam("ids", expanding=True)),
            jobs.c.lease_owner != NOBODY,
        )
        self._looks: dict[tuple[str, ...], CompoundSelect[Any]] = {}
        self._turn = 0
        self._share_behind = ShareBehind()
        # Queues that somebody wants to look at, and the look that will be for all.
        self._wanted: set[str] = set()
        self._looking: asyncio.Task[list[tuple[str, int]]] | None = None
        self._under_way: set[asyncio.Task[list[tuple[str, int]]]] = set()
        self._known_ahead_s = self._ahead_s()
        self._take_over_from = 0.0

    async def claim(
        self, queues: Sequence[str], limit: int, behind: Sequence[str] = ()
    ) -> list[Claimed]:
        """Up to `limit` due or abandoned jobs, in equal shares of their queues.

        The port says what `behind` means. Looking first costs an idle queue one read
        and no write lock.
        """
        due, abandoned = await self._look([*queues, *behind])
        if self._was_set_forward():
            abandoned = []
        if not due and not abandoned:
            return []
        async with self._database.writing() as connection:
            # Before the leases are written: no delay may make a hold longer
            # than its lease.
            held_until = elapsed_s() + self._timing.trusted_s
            # Abandoned jobs before new ones: they have waited longest.
            rows = await self._take(connection, self._claim_abandoned, abandoned, limit)
            rows += await self._take_due(
                connection,
                [queue for queue in due if queue in queues],
                [queue for queue in due if queue not in queues],
                limit - len(rows),
            )
            bodies = await self._fetch_bodies(connection, [row.id for row in rows])
        return [
            Claimed(
                row.id,
                row.queue,
                row.push_id,
                bodies.get(row.id, b""),
                row.deliveries,
                row.done or b"",
                held_until,
            )
            for row in rows
        ]

    async def renew(self, ids: Sequence[int]) -> Renewed:
        """Prolong the leases of these, waiting for nobody."""
        values = {"ids": list(ids), **self._database.now_values()}
        async with self._renewing.writing(lasting=False, urgent=True) as connection:
            # Before the database is asked, as for a claim.
            until = elapsed_s() + self._timing.trusted_s
            found = await connection.execute(self._renewal, values)
            prolonged = set(found.scalars())
            owners: dict[int, str] = {}
            if len(prolonged) < len(ids):
                asked = {"ids": list(ids)}
                # A plain read, which waits for no row lock.
                standing = await connection.execute(self._standing, asked)
                owners = {row.id: row.lease_owner for row in standing}
        held = prolonged | {id for id, owner in owners.items() if owner == self._owner}
        return Renewed(held, prolonged, owners.keys() - held, until)

    async def excuse(self, ids: Sequence[int]) -> None:
        """Take back one hand-out of these, whoever holds them now.

        Like a renewal it waits for no connection and no row. A hand-out whose row is
        locked at the moment stays counted; it takes many of those to matter.
        """
        jobs = self._tables.jobs
        held = (
            select(jobs.c.id)
            .where(
                jobs.c.id.in_(ids), jobs.c.lease_owner != NOBODY, jobs.c.deliveries > 1
            )
            .order_by(jobs.c.id)
            .with_for_update(skip_locked=True)
            .cte("held")
        )
        statement = (
            update(jobs)
            .where(jobs.c.id.in_(select(held.c.id)))
            .values(deliveries=jobs.c.deliveries - 1)
        )
        async with self._renewing.writing(lasting=False, urgent=True) as connection:
            await connection.execute(statement)

    async def close(self) -> None:
        """Let looks end that nobody waits for any more."""
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def record(self, progress: Mapping[int, bytes]) -> None:
        """Store bitmaps of jobs that this owner still holds."""
        jobs = self._tables.jobs
        statement = (
            update(jobs)
            .where(jobs.c.id == bindparam("job"), jobs.c.lease_owner == self._owner)
            .values(done=bindparam("bitmap"))
        )
        # Locked in id order, so that two statements never wait for each other.
        rows = [{"job": id, "bitmap": progress[id]} for id in sorted(progress)]
        async with self._database.writing(lasting=False) as connection:
            await connection.execute(statement, rows)

    def _was_set_forward(self) -> bool:
        """Whether leases may look ended only because this machine's clock was set.

        Then their holders, who are on the same machine, get the time to renew. Only
        where this machine's clock judges leases; not where a database server's does.
        """
        if not self._database.is_local:
            return False
        now_s, ahead_s = elapsed_s(), self._ahead_s()
        if ahead_s - self._known_ahead_s > _JUMP_S:
            self._take_over_from = now_s + self._timing.silent_ms / 1000
        self._known_ahead_s = ahead_s
        return now_s < self._take_over_from

    def _ahead_s(self) -> float:
        return self._database.clock.now_ms() / 1000 - elapsed_s()

    def _claim_of(self, which: ColumnElement[bool]) -> ReturningUpdate[Any]:
        """Takes `most` jobs of `of_queue`, oldest first."""
        jobs = self._tables.jobs
        picked = (
            select(jobs.c.id)
            .where(jobs.c.queue == bindparam("of_queue"), which)
            .order_by(jobs.c.run_at_ms, jobs.c.id)
            .limit(bindparam("most"))
            # Rows that a rival is taking are passed by; SQLite has no rivals here.
            .with_for_update(skip_locked=True)
            .cte("picked")
        )
        return (
            update(jobs)
            .where(jobs.c.id.in_(select(picked.c.id)))
            .values(
                lease_owner=self._owner,
                lease_until_ms=self._lease_end,
                deliveries=jobs.c.deliveries + 1,
            )
            .returning(
                jobs.c.id,
                jobs.c.queue,
                jobs.c.push_id,
                jobs.c.deliveries,
                jobs.c.done,
                jobs.c.run_at_ms,
            )
        )

    def _renewal_of_mine(self) -> ReturningUpdate[Any]:
        """Prolongs those of `ids` that this owner holds and nobody has locked."""
        jobs = self._tables.jobs
        mine = (
            select(jobs.c.id)
            .where(
                jobs.c.id.in_(bindparam("ids", expanding=True)),
                jobs.c.lease_owner == self._owner,
            )
            .order_by(jobs.c.id)
            .with_for_update(skip_locked=True)
            .cte("mine")
        )
        return (
            update(jobs)
            .where(jobs.c.id.in_(select(mine.c.id)))
            .values(lease_until_ms=self._lease_end)
            .returning(jobs.c.id)
        )

    async def _look(self, queues: Sequence[str]) -> tuple[list[str], list[str]]:
        """Those of these queues with due jobs, and those with abandoned ones.

        Readers that wake together share one look: a process has a reader for each
        lane, and nearly all of them look in vain.
        """
        self._wanted.update(queues)
        if self._looking is None:
            self._looking = asyncio.create_task(self._look_for_all())
            self._under_way.add(self._looking)
            self._looking.add_done_callback(self._end_look)
        rows = await asyncio.shield(self._looking)
        return (
            [queue for queue, held in rows if not held and queue in queues],
            [queue for queue, held in rows if held and queue in queues],
        )

    def _end_look(self, task: asyncio.Task[list[tuple[str, int]]]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # seen, also where everybody who asked is gone

    async def _look_for_all(self) -> list[tuple[str, int]]:
        await asyncio.sleep(0)  # whoever else wakes now says what it wants
        queues, self._wanted = tuple(sorted(self._wanted)), set()
        # Whoever comes from now on may want more than is asked for here.
        self._looking = None
        statement = self._looks.get(queues)
        if statement is None:
            statement = self._looks[queues] = self._look_at(queues)
        async with self._database.reading() as connection:
            found = await connection.execute(statement, self._database.now_values())
            return [(queue, held) for queue, held in found]

    def _look_at(self, queues: tuple[str, ...]) -> CompoundSelect[Any]:
        jobs = self._tables.jobs
        looks: list[Any] = [
            select(literal(queue).label("queue"), literal_column("0").label("held"))
            # Stops at the first row, however long the queue is.
            .where(exists().where(jobs.c.queue == queue, self._is_due))
            for queue in queues
        ]
        looks.append(
            select(jobs.c.queue, literal_column("1"))
            .where(jobs.c.queue.in_(queues), self._is_abandoned)
            .distinct()
        )
        return union_all(*looks)

    async def _take_due(
        self,
        connection: AsyncConnection,
        front: Sequence[str],
        behind: Sequence[str],
        limit: int,
    ) -> list[Row[Any]]:
        claim = self._claim_due
        rows: list[Row[Any]] = []
        if behind:
            sure = min(limit, self._share_behind.take(limit))
            rows += await self._take(connection, claim, behind, sure)
        rows += await self._take(connection, claim, front, limit - len(rows))
        rows += await self._take(connection, claim, behind, limit - len(rows))
        return rows

    async def _take(
        self,
        connection: AsyncConnection,
        claim: ReturningUpdate[Any],
        queues: Sequence[str],
        limit: int,
    ) -> list[Row[Any]]:
        """In rounds of equal shares, so that a flood on one queue waits its turn."""
        taken: list[Row[Any]] = []
        # The first queue gets the remainder of the division: they take turns.
        self._turn += 1
        start = self._turn % max(1, len(queues))
        still_open = [*queues[start:], *queues[:start]]
        while still_open and len(taken) < limit:
            share = max(1, (limit - len(taken)) // len(still_open))
            full: list[str] = []
            for queue in still_open:
                want = min(share, limit - len(taken))
                if not want:
                    break
                values = {
                    "of_queue": queue,
                    "most": want,
                    **self._database.now_values(),
                }
                rows = (await connection.execute(claim, values)).all()
                # RETURNING promises no order.
                taken += sorted(rows, key=lambda row: (row.run_at_ms, row.id))
                if len(rows) == want:
                    full.append(queue)
            still_open = full
        return taken

    async def _fetch_bodies(
        self, connection: AsyncConnection, ids: Sequence[int]
    ) -> dict[int, bytes]:
        bodies = self._tables.bodies
        statement = select(bodies.c.job_id, bodies.c.body).where(
            bodies.c.job_id.in_(ids)
        )
        found = await connection.execute(statement)
        return {row.job_id: row.body for row in found}
