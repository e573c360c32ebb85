"""Opens the database and runs transactions on it, with retries and own errors.

Part of the storage room; it must not know any table, nor load Alembic.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

import orjson
from sqlalchemy import Connection, event
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.util import await_only

from tocsin.core.errors import DependencyLost
from tocsin.sql_access.dialects import switch_to_wal
from tocsin.storage.errors import FOREIGN, own_error, worth_retrying
from tocsin.storage.liveness import connection_defaults, refuse_ended
from tocsin.storage.pool import CountedPool
from tocsin.storage.sqlite_file import SqliteFile
from tocsin.storage.writability import find_refusal, try_postgres, try_sqlite
from tocsin.telemetry.metrics import PoolStats

T = TypeVar("T")

Dialect = Literal["postgresql", "sqlite"]

_BUSY_TIMEOUT_S = 5.0
_RETRIES = 8
_RETRY_BUDGET_S = 15.0
_SQLITE_READERS = 5
_WRITE = "tocsin_write"


class Database:
    """One open database; repositories share it, and its opener closes it.

    `read` and `write` take a function of a connection and run it in one
    transaction. It may be called again after a deadlock, a lost race or a lost
    connection, so it must keep no state outside the transaction.
    """

    def __init__(
        self, engine: AsyncEngine, dialect: Dialect, *, file: SqliteFile | None = None
    ) -> None:
        self.engine = engine
        self._file = file
        self.dialect: Dialect = dialect
        # SQLite has one writer at a time. Waiting here costs nothing; waiting in the
        # driver would keep a thread busy.
        self._writer = asyncio.Lock() if dialect == "sqlite" else None
        self._tasks: set[asyncio.Task[Any]] = set()

    async def read(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Run `work` in a transaction that changes nothing."""
        return await self._run(self._reading, work)

    async def write(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Run `work` in a transaction and commit it."""
        return await self._run(self._writing, work)

    async def write_alone(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Run `work`, which is one statement: a transaction by itself.

        On PostgreSQL that is one trip to the server instead of three.
        """
        return await self._run(self._writing_alone, work)

    async def check(self) -> None:
        """Raise an `ApiError` that says what is wrong unless it takes writes.

        `DependencyLost` where it says that it takes none, or where its SQLite file
        was moved away or replaced.
        """
        if self._file is not None and (change := self._file.find_change()):
            raise DependencyLost(change)
        try:
            if self.dialect == "sqlite":
                async with self._writing() as connection:
                    await try_sqlite(connection)
            else:
                async with self.engine.connect() as connection:
                    await try_postgres(connection)
        except FOREIGN as error:
            raise (find_refusal(error) or own_error(error)) from error

    def pool_stats(self) -> PoolStats:
        """How the connections are used now, and were since the start."""
        pool = self.engine.pool
        if not isinstance(pool, CountedPool):
            return PoolStats()
        busy, free = pool.checkedout(), pool.checkedin()
        return PoolStats(
            max_conns=pool.size(),
            total_conns=busy + free,
            idle_conns=free,
            acquired_conns=busy,
            acquires_total=pool.acquires,
            empty_acquires_total=pool.empty_acquires,
            canceled_acquires_total=pool.canceled_acquires,
            acquire_wait_seconds_total=pool.acquire_wait_s,
        )

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` beside its caller; `close` waits for it."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Let running work end and close all connections.

        Whoever still uses one may go on; it is closed when it is given back.
        """
        # A loop, because a task may spawn another.
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        if isinstance(self.engine.pool, CountedPool):
            self.engine.pool.shut()
        await self.engine.dispose()

    async def _run(
        self,
        transaction: Callable[[], Any],
        work: Callable[[AsyncConnection], Awaitable[T]],
    ) -> T:
        started = time.monotonic()
        attempt = 0
        while True:
            attempt += 1
            try:
                async with transaction() as connection:
                    result = await work(connection)
            except FOREIGN as error:
                late = time.monotonic() - started > _RETRY_BUDGET_S
                if late or attempt >= _RETRIES or not worth_retrying(error):
                    raise own_error(error) from error
            else:
                return result
            # Two that collided must not meet again at the same moment.
            await asyncio.sleep(random.uniform(0.0, 0.01 * attempt))  # noqa: S311 - spread, not a secret

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncConnection]:
        async with self.engine.connect() as connection:
            yield connection

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[AsyncConnection]:
        if self._writer is None:
            async with self.engine.begin() as connection:
                yield connection
            return
        async with self._writer, self.engine.connect() as connection:
            # `_begin_sqlite` reads it and begins as a writer.
            writing = await connection.execution_options(**{_WRITE: True})
            async with writing.begin():
                yield writing

    @asynccontextmanager
    async def _writing_alone(self) -> AsyncIterator[AsyncConnection]:
        if self._writer is not None:
            async with self._writing() as connection:
                yield connection
            return
        async with self.engine.connect() as connection:
            yield await connection.execution_options(isolation_level="AUTOCOMMIT")


def open_postgres(
    dsn: str, *, pool_max_size: int = 16, pgbouncer: bool = False
) -> Database:
    """Open a PostgreSQL from a libpq dsn: a URL or `key=value` pairs.

    With `pgbouncer` no statement is prepared on the server. Without it, each
    connection finds out whether it goes through a pooler.

    No connection is made yet. Raises `ValueError` for a dsn that libpq cannot
    read, without quoting it: it may hold a password.
    """
    arguments = parse_dsn(dsn)
    if pgbouncer:
        arguments["prepare_threshold"] = None
    engine = create_async_engine(
        "postgresql+psycopg://",
        connect_args={**connection_defaults(), **arguments},
        # Own statements rely on seeing what was committed before each of them.
        isolation_level="READ COMMITTED",
        pool_size=pool_max_size,
        max_overflow=0,
        **_engine_options(),
    )
    if not pgbouncer:
        event.listen(engine.sync_engine, "connect", _prepare_nothing_on_a_pooler)
    event.listen(engine.sync_engine, "checkout", refuse_ended)
    return Database(engine, "postgresql")


def open_sqlite(path: str | Path) -> Database:
    """Open a SQLite file, which is created with the first use, for its owner alone."""
    engine = create_async_engine(
        URL.create("sqlite+aiosqlite", database=str(path)),
        # None: the driver begins no transactions by itself, `_begin_sqlite`
        # does.
        connect_args={"timeout": _BUSY_TIMEOUT_S, "isolation_level": None},
        pool_size=_SQLITE_READERS,
        max_overflow=0,
        **_engine_options(),
    )
    file = SqliteFile(path)

    def refuse_another(*_: Any) -> None:
        # Another connection would make an empty file there and write into it.
        if change := file.find_change():
            raise sqlite3.OperationalError(change)

    # In this order: nothing is made where the file is gone, and the file is private
    # before SQLite puts others beside it.
    event.listen(engine.sync_engine, "do_connect", refuse_another)
    event.listen(engine.sync_engine, "do_connect", lambda *_: file.keep_private())
    event.listen(engine.sync_engine, "do_connect", _probe_sqlite)
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    event.listen(engine.sync_engine, "connect", lambda *_: file.note())
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return Database(engine, "sqlite", file=file)


def parse_dsn(dsn: str) -> dict[str, Any]:
    """The connection arguments in a libpq dsn; see `open_postgres`."""
    # Loaded here: a process on SQLite never needs the driver.
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    scheme, separator, rest = dsn.partition("://")
    if separator and scheme.split("+")[0] in ("postgresql", "postgres"):
        dsn = f"postgresql://{rest}"
    try:
        return conninfo_to_dict(dsn)
    except psycopg.Error:
        raise ValueError(
            "not a PostgreSQL dsn: write postgresql://user:password@host:port/name"
            " or host=… port=… user=… password=… dbname=…"
        ) from None


def _engine_options() -> dict[str, Any]:
    return {
        "poolclass": CountedPool,
        "pool_timeout": 30,
        # Statements carry tokens, which must not reach a log line.
        "hide_parameters": True,
        "json_serializer": lambda value: orjson.dumps(value).decode(),
        "json_deserializer": orjson.loads,
    }


def _prepare_nothing_on_a_pooler(connection: Any, _record: Any) -> None:
    """Turn prepared statements off where transactions share server connections.

    A pooler (PgBouncer, or a cloud's) answers the start of a connection itself, with a
    process id that it makes up. The server behind it reports another one.
    """
    driver = connection.driver_connection
    cursor = connection.cursor()
    try:
        cursor.execute("SELECT pg_backend_pid()")
        (server_pid,) = cursor.fetchone()
    finally:
        cursor.close()
    connection.rollback()
    if server_pid != driver.info.backend_pid:
        driver.prepare_threshold = None


def _probe_sqlite(_dialect: Any, _record: Any, args: Any, _named: Any) -> None:
    # Where opening fails, the driver leaves a thread behind that fails on the closed
    # loop at the end of the process. So a plain connection is tried first.
    await_only(asyncio.to_thread(lambda: sqlite3.connect(args[0]).close()))


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    await_only(switch_to_wal(connection.driver_connection))
    cursor = connection.cursor()
    try:
        # WAL with FULL loses nothing that was committed, also on power loss.
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
    finally:
        cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A deferred transaction that starts to write later can fail on a newer
    # snapshot; one that is known to write takes the lock first.
    writing = connection.get_execution_options().get(_WRITE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
