"""Migrations on both databases, also when several processes start at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from tests.support.simultaneous import run_together

from tocsin.sql_access.schema import MigrationError
from tocsin.storage.engine import Database, open_postgres, open_sqlite
from tocsin.storage.migrations import SCHEMA, fetch_revision, migrate
from tocsin.storage.tables import metadata

START = """
import asyncio, sys
from tocsin.storage.engine import open_postgres, open_sqlite
from tocsin.storage.migrations import migrate
async def main(where):
    database = open_postgres(where) if "://" in where else open_sqlite(where)
    print(await migrate(database))
    await database.close()
sys.stdin.read()
asyncio.run(main(sys.argv[1]))
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database: a dsn or a path."""
    if request.param == "sqlite":
        return str(tmp_path / "empty.db")
    dsn: str = request.getfixturevalue("postgres_dsn")
    return dsn


@pytest.fixture
async def empty(where: str) -> AsyncIterator[Database]:
    database = open_postgres(where) if "://" in where else open_sqlite(where)
    yield database
    await database.close()


async def test_applies_everything_once(empty: Database) -> None:
    """An empty database gets all revisions, a second call finds nothing to do."""
    assert await fetch_revision(empty) is None
    applied = await migrate(empty)
    assert applied[-1] == SCHEMA.head
    assert await fetch_revision(empty) == SCHEMA.head
    assert await migrate(empty) == []


def test_processes_that_start_at_once(where: str) -> None:
    """Of several processes exactly one applies, and none fails."""
    outputs = run_together(START, where, count=4)
    assert sum(output != "[]" for output in outputs) == 1


async def test_tasks_of_one_process_at_once(empty: Database) -> None:
    """The same holds inside a process."""
    results = await asyncio.gather(*(migrate(empty) for _ in range(4)))
    assert sum(bool(applied) for applied in results) == 1


async def test_database_of_a_newer_release_is_refused(empty: Database) -> None:
    """An unknown revision is named, and nothing is changed."""
    await migrate(empty)

    async def pretend(connection: object) -> None:
        await connection.execute(  # type: ignore[attr-defined] # an AsyncConnection
            text(f"UPDATE {SCHEMA.version_table} SET version_num = 'v9999'")
        )

    await empty.write(pretend)
    with pytest.raises(MigrationError, match="v9999"):
        await migrate(empty)
    assert await fetch_revision(empty) == "v9999"


async def test_migrated_schema_is_what_the_tables_say(empty: Database) -> None:
    """No column, index or constraint differs between migrations and tables.py."""
    await migrate(empty)

    def difference(connection: Connection) -> list[object]:
        context = MigrationContext.configure(
            connection,
            opts={"version_table": SCHEMA.version_table, "compare_type": True},
        )
        return list(compare_metadata(context, metadata))

    async with empty.engine.connect() as connection:
        found = await connection.run_sync(difference)
    # The only one that SQLAlchemy cannot spell for one database alone.
    assert [each for each in found if "devices_tags_idx" not in str(each)] == []


async def test_head_is_the_newest_revision(empty: Database) -> None:
    """The constant that spares loading Alembic agrees with the revisions."""
    async with empty.engine.connect() as connection:
        config = await connection.run_sync(SCHEMA.build_config)
    assert ScriptDirectory.from_config(config).get_current_head() == SCHEMA.head


async def test_every_text_column_sorts_by_bytes(migrated_postgres_dsn: str) -> None:
    """Ids are cursors and prefixes are ranges, so no locale may order them."""
    database = open_postgres(migrated_postgres_dsn)
    async with database.engine.connect() as connection:
        result = await connection.execute(
            text(
                "SELECT table_name, column_name, collation_name"
                " FROM information_schema.columns WHERE data_type = 'text'"
                " AND table_schema = 'public'"
            )
        )
        rows = result.all()
    await database.close()
    assert len(rows) > 10
    assert {row.collation_name for row in rows} == {"C"}
