"""Transactions of the SQL queue and the faults of its database.

Part of the queue room; it must not know the queue's tables.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Table, bindparam, cast, exc, func
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tocsin.core.clock import SystemClock
from tocsin.core.errors import QueueUnavailable
from tocsin.core.ports.clock import Clock
from tocsin.sql_access.dialects import inserting, switch_to_wal


class QueueDatabase:
    """One engine, seen as short transactions. The engine stays its opener's.

    On SQLite a transaction that writes takes the write lock at its start: one that has
    read first cannot become a writer once another connection has changed the file.
    """

    def __init__(
        self, engine: AsyncEngine, clock: Clock | None, *, dates: Clock | None = None
    ) -> None:
        """A `clock` stands for the server's; without it, letters get `dates`' time."""
        self._engine = engine
        self.is_sqlite = engine.dialect.name == "sqlite"
        # SQLite has one writer at a time. Waiting here costs nothing; waiting in the
        # driver would keep a thread busy.
        self._writer = asyncio.Lock()
        # Ordinary writers wait for this lock first. So at most one of them waits for
        # `_writer`, and an urgent one waits for two others at most.
        self._line = asyncio.Lock()
        self._given = clock is not None
        self.clock = clock or dates or SystemClock()
        # Several hosts judge leases, and on PostgreSQL they share its clock.
        # statement_timestamp is STABLE, so that conditions with it can use an index.
        self._shared_clock = clock is None and not self.is_sqlite

    @property
    def now(self) -> ColumnElement[int]:
        """Unix milliseconds in a statement; execute it with `now_values`."""
        if self._shared_clock:
            seconds = func.extract("epoch", func.statement_timestamp())
            return cast(seconds * 1000, BigInteger)
        return bindparam("now_ms", type_=BigInteger)

    @property
    def is_local(self) -> bool:
        """Whether this machine's clock gives the times."""
        return self.is_sqlite and not self._given

    def inserting(self, table: Table) -> postgresql.Insert | sqlite.Insert:
        """See `dialects.inserting`."""
        return inserting(table, self._engine.dialect.name)

    def now_values(self) -> dict[str, int]:
        """The values that `now` needs."""
        return {} if self._shared_clock else {"now_ms": self.clock.now_ms()}

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """For statements that change nothing, each a transaction of its own.

        On PostgreSQL that is one trip to the server instead of three.
        """
        with _own_errors():
            async with self._engine.connect() as connection:
                if not self.is_sqlite:
                    connection = await connection.execution_options(
                        isolation_level="AUTOCOMMIT"
                    )
                yield connection

    @asynccontextmanager
    async def writing(
        self, *, lasting: bool = True, urgent: bool = False
    ) -> AsyncIterator[AsyncConnection]:
        """A transaction that is committed at the end, rolled back on an error.

        A `lasting` one outlives a power cut once it is committed. Without `lasting` it
        outlives the death of any process only, and does not wait for the disk. On
        SQLite an `urgent` one waits for two others of this process at most.
        """
        with _own_errors():
            if self.is_sqlite:
                line = nullcontext() if urgent else self._line
                async with (
                    line,
                    self._writer,
                    self._sqlite_writing(lasting) as connection,
                ):
                    yield connection
                return
            async with self._engine.begin() as connection:
                if not lasting:
                    await connection.exec_driver_sql(
                        "SET LOCAL synchronous_commit = off"
                    )
                yield connection

    async def prepare(self) -> None:
        """Put a SQLite file into WAL mode; see `switch_to_wal`."""
        if not self.is_sqlite:
            return
        with _own_errors():
            async with self._engine.connect() as connection:
                await switch_to_wal(await _driver(connection))

    @asynccontextmanager
    async def _sqlite_writing(self, lasting: bool) -> AsyncIterator[AsyncConnection]:
        async with self._engine.connect() as connection:
            if not lasting:
                await _pragma(connection, "synchronous = NORMAL")
            try:
                # The option asks an engine that begins by itself for a writer.
                writing = await connection.execution_options(tocsin_write=True)
                async with writing.begin():
                    if not (await _driver(writing)).in_transaction:
                        await writing.exec_driver_sql("BEGIN IMMEDIATE")
                    yield writing
                if not lasting:
                    await _pragma(connection, "synchronous = FULL")
            except BaseException:
                if not lasting:
                    # Its next user must not get a connection that syncs less.
                    await connection.invalidate()
                raise


async def _driver(connection: AsyncConnection) -> Any:
    return (await connection.get_raw_connection()).driver_connection


async def _pragma(connection: AsyncConnection, setting: str) -> None:
    # On the driver itself: SQLAlchemy would begin a transaction, and inside one
    # this setting is refused.
    cursor = await (await _driver(connection)).execute(f"PRAGMA {setting}")
    await cursor.close()


@contextmanager
def _own_errors() -> Iterator[None]:
    try:
        yield
    except (exc.SQLAlchemyError, sqlite3.Error, OSError) as error:
        raise QueueUnavailable(_reason(error)) from error


def _reason(error: Exception) -> str:
    # The driver's own words in one line, without statement and parameters.
    words = str(getattr(error, "orig", None) or error).split("\n", 1)[0]
    return f"the queue's database answers: {words[:200]}"
