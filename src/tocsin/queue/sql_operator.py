"""What operators do with a SQL queue: its dead letters, and its move elsewhere.

Part of the queue room; it must not decide what dies, nor work on jobs.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
    Table,
    and_,
    delete,
    func,
    insert,
    not_,
    select,
)
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tocsin.core.accounts import Account
from tocsin.core.dead_letters import DeadStock, LetterHead, Mend
from tocsin.core.errors import BadRequest
from tocsin.core.ports.clock import Clock
from tocsin.core.ports.queue_stock import Stored, StoredLetter
from tocsin.core.push import DeadLetter, Payload
from tocsin.protocol.job_codec import (
    PAYLOAD_HEAD,
    find_payload,
    parse_letter,
    parse_letter_head,
    without_done,
)
from tocsin.queue.replays import find_work
from tocsin.queue.rules import MOVE_MARK_S
from tocsin.queue.sql_accounts import AccountRows, SqlAccounts
from tocsin.queue.sql_claim import NOBODY
from tocsin.queue.sql_connection import QueueDatabase
from tocsin.queue.sql_jobs import JobRows, find_or_make_origin
from tocsin.queue.sql_tables import Tables, build_tables

_LARGEST_ID = 2**63 - 1


class DeadTable:
    """Letters with the job, the reason and a copy of the payload."""

    def __init__(self, tables: Tables, rows: JobRows, accounts: AccountRows) -> None:
        self._tables = tables
        self._rows = rows
        self._accounts = accounts

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
        statement = (
            select(dead)
            .where(dead.c.id > _start_after(after))
            .order_by(dead.c.id)
            .limit(max(1, limit))
        )
        return [_letter_of(row) for row in await connection.execute(statement)]

    async def fetch_heads(
        self, connection: AsyncConnection, *, limit: int, after: str
    ) -> list[LetterHead]:
        """As `fetch_page`, without recipients and payloads."""
        dead = self._tables.dead.c
        payload = func.substr(dead.payload, 1, PAYLOAD_HEAD).label("payload")
        statement = (
            select(dead.id, dead.queue, dead.push_id, dead.letter, payload)
            .where(dead.id > _start_after(after))
            .order_by(dead.id)
            .limit(max(1, limit))
        )
        return [
            parse_letter_head(
                row.letter,
                id=str(row.id),
                queue=row.queue,
                push_id=row.push_id,
                # SQLite calls a part of nothing NULL.
                payload=row.payload or b"",
            )
            for row in await connection.execute(statement)
        ]

    async def fetch(
        self, connection: AsyncConnection, id: str
    ) -> tuple[DeadLetter, Payload | None] | None:
        """A whole letter with its payload; see the port."""
        dead = self._tables.dead
        statement = select(dead).where(dead.c.id.in_(_known_form([id])))
        row = (await connection.execute(statement)).first()
        if row is None:
            return None
        letter = _letter_of(row)
        return letter, find_payload(row.payload or None, letter.job.push_id)

    async def count(self, connection: AsyncConnection) -> DeadStock:
        """How many there are; see the port."""
        ids = self._tables.dead.c.id
        statement = select(func.count(), func.min(ids), func.max(ids))
        count, first, last = (await connection.execute(statement)).one()
        return DeadStock(count, str(first), str(last)) if count else DeadStock()

    async def replay(
        self, connection: AsyncConnection, ids: Sequence[str], mend: Mend | None
    ) -> int:
        """Deleting the letter decides between two who replay it."""
        dead = self._tables.dead
        statement = select(dead).where(dead.c.id.in_(_known_form(ids)))
        found = (await connection.execute(statement)).all()
        replayed = 0
        # In one order, so that two who replay the same letters never deadlock.
        for row in sorted(found, key=lambda row: (row.push_id, row.id)):
            work = find_work(
                row.letter,
                row.raw,
                row.payload,
                queue=row.queue,
                mend=mend,
            )
            if work is None or not await self.purge(connection, [str(row.id)]):
                continue
            # Before the payload, as in a settlement: in one order nobody deadlocks.
            if work.change is not None:
                await self._accounts.reopen(
                    connection,
                    row.push_id,
                    work.change,
                    generation=secrets.token_hex(8),
                )
            await self._rows.add_payload(connection, row.push_id, row.payload, 1)
            await self._rows.add_raw(
                connection, [(work.queue, row.push_id, work.job, 0)]
            )
            replayed += 1
        return replayed

    async def purge(self, connection: AsyncConnection, ids: Sequence[str]) -> int:
        """Delete these letters; returns how many there were."""
        dead = self._tables.dead
        # Locked in order, so that two who purge or replay never deadlock.
        meant = (
            select(dead.c.id)
            .where(dead.c.id.in_(_known_form(ids)))
            .order_by(dead.c.id)
            .with_for_update()
            .cte("meant")
        )
        gone = await connection.execute(
            delete(dead).where(dead.c.id.in_(select(meant.c.id))).returning(dead.c.id)
        )
        return len(gone.all())


def _letter_of(row: Any) -> DeadLetter:
    return parse_letter(
        row.letter,
        id=str(row.id),
        queue=row.queue,
        push_id=row.push_id,
        payload=row.payload,
    )


def _start_after(id: str) -> int:
    found = _known_form([id]) if id else [0]
    if not found:
        raise BadRequest("after", "is not the id of a dead letter")
    return found[0]


def _known_form(ids: Sequence[str]) -> list[int]:
    short = [id for id in ids if len(id) <= len(str(_LARGEST_ID))]
    numbers = [int(id) for id in short if id.isascii() and id.isdigit()]
    # The database would refuse a larger one with an error.
    return [number for number in numbers if number <= _LARGEST_ID]


class SqlLetterShelf:
    """`LetterShelf` in a database; see the port."""

    def __init__(self, database: QueueDatabase, tables: Tables) -> None:
        self._database = database
        self._dead = tables.dead

    async def fetch(self, *, after: str, limit: int) -> list[StoredLetter]:
        """Some letters in the order of their ids."""
        dead = self._dead
        start = int(after) if after else 0
        statement = (
            select(dead).where(dead.c.id > start).order_by(dead.c.id).limit(limit)
        )
        async with self._database.reading() as connection:
            return [
                StoredLetter(
                    str(row.id),
                    row.queue,
                    row.push_id,
                    row.letter,
                    row.raw,
                    row.payload,
                )
                for row in await connection.execute(statement)
            ]

    async def put_back(self, letters: Sequence[StoredLetter]) -> None:
        """Keep these too, under new ids."""
        async with self._database.writing() as connection:
            for letter in letters:
                await _keep(connection, self._dead, letter)


async def _keep(connection: AsyncConnection, dead: Table, letter: StoredLetter) -> None:
    await connection.execute(
        insert(dead).values(
            queue=letter.queue,
            push_id=letter.push_id,
            letter=letter.letter,
            raw=letter.raw,
            payload=letter.payload,
        )
    )


class SqlQueueStock:
    """`QueueStock` in a database; the engine stays its opener's.

    The queue's tables must be there: `SqlJobQueue.start` makes them.
    """

    def __init__(
        self, engine: AsyncEngine, *, prefix: str = "", clock: Clock | None = None
    ) -> None:
        self._database = QueueDatabase(engine, clock)
        self._tables = build_tables(prefix)
        self._rows = JobRows(self._database, self._tables)
        self._account_rows = AccountRows(self._database, self._tables)
        self._accounts = SqlAccounts(self._database, self._tables)
        self._letters = SqlLetterShelf(self._database, self._tables)
        self._dead = DeadTable(self._tables, self._rows, self._account_rows)

    async def origin(self) -> str:
        """The name of this queue; see the port."""
        async with self._database.writing() as connection:
            return await find_or_make_origin(connection, self._tables.origin)

    async def count_held(self) -> int:
        """Entries that a living worker holds; see the port."""
        statement = select(func.count()).where(self._held())
        async with self._database.reading() as connection:
            found = await connection.execute(statement, self._database.now_values())
            return int(found.scalar_one())

    async def fetch_entries(
        self, *, limit: int
    ) -> tuple[list[Stored], dict[str, bytes]]:
        """Some entries and their payloads; see the port."""
        jobs, bodies = self._tables.jobs.c, self._tables.bodies.c
        payloads = self._tables.payloads.c
        statement = (
            select(
                jobs.id,
                jobs.queue,
                jobs.push_id,
                jobs.done,
                jobs.run_at_ms,
                jobs.deliveries,
                jobs.scheduled_uid,
                bodies.body,
                self._database.now.label("now_ms"),
            )
            .join(self._tables.bodies, bodies.job_id == jobs.id, isouter=True)
            .where(not_(self._held()))
            .order_by(jobs.run_at_ms, jobs.id)
            .limit(limit)
        )
        async with self._database.reading() as connection:
            rows = await connection.execute(statement, self._database.now_values())
            entries = [_stored(row) for row in rows]
            found = await connection.execute(
                select(payloads.push_id, payloads.body).where(
                    payloads.push_id.in_({entry.push_id for entry in entries})
                )
            )
            return entries, {row.push_id: row.body for row in found}

    async def fetch_accounts(self, push_ids: Collection[str]) -> dict[str, Account]:
        """The accounts of these sends; see the port."""
        return await self._accounts.find(sorted(push_ids))

    async def fetch_letters(self, *, limit: int) -> list[StoredLetter]:
        """Some dead letters; see the port."""
        return await self._letters.fetch(after="", limit=limit)

    async def take_in(
        self,
        entries: Sequence[Stored],
        payloads: Mapping[str, bytes],
        letters: Sequence[StoredLetter] = (),
        *,
        origin: str,
        accounts: Mapping[str, Account] | None = None,
    ) -> None:
        """Store all of these once, in one transaction; see the port."""
        known = accounts or {}
        async with self._database.writing() as connection:
            for entry in entries:
                if await self._is_new(
                    connection, origin, "entry", entry
                ) and await self._account_rows.take_in(
                    connection, entry.push_id, known.get(entry.push_id), entry.ended
                ):
                    if body := payloads.get(entry.push_id):
                        await self._rows.add_payload(connection, entry.push_id, body, 1)
                    await self._rows.add_raw(
                        connection,
                        [(entry.queue, entry.push_id, entry.job, entry.due_ms)],
                        scheduled_uid=entry.scheduled_uid or None,
                    )
            for letter in letters:
                if await self._is_new(connection, origin, "letter", letter):
                    await _keep(connection, self._tables.dead, letter)

    async def give_up(
        self, entries: Sequence[Stored], letters: Sequence[StoredLetter] = ()
    ) -> None:
        """Forget these; see the port."""
        async with self._database.writing() as connection:
            gone: Counter[str] = Counter()
            for entry in entries:
                if await self._rows.remove(connection, int(entry.id)):
                    gone[entry.push_id] += 1
            for push_id, number in gone.items():
                if await self._rows.change_outstanding(connection, push_id, -number):
                    await self._account_rows.remove(connection, push_id)
            if letters:
                await self._dead.purge(connection, [letter.id for letter in letters])

    async def _is_new(
        self,
        connection: AsyncConnection,
        origin: str,
        kind: str,
        what: Stored | StoredLetter,
    ) -> bool:
        mark = f"moved:{origin}:{kind}:{what.queue}:{what.id}"
        return await self._rows.mark_once(connection, mark, MOVE_MARK_S)

    def _held(self) -> ColumnElement[bool]:
        jobs = self._tables.jobs.c
        return and_(
            jobs.lease_owner != NOBODY, jobs.lease_until_ms > self._database.now
        )


def _stored(row: Row[Any]) -> Stored:
    job, ended = without_done(row.body or b"", row.done or b"")
    return Stored(
        str(row.id),
        row.queue,
        row.push_id,
        job,
        row.run_at_ms if row.run_at_ms > row.now_ms else 0,
        # A job that was handed out has begun, so nobody can cancel it.
        "" if row.deliveries else row.scheduled_uid or "",
        ended,
    )
