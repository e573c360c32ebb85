"""The queue's schema: made anew, taken over from older releases, by many at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text
from sqlalchemy.ext.asyncio import AsyncConnection
from tests.support import old_queue_tables
from tests.support.job_queues import SEND, drain, payload_for, send_job
from tests.support.simultaneous import run_together

from tocsin.core.errors import QueueUnavailable
from tocsin.core.ports.providers import SharedToken
from tocsin.protocol.job_codec import encode_job, encode_letter, encode_payload
from tocsin.queue.migrations import queue_schema
from tocsin.queue.sql import SqlJobQueue
from tocsin.queue.sql_connection import QueueDatabase
from tocsin.queue.sql_tables import build_tables
from tocsin.queue.tokens import SqlTokenStore
from tocsin.sql_access.schema import MigrationError
from tocsin.storage import migrations as registry
from tocsin.storage.engine import Database, open_postgres, open_sqlite

ALL = ["q0001", "q0002", "q0003", "q0004", "q0005"]
OLD_STEPS = len(old_queue_tables.STEPS)
FAR_MS = 4_000_000_000_000

START = """
import asyncio, sys
from tocsin.queue.migrations import migrate
from tocsin.queue.sql_connection import QueueDatabase
from tocsin.storage.engine import open_postgres, open_sqlite
async def main(where):
    database = open_postgres(where) if "://" in where else open_sqlite(where)
    mine = QueueDatabase(database.engine, None)
    await mine.prepare()
    async with mine.writing() as connection:
        print(await migrate(connection, ""))
    await database.close()
