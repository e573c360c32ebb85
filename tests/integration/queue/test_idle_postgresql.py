"""PostgreSQL ended idle connections: the first call after it succeeds.

`idle_session_timeout`, a restart of a pooler, an operator: nobody used them then.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import psycopg
from tests.support.job_queues import SEND, payload_for, send_job

from tocsin.queue.sql import SqlJobQueue
from tocsin.storage.engine import Database, open_postgres

Call = Callable[[], Awaitable[object]]


@asynccontextmanager
async def opened(dsn: str) -> AsyncIterator[tuple[Database, SqlJobQueue]]:
    database = open_postgres(dsn)
    queue = SqlJobQueue(database.engine, owner="w")
    await queue.start()
    yield database, queue
    await database.close()


def end_all(dsn: str) -> None:
    """End every session of this database, and wait until they are gone."""
    others = "pid <> pg_backend_pid() AND datname = current_database()"
    with psycopg.connect(dsn, autocommit=True) as one:
        one.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            f" WHERE {others}"
        )


async def test_the_first_call_succeeds(postgres_dsn: str) -> None:
    """Sends, work, and the registry; each as the first one after the end."""
    async with opened(postgres_dsn) as (database, queue):

        async def work() -> None:
            for delivery in await queue.receive([SEND], limit=5, wait_s=0):
                assert await queue.settle(delivery)

        calls: list[Call] = [
            lambda: queue.enqueue(payload_for("p1"), [send_job("p1")]),
            work,
            lambda: queue.waiting([SEND]),
            queue.check,
            database.check,
            lambda: database.read(lambda one: one.exec_driver_sql("SELECT 1")),
        ]
        for call in calls:
            await asyncio.gather(*(queue.waiting([SEND]) for _ in range(4)))
            end_all(postgres_dsn)
            await call()
        end_all(postgres_dsn)
        await asyncio.gather(*(call() for call in calls))


async def test_a_connection_that_was_only_told_something_is_kept(
    postgres_dsn: str,
) -> None:
    """A notice that came while nobody used it is no end."""
    async with opened(postgres_dsn) as (database, _):

        async def find_pid() -> int:
            async with database.engine.connect() as one:
                found = await one.exec_driver_sql("SELECT pg_backend_pid()")
                await one.exec_driver_sql("LISTEN told")
                await one.commit()
                return int(found.scalar_one())

        before = await find_pid()
        with psycopg.connect(postgres_dsn, autocommit=True) as other:
            other.execute("NOTIFY told")
        assert await find_pid() == before
