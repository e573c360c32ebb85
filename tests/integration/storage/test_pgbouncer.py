"""The registry and the SQL queue through a pooler that shares server connections."""

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from tests.support.pgbouncer import running_pgbouncer
from tests.support.postgres import temporary_root

from tocsin.storage.engine import Database, open_postgres
from tocsin.storage.migrations import migrate


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that `nobody` may read."""
    with tempfile.TemporaryDirectory(prefix="bouncer-", dir=temporary_root()) as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(params=["transaction", "session"])
def pooled_dsn(
    request: pytest.FixtureRequest, folder: Path, postgres_dsn: str
) -> Iterator[str]:
    # A session keeps its server connection; transactions have to share three.
    pool_size = 3 if request.param == "transaction" else 12
    with running_pgbouncer(
        folder, postgres_dsn, pool_mode=request.param, pool_size=pool_size
    ) as dsn:
        yield dsn


async def _hammer(database: Database) -> None:
    """Many statements of few kinds, by more clients than there are servers."""

    async def work(number: int) -> None:
        for turn in range(12):
            value = number * 100 + turn

            async def ask(connection, value=value):  # type: ignore[no-untyped-def]
                found = await connection.execute(text("SELECT 1 + :n"), {"n": value})
                return found.scalar_one()

            assert await database.write(ask) == value + 1

    await asyncio.gather(*(work(number) for number in range(16)))


async def test_a_pooler_is_noticed_and_nothing_is_prepared(pooled_dsn: str) -> None:
    """Statements of one server connection mean nothing on another."""
    database = open_postgres(pooled_dsn, pool_max_size=8)
    try:
        await migrate(database)
        await _hammer(database)
    finally:
        await database.close()


async def test_several_processes_share_a_pooler(pooled_dsn: str) -> None:
    """Names of prepared statements would meet on one server connection."""
    databases = [open_postgres(pooled_dsn, pool_max_size=4) for _ in range(3)]
    try:
        await migrate(databases[0])
        await asyncio.gather(*(_hammer(database) for database in databases))
    finally:
        for database in databases:
            await database.close()


async def test_without_a_pooler_statements_are_prepared(
    migrated_postgres_dsn: str,
) -> None:
    """They save PostgreSQL the planning; `pgbouncer` does without by order."""
    for is_pooled, expected in ((False, True), (True, False)):
        database = open_postgres(
            migrated_postgres_dsn, pool_max_size=1, pgbouncer=is_pooled
        )
        try:
            await _hammer(database)
            async with database.engine.connect() as connection:
                found = await connection.exec_driver_sql(
                    "SELECT count(*) FROM pg_prepared_statements"
                )
                assert (found.scalar_one() > 0) is expected
        finally:
            await database.close()