sys.stdin.read()
asyncio.run(main(sys.argv[1]))
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database: a dsn or a path."""
    if request.param == "sqlite":
        return str(tmp_path / "queue.db")
    dsn: str = request.getfixturevalue("postgres_dsn")
    return dsn


@pytest.fixture
async def database(where: str) -> AsyncIterator[Database]:
    database = open_postgres(where) if "://" in where else open_sqlite(where)
    yield database
    await database.close()


def queue_on(database: Database, *, prefix: str = "") -> SqlJobQueue:
    return SqlJobQueue(database.engine, owner="w", prefix=prefix)


async def make_old(database: Database, step: int, *, prefix: str = "") -> None:
    """The tables of a release that had so many steps."""
    mine = QueueDatabase(database.engine, None)
    await mine.prepare()
    async with mine.writing() as connection:
        await old_queue_tables.migrate(connection, prefix, step)


async def revision_of(database: Database) -> str | None:
    async with database.engine.connect() as connection:
        return await queue_schema("").fetch_revision(connection)


async def names_of_tables(database: Database) -> set[str]:
    async with database.engine.connect() as connection:
        return set(await connection.run_sync(lambda c: inspect(c).get_table_names()))


async def count_of_older_releases(database: Database) -> list[int]:
    """What an older release finds in its own table of steps."""
    async with database.engine.connect() as connection:
        found = await connection.execute(
            text("SELECT version FROM tocsin_queue_migrations ORDER BY version")
        )
        return list(found.scalars())


async def fill(database: Database, step: int) -> None:
    """One of each: a job with its payload, a letter, a mark, and a token."""
    job, dead = send_job("p1"), send_job("p2")
    async with database.engine.begin() as connection:

        async def insert(into: str, **values: Any) -> None:
            await connection.execute(text(f"INSERT INTO {into}"), values)

        await insert(
            "queue_jobs (queue, push_id, run_at_ms, deliveries)"
            " VALUES (:queue, 'p1', 0, 1)",
            queue=SEND,
        )
        await insert(
            "queue_bodies (job_id, body) SELECT id, :body FROM queue_jobs",
            body=encode_job(job),
        )
        await insert(
            "queue_payloads (push_id, outstanding, body) VALUES ('p1', 1, :body)",
            body=encode_payload(payload_for("p1")),
        )
        await insert(
            "queue_dead (queue, push_id, letter, raw, payload)"
            " VALUES (:queue, 'p2', :letter, :raw, :payload)",
            queue=SEND,
            letter=encode_letter(dead, "poison", FAR_MS),
            raw=encode_job(dead),
            payload=encode_payload(payload_for("p2")),
        )
        await insert("queue_once (push_id, expires_ms) VALUES ('p1', :at)", at=FAR_MS)
        if step >= 2:
            await insert(
                "queue_tokens (name, value, made_at_ms, expires_ms)"
                " VALUES ('apns:k', 'old', :made, :expires)",
                made=int(time.time() * 1000),
                expires=FAR_MS,
            )


async def describe(database: Database, prefix: str) -> dict[str, Any]:
    """Tables, columns, keys and indexes as the database itself tells them."""
    async with database.engine.connect() as connection:
        if database.dialect == "sqlite":
            return await _describe_sqlite(connection, prefix)
        return await _describe_postgres(connection, prefix)


async def _describe_sqlite(connection: AsyncConnection, prefix: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    master = await connection.execute(
        text(
            "SELECT name, type, sql FROM sqlite_master"
            " WHERE name LIKE :prefix AND sql IS NOT NULL"
        ),
        {"prefix": f"{prefix}queue%"},
    )
    for name, kind, sql in master.all():
        own = name.removeprefix(prefix)
        if kind == "index":
            found[own] = " ".join(sql.replace(prefix, "").split())
            continue
        columns = await connection.exec_driver_sql(f"PRAGMA table_info({name})")
        found[own] = (
            "AUTOINCREMENT" in sql,
            # That a primary key is not null is said by some only.
            [
                (c.name, c.type, bool(c.notnull or c.pk), c.dflt_value, c.pk)
                for c in columns
            ],
        )
    return found


async def _describe_postgres(
    connection: AsyncConnection, prefix: str
) -> dict[str, Any]:
    columns = await connection.execute(
        text(
            "SELECT table_name, column_name, data_type, is_nullable, column_default,"
            " identity_generation, collation_name FROM information_schema.columns"
            " WHERE table_name LIKE :like ORDER BY table_name, ordinal_position"
        ),
        {"like": f"{prefix}queue%"},
    )
    indexes = await connection.execute(
        text("SELECT indexdef FROM pg_indexes WHERE tablename LIKE :like"),
        {"like": f"{prefix}queue%"},
    )
    options = await connection.execute(
        text(
            "SELECT relname, reloptions FROM pg_class"
            " WHERE relkind = 'r' AND relname LIKE :like"
        ),
        {"like": f"{prefix}queue%"},
    )
    return {
        "columns": [
            (row[0].removeprefix(prefix), *map(str, row[1:])) for row in columns
        ],
        "indexes": sorted(i.replace(prefix, "") for i in indexes.scalars()),
        "options": {
            row.relname.removeprefix(prefix): sorted(row.reloptions or [])
            for row in options
        },
    }


async def test_applies_everything_once(database: Database) -> None:
    """An empty database gets all revisions, a second start finds nothing to do."""
    assert await revision_of(database) is None
    queue = queue_on(database)
    await queue.start()
    assert await revision_of(database) == ALL[-1]
    before = await describe(database, "")
    await queue.start()
    await queue.start_as_it_is()
    assert await describe(database, "") == before
    assert "tocsin_queue_migrations" not in await names_of_tables(database)


async def test_head_is_the_newest_revision(database: Database) -> None:
    """The constant that spares loading Alembic agrees with the revisions."""
    schema = queue_schema("")
    async with database.engine.connect() as connection:
        config = await connection.run_sync(schema.build_config)
    scripts = ScriptDirectory.from_config(config)
    assert scripts.get_current_head() == schema.head
    assert [each.revision for each in scripts.walk_revisions()] == ALL[::-1]


async def test_the_schema_is_the_one_of_older_releases(database: Database) -> None:
    """Column by column and index by index, as their own steps made it.

    With what came since on top of it, as a release that takes it over adds it.
    """
    await make_old(database, OLD_STEPS, prefix="old_")
    await queue_on(database, prefix="old_").start()
    await queue_on(database, prefix="new_").start()
    made = await describe(database, "new_")
    assert made == await describe(database, "old_")
    assert len(str(made)) > 1000


async def test_statements_name_what_is_there(database: Database) -> None:
    """No table or column of `build_tables` is missing, and none is unknown to it."""
    await queue_on(database).start()
    tables = build_tables("").jobs.metadata
    kinds = ("add_table", "remove_table", "add_column", "remove_column", "modify_type")

    def difference(connection: Connection) -> list[str]:
        context = MigrationContext.configure(
            connection,
            opts={"version_table": "tocsin_queue_schema", "compare_type": True},
        )
        return [str(each) for each in compare_metadata(context, tables)]

    async with database.engine.connect() as connection:
        found = await connection.run_sync(difference)
    assert [each for each in found if any(kind in each for kind in kinds)] == []


@pytest.mark.parametrize("step", range(1, OLD_STEPS + 1))
async def test_a_database_of_an_older_release_is_taken_over(
    database: Database, step: int
) -> None:
    """Whichever of its steps it had; jobs, letters, marks and tokens are in place."""
    await make_old(database, step)
    await fill(database, step)
    queue = queue_on(database)
    await queue.start()
    assert await revision_of(database) == ALL[-1]
    assert not await queue.enqueue(payload_for("p1"), [send_job("p1")], once_ttl_s=60)
    (held,) = await drain(queue)
    assert (held.job.push_id, held.count) == ("p1", 2)
    assert await queue.fetch_payload("p1") == payload_for("p1")
    (letter,) = await queue.list_dead(limit=10)
    assert (letter.job.push_id, letter.reason) == ("p2", "poison")
    offered = SharedToken("new", int(time.time() * 1000))
    tokens = SqlTokenStore(database.engine)
    agreed = await tokens.agree("apns:k", offered, made_after_ms=0, ttl_s=60)
    assert agreed.value == ("old" if step >= 2 else "new")
    assert await queue.settle(held)
    assert await queue.fetch_payload("p1") is None
    assert (await queue.position()).epoch


@pytest.mark.parametrize("step", range(1, OLD_STEPS + 1))
async def test_an_older_release_starts_on_what_was_taken_over(
    database: Database, step: int
) -> None:
    """In a rolling update it does; it finds nothing to do, and changes nothing."""
    await make_old(database, step)
    await queue_on(database).start()
    before = await describe(database, "")
    assert await count_of_older_releases(database) == [1, 2, 3, 4]
    await make_old(database, OLD_STEPS)
    assert await describe(database, "") == before
    assert await revision_of(database) == ALL[-1]


@pytest.mark.parametrize("step", [0, 2, 4])
async def test_processes_that_start_at_once(
    database: Database, where: str, step: int
) -> None:
    """Of several processes exactly one applies, the others wait, and none fails."""
    if step:
        await make_old(database, step)
    outputs = await asyncio.to_thread(run_together, START, where, count=3)
    applied = [output for output in outputs if output != "[]"]
    assert applied == [str(ALL[step:])] * bool(ALL[step:])
    assert await revision_of(database) == ALL[-1]
    if step:
        assert await count_of_older_releases(database) == [1, 2, 3, 4]


async def test_an_older_release_that_migrates_is_waited_for(
    database: Database,
) -> None:
    """It has the lock that ours take: what it makes is there, and is taken over."""
    queue = queue_on(database)
    mine = QueueDatabase(database.engine, None)
    await mine.prepare()
    async with mine.writing() as connection:
        await old_queue_tables.migrate(connection, upto=3)
        # A queue of another object: another process would have its own line, too.
        starting = asyncio.create_task(queue.start())
        _, still = await asyncio.wait([starting], timeout=0.3)
        assert still, "it did not wait"
    await starting
    assert await revision_of(database) == ALL[-1]
    assert await count_of_older_releases(database) == [1, 2, 3, 4]


async def test_several_databases_at_once(tmp_path: Path) -> None:
    """Each gets its own tables, though Alembic knows one at a time."""
    databases = [open_sqlite(tmp_path / f"{number}.db") for number in range(3)]
    await asyncio.gather(
        *(queue_on(each, prefix=f"p{n}_").start() for n, each in enumerate(databases)),
        registry.migrate(databases[0]),
    )
    for number, each in enumerate(databases):
        names = await names_of_tables(each)
        assert len([name for name in names if name.startswith(f"p{number}_")]) == 10
        assert ("devices" in names) == (number == 0)
        await each.close()


async def test_the_registry_may_be_in_the_same_database(database: Database) -> None:
    """Each has a version table of its own, and looks at no other."""
    await make_old(database, 2)
    assert (await registry.migrate(database))[-1] == registry.SCHEMA.head
    await queue_on(database).start()
    assert await registry.migrate(database) == []
    assert await registry.fetch_revision(database) == registry.SCHEMA.head
    assert await revision_of(database) == ALL[-1]
    names = await names_of_tables(database)
    assert {"tocsin_migrations", "tocsin_queue_schema", "devices"} <= names


@pytest.mark.parametrize("step", [0, 3, 4])
async def test_looking_changes_nothing(database: Database, step: int) -> None:
    """What is behind is told with what to do; what is not is used as it is."""
    if step:
        await make_old(database, step)
    before = await names_of_tables(database)
    queue = queue_on(database)
    words = (
        f"at schema q000{step}, this release needs {ALL[-1]}" if step else "no tables"
    )
    with pytest.raises(MigrationError, match=words) as caught:
        await queue.start_as_it_is()
    assert "run `tocsin migrate`" in str(caught.value)
    assert await names_of_tables(database) == before


@pytest.mark.parametrize("counted_by", ["alembic", "older release"])
async def test_a_database_of_a_newer_release_is_refused(
    database: Database, counted_by: str
) -> None:
    """Its revision is named, and nothing is changed."""
    queue = queue_on(database)
    if counted_by == "alembic":
        await queue.start()
        change = "UPDATE tocsin_queue_schema SET version_num = 'q0006'"
    else:
        await make_old(database, OLD_STEPS)
        change = "INSERT INTO tocsin_queue_migrations VALUES (6, 0)"
    async with database.engine.begin() as connection:
        await connection.execute(text(change))
    before = await describe(database, ""), await names_of_tables(database)
    for start in (queue.start, queue.start_as_it_is):
        with pytest.raises(
            MigrationError, match=r"q0006, .* up to q0005: run the newer"
        ):
            await start()
    assert (await describe(database, ""), await names_of_tables(database)) == before
    assert await revision_of(database) == "q0006"


async def test_a_failed_migration_leaves_nothing(database: Database) -> None:
    """Neither the revisions before the one that failed, nor a version table."""
    await make_old(database, 2)
    async with database.engine.begin() as connection:
        await connection.execute(text("CREATE TABLE queue_origin (stranger INTEGER)"))
    before = await describe(database, ""), await names_of_tables(database)
    queue = queue_on(database)
    with pytest.raises(QueueUnavailable) as caught:
        await queue.start()
    assert "queue_origin" in caught.value.reason
    assert (await describe(database, ""), await names_of_tables(database)) == before
    assert await revision_of(database) == "q0002"
    async with database.engine.begin() as connection:
        await connection.execute(text("DROP TABLE queue_origin"))
    await queue.start()
    assert await revision_of(database) == ALL[-1]
