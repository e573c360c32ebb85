"""The queue in SQL: PostgreSQL, or the SQLite file of the embedded default.

Part of the queue room; it must not know what a job means or when one is due.

A job is a narrow row with its body in another table; a lease in that row says who
works on it. One code serves both databases: SKIP LOCKED keeps workers on PostgreSQL
from waiting for each other, and SQLite has one writer at a time anyway. Writers of
the same process wake a waiting reader at once; jobs of other processes are found by
looking a few times a second, which costs less than a connection kept for LISTEN.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Mapping, Sequence

import structlog
from sqlalchemy import delete, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tocsin.core import accounts
from tocsin.core.accounts import Account, Change, Counts, WalkPage, first_account
from tocsin.core.dead_letters import DeadStock, LetterHead, Mend
from tocsin.core.errors import QueueFull
from tocsin.core.lanes import retry_queue
from tocsin.core.ports.clock import Clock
from tocsin.core.ports.queue import Delivery, QueuePosition
from tocsin.core.push import DeadLetter, Job, Payload
from tocsin.protocol.job_codec import (
    Undecodable,
    encode_job,
    encode_letter,
    encode_payload,
    find_payload,
    parse_cancelled,
    parse_job,
)
from tocsin.queue.migrations import migrate, queue_schema
from tocsin.queue.rules import HighWater, Timing
from tocsin.queue.sql_accounts import AccountRows, SqlAccounts
from tocsin.queue.sql_claim import NOBODY, Claimed, Claims
from tocsin.queue.sql_connection import QueueDatabase
from tocsin.queue.sql_jobs import JobRows, find_or_make_origin, find_origin, last_job_id
from tocsin.queue.sql_operator import DeadTable, SqlLetterShelf
from tocsin.queue.sql_tables import build_tables

_LOOK_S = {"sqlite": 0.25, "postgresql": 0.1}
"""Seconds between two looks of a waiting reader."""

_log = structlog.get_logger(__name__)


class SqlJobQueue:
    """`JobQueue` in a database; see the port for what each method promises.

    The engine belongs to whoever opened it and is not closed here. `owner` must be a
    name that no other process has or had: a restarted process would take the entries
    of the old one for its own. `max_pending` is per queue; requests that are accepted
    at the same moment may exceed it by their own jobs. Every method raises
    `QueueUnavailable` while the database is away.

    `leases` is an engine of one connection to the same PostgreSQL, for renewals only:
    they must not wait until a worker's other work leaves a connection of `engine`
    free. A process that holds no jobs never opens it.

    A `clock`, for tests, stands for the server's; without one, dead letters get the
    time of `dates`.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        *,
        owner: str,
        prefix: str = "",
        max_pending: int = 100_000,
        takeover_s: float = 15,
        clock: Clock | None = None,
        leases: AsyncEngine | None = None,
        dates: Clock | None = None,
    ) -> None:
        self._database = QueueDatabase(engine, clock, dates=dates)
        renewing = self._database
        if leases is not None and not self._database.is_sqlite:
            renewing = QueueDatabase(leases, clock)
        self._prefix = prefix
        self._tables = build_tables(prefix)
        self._limit = max_pending
        self._timing = Timing(takeover_s)
        self._claims = Claims(
            self._database,
            self._tables,
            owner=owner,
            timing=self._timing,
            renewing=renewing,
        )
        self._rows = JobRows(self._database, self._tables)
        self._accounts = AccountRows(self._database, self._tables)
        self.accounts = SqlAccounts(self._database, self._tables)
        self.letters = SqlLetterShelf(self._database, self._tables)
        self._dead = DeadTable(self._tables, self._rows, self._accounts)
        self._look_s = min(_LOOK_S[engine.dialect.name], self._timing.beat_s)
        self._high_water = HighWater()
        self._wake = asyncio.Event()
        self._next_look: asyncio.TimerHandle | None = None
        self._next_housekeeping = time.monotonic() + self._timing.housekeeping_s

    async def start(self) -> None:
        """Make or update the tables; safe while others do the same."""
        await self._database.prepare()
        async with self._database.reading() as connection:
            if await queue_schema(self._prefix).is_settled(connection):
                return
        async with self._database.writing() as connection:
            applied = await migrate(connection, self._prefix)
        if applied:
            _log.info("queue tables updated", steps=len(applied))

    async def start_as_it_is(self) -> None:
        """Instead of `start`: make nothing; raises `MigrationError`."""
        async with self._database.reading() as connection:
            await queue_schema(self._prefix).require_head(connection)

    # --- JobProducer ---

    async def enqueue(
        self,
        payload: Payload,
        jobs: Sequence[Job],
        *,
        once_ttl_s: float = 0,
        due_ms: int = 0,
        account: Account | None = None,
    ) -> bool:
        """Store the payload and all jobs in one transaction; see the port.

        A committed transaction outlives a power cut, so a `reliable` payload needs no
        further step.
        """
        encoded = [(job, encode_job(job), due_ms) for job in jobs]
        body = encode_payload(payload)
        before, highest = self._high_water.certain, 0
        async with self._database.writing() as connection:
            # First: a second call with this push id waits here for the end
            # of the first.
            if once_ttl_s > 0 and not await self._rows.mark_once(
                connection, payload.push_id, once_ttl_s
            ):
                return False
            # Before the limits are looked at: what is accepted already is not refused.
            if account is not None or accounts.is_kept(jobs):
                account = account or first_account(jobs, secrets.token_hex(8))
                if not await self._accounts.add(
                    connection, payload.push_id, account, even_if_marked=once_ttl_s > 0
                ):
                    return False
            elif once_ttl_s <= 0 and await self._rows.is_marked(
                connection, payload.push_id
            ):
                return False
            for queue in sorted({job.queue for job in jobs}):
                new = sum(job.queue == queue for job in jobs)
                unfinished = await self._rows.count(
                    connection, (queue, retry_queue(queue)), self._limit
                )
                if unfinished + new > self._limit:
                    raise QueueFull
            if encoded:
                await self._rows.add_payload(
                    connection, payload.push_id, body, len(encoded)
                )
                highest = await self._rows.add(
                    connection, encoded, scheduled_uid=payload.uid
                )
        if highest:
            self._high_water.take(highest, before=before)
        # After the commit: a reader that looks earlier would see nothing.
        self._wake_readers()
        return True

    async def cancel(self, uid: str) -> list[Job]:
        """Take back jobs of this uid that nobody was handed; see the port."""
        async with self._database.writing() as connection:
            taken = await self._rows.take_back(connection, uid)
            for push_id, number in Counter(push_id for push_id, _ in taken).items():
                bodies = (body for of_push, body in taken if of_push == push_id)
                gone = [accounts.cancelled(job) for job in parse_cancelled(bodies, uid)]
                changes = [change for change in gone if change is not None]
                await self._accounts.change(connection, push_id, changes)
                await self._count_jobs(connection, push_id, -number)
        return parse_cancelled((body for _, body in taken), uid)

    # --- JobConsumer ---

    async def receive(
        self,
        queues: Sequence[str],
        *,
        limit: int,
        wait_s: float,
        behind: Sequence[str] = (),
    ) -> list[Delivery]:
        """Up to `limit` due entries; see the port."""
        if not queues or limit < 1:
            return []
        deadline = time.monotonic() + wait_s
        while True:
            await self._keep_house()
            # Read before the look: a job that is added after the look sets this event.
            wake = self._wake
            deliveries = await self._claim(queues, limit, behind)
            left_s = deadline - time.monotonic()
            if deliveries or left_s <= 0:
                return deliveries
            if self._next_look is None:
                # One timer for all readers, so that they wake together: see `Claims`.
                loop = asyncio.get_running_loop()
                self._next_look = loop.call_later(self._look_s, self._look_again)
            try:
                async with asyncio.timeout(left_s):
                    await wake.wait()
            except TimeoutError:
                continue

    async def fetch_payload(self, push_id: str) -> Payload | None:
        """The stored payload; see the port."""
        payloads = self._tables.payloads
        statement = select(payloads.c.body).where(payloads.c.push_id == push_id)
        async with self._database.reading() as connection:
            body = (await connection.execute(statement)).scalar()
        return find_payload(body, push_id)

    async def record_progress(self, progress: Mapping[str, bytes]) -> None:
        """Store the bitmaps of jobs that this owner still holds."""
        if progress:
            await self._claims.record(
                {int(receipt): done for receipt, done in progress.items()}
            )

    async def settle(
        self,
        delivery: Delivery,
        *,
        follow: Sequence[tuple[Job, int]] = (),
        dead: Sequence[tuple[Job, str]] = (),
        ended: Counts = accounts.NOTHING,
        page: WalkPage | None = None,
    ) -> bool:
        """End a delivery and add what follows; the first who settles wins."""
        now_ms = self._database.clock.now_ms()
        letters = [
            (job.queue, encode_letter(job, reason, now_ms), b"") for job, reason in dead
        ]
        job = delivery.job
        change = accounts.settled(
            job,
            [each for each, _ in follow],
            ended=ended,
            page=page,
            is_dead=bool(dead),
        )
        receipt = int(delivery.receipt)
        return await self._end(receipt, job.push_id, follow, letters, change)

    async def keep_alive(self, deliveries: Sequence[Delivery]) -> list[str]:
        """Renew the hold on these; returns the receipts that were lost."""
        if not deliveries:
            return []
        renewed = await self._claims.renew([int(each.receipt) for each in deliveries])
        for each in deliveries:
            if int(each.receipt) in renewed.prolonged:
                each.held_until = renewed.until
        if renewed.taken:  # not those that were settled meanwhile: they have no row
            await self._claims.excuse(sorted(renewed.taken))
        return [
            each.receipt for each in deliveries if int(each.receipt) not in renewed.held
        ]

    async def excuse(self, deliveries: Sequence[Delivery]) -> None:
        """Do not count the last hand-out of these; see the port."""
        if deliveries:
            await self._claims.excuse([int(each.receipt) for each in deliveries])

    async def find_queued(self, deliveries: Sequence[Delivery]) -> set[str]:
        """Those whose row is there; see the port."""
        jobs = self._tables.jobs
        ids = [int(delivery.receipt) for delivery in deliveries]
        async with self._database.reading() as connection:
            found = await connection.execute(
                select(jobs.c.id).where(jobs.c.id.in_(ids))
            )
            return {str(id) for id in found.scalars()}

    # --- what every process asks, and operators ---

    async def position(self) -> QueuePosition:
        """Which data this is, and how far it has come; see the port.

        The number is that of the last job: it rises also where a transaction that
        made one was rolled back, and never falls without loss.
        """
        high_water = self._high_water
        before = high_water.certain
        async with self._database.reading() as connection:
            epoch = await find_origin(connection, self._tables.origin)
            reached = await last_job_id(connection, self._tables.jobs)
        if epoch is None:
            async with self._database.writing() as connection:
                epoch = await find_or_make_origin(connection, self._tables.origin)
        high_water.compare(reached, before=before)
        return QueuePosition(epoch, reached, high_water.certain, high_water.missing)

    async def waiting(
        self, queues: Sequence[str], *, only_due: bool = False
    ) -> dict[str, int]:
        """Entries per queue that nobody holds; see the port."""
        jobs = self._tables.jobs
        statement = (
            select(jobs.c.queue, func.count().label("number"))
            .where(jobs.c.queue.in_(queues), jobs.c.lease_owner == NOBODY)
            .group_by(jobs.c.queue)
        )
        values: dict[str, int] = {}
        if only_due:
            statement = statement.where(jobs.c.run_at_ms <= self._database.now)
            values = self._database.now_values()
        async with self._database.reading() as connection:
            rows = await connection.execute(statement, values)
            found = {row.queue: row.number for row in rows}
        return {queue: found.get(queue, 0) for queue in queues}

    async def list_dead(self, *, limit: int, after: str = "") -> list[DeadLetter]:
        """Dead letters, oldest first, after the given id."""
        async with self._database.reading() as connection:
            return await self._dead.fetch_page(connection, limit=limit, after=after)

    async def scan_dead(self, *, limit: int, after: str = "") -> list[LetterHead]:
        """Dead letters without recipients and payloads; see the port."""
        async with self._database.reading() as connection:
            return await self._dead.fetch_heads(connection, limit=limit, after=after)

    async def fetch_dead(self, id: str) -> tuple[DeadLetter, Payload | None] | None:
        """A whole letter with its payload; see the port."""
        async with self._database.reading() as connection:
            return await self._dead.fetch(connection, id)

    async def count_dead(self) -> DeadStock:
        """How many there are; see the port."""
        async with self._database.reading() as connection:
            return await self._dead.count(connection)

    async def replay_dead(self, ids: Sequence[str], *, mend: Mend | None = None) -> int:
        """Put these back to work with fresh attempts; see the port."""
        async with self._database.writing() as connection:
            replayed = await self._dead.replay(connection, ids, mend)
        self._wake_readers()
        return replayed

    async def purge_dead(self, ids: Sequence[str]) -> int:
        """Forget these for good; returns how many."""
        async with self._database.writing() as connection:
            return await self._dead.purge(connection, ids)

    async def now_ms(self) -> int | None:
        """The database's clock; `None` on SQLite, which has this machine's."""
        if self._database.is_local:
            return None
        async with self._database.reading() as connection:
            told = await connection.execute(
                select(self._database.now), self._database.now_values()
            )
            return int(told.scalar_one())

    async def check(self) -> None:
        """Raise `QueueUnavailable` if the database does not answer now."""
        async with self._database.reading() as connection:
            await connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        """Nothing is kept open; what is still held is left for take-over."""
        if self._next_look is not None:
            self._next_look.cancel()
        await self._claims.close()

    async def _claim(
        self, queues: Sequence[str], limit: int, behind: Sequence[str]
    ) -> list[Delivery]:
        deliveries = []
        for claimed in await self._claims.claim(queues, limit, behind):
            try:
                job = parse_job(claimed.body)
            except Undecodable as error:
                await self._bury(claimed, f"undecodable: {error}")
                continue
            deliveries.append(
                Delivery(
                    job,
                    str(claimed.id),
                    claimed.count,
                    claimed.done,
                    claimed.held_until,
                )
            )
        return deliveries

    async def _bury(self, claimed: Claimed, reason: str) -> None:
        _log.error(
            "queue entry cannot be read and went to the dead letters: replay it"
            " with the release that wrote it, or purge it",
            receipt=str(claimed.id),
            push_id=claimed.push_id,
            reason=reason,
        )
        letter = encode_letter(None, reason, self._database.clock.now_ms())
        letters = [(claimed.queue, letter, claimed.body)]
        await self._end(claimed.id, claimed.push_id, (), letters, None, unread=True)

    async def _end(
        self,
        id: int,
        push_id: str,
        follow: Sequence[tuple[Job, int]],
        letters: Sequence[tuple[str, bytes, bytes]],
        change: Change | None,
        *,
        unread: bool = False,
    ) -> bool:
        for job, _ in follow:
            if job.push_id != push_id:
                raise ValueError(f"job {job.id} follows from another request's job")
        encoded = [(job, encode_job(job), due_ms) for job, due_ms in follow]
        async with self._database.writing() as connection:
            # First: deleting the row decides between two who settle.
            if not await self._rows.remove(connection, id):
                return False
            if encoded:
                await self._rows.add(connection, encoded)
            # Letters copy the payload, which goes with the last job: so they come
            # before the count.
            if letters:
                await self._dead.add(connection, push_id, letters)
            if change is not None:
                await self._accounts.change(connection, push_id, [change])
            if unread:
                await self._accounts.count_unread(connection, push_id)
            await self._count_jobs(connection, push_id, len(follow) - 1)
        if follow:
            self._wake_readers()
        return True

    async def _count_jobs(
        self, connection: AsyncConnection, push_id: str, change: int
    ) -> None:
        """Count jobs of a request up or down; the last one ends its account."""
        if await self._rows.change_outstanding(connection, push_id, change):
            await self._accounts.end(connection, push_id)

    def _look_again(self) -> None:
        self._next_look = None
        self._wake_readers()

    def _wake_readers(self) -> None:
        # A new event each time. Clearing a shared one could hide a job from a reader
        # that had not seen it yet.
        wake, self._wake = self._wake, asyncio.Event()
        wake.set()

    async def _keep_house(self) -> None:
        if time.monotonic() < self._next_housekeeping:
            return
        self._next_housekeeping = time.monotonic() + self._timing.housekeeping_s
        values = self._database.now_values()
        async with self._database.writing(lasting=False) as connection:
            for table in (self._tables.once, self._tables.rates):
                over = table.c.expires_ms <= self._database.now
                await connection.execute(delete(table).where(over), values)
            await self._accounts.purge(connection)
