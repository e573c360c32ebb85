"""What callers see when the database stutters, is away, or refuses a value."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import text
from tests.support.clock import MovedClock
from tests.support.postgres import PostgresServer

from tocsin.core.device import DeviceFilter, PageRequest, Registration
from tocsin.core.errors import BadRequest, InternalError
from tocsin.storage.devices import SqlDeviceStore
from tocsin.storage.engine import Database, open_postgres, open_sqlite
from tocsin.storage.errors import DatabaseUnavailable


def fcm(token: str, **fields: str) -> Registration:
    return Registration(provider="fcm", token=token, platform="ios", **fields)  # type: ignore[arg-type] # by name


async def cut_connections(server: PostgresServer, database: Database) -> None:
    """End every connection to the database from outside, as a restart does."""
    async with database.engine.connect() as connection:
        name = await connection.scalar(text("SELECT current_database()"))
    outside = open_postgres(server.dsn)
    async with outside.engine.connect() as connection:
        await connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = :name"
            ),
            {"name": name},
        )
    await outside.close()


async def test_cut_connections_are_replaced(
    postgres_server: PostgresServer, migrated_postgres_dsn: str
) -> None:
    """After a restart of PostgreSQL the next calls succeed without an error."""
    database = open_postgres(migrated_postgres_dsn)
    store = SqlDeviceStore(database, clock=MovedClock())
    device_id = await store.register(fcm("a"))
    await cut_connections(postgres_server, database)
    assert await store.register(fcm("a")) == device_id
    await cut_connections(postgres_server, database)
    page = await store.fetch_targets(
        DeviceFilter(), provider="fcm", cursor="", limit=10
    )
    assert page.recipients.device_ids == (device_id,)
    await database.close()


async def test_value_that_cannot_be_stored_fails_alone(
    migrated_postgres_dsn: str,
) -> None:
    """A NUL character is refused, while the group's other members are stored."""
    database = open_postgres(migrated_postgres_dsn)
    store = SqlDeviceStore(database, clock=MovedClock())
    results = await asyncio.gather(
        *(
            store.register(fcm(f"t{n}", user="a\0b" if n == 3 else "a"))
            for n in range(6)
        ),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [
        BadRequest if n == 3 else str for n in range(6)
    ]
    page = await store.fetch_page(DeviceFilter(), PageRequest(include_total=True))
    assert page.total == 5
    await database.close()


async def test_unreachable_postgres_is_said_so() -> None:
    """No server: a temporary error that names the setting, to every caller."""
    database = open_postgres("postgresql://127.0.0.1:1/none?connect_timeout=2")
    store = SqlDeviceStore(database, clock=MovedClock())
    with pytest.raises(DatabaseUnavailable, match=r"database\.postgresql\.dsn"):
        await database.check()
    results = await asyncio.gather(
        *(store.register(fcm(f"t{n}")) for n in range(20)), return_exceptions=True
    )
    assert {type(result) for result in results} == {DatabaseUnavailable}
    await database.close()


async def test_sqlite_in_a_missing_folder_is_said_so(tmp_path: Path) -> None:
    """A path that cannot be opened is an error, not a hang."""
    database = open_sqlite(tmp_path / "missing" / "tocsin.db")
    with pytest.raises(DatabaseUnavailable, match=r"database\.sqlite\.path"):
        await database.check()
    await database.close()


async def test_database_without_tables_says_what_to_run(
    postgres_dsn: str, tmp_path: Path
) -> None:
    """Missing tables lead to the migrate command."""
    for database in (open_postgres(postgres_dsn), open_sqlite(tmp_path / "x.db")):
        await database.check()
        store = SqlDeviceStore(database, clock=MovedClock())
        with pytest.raises(InternalError, match="tocsin migrate"):
            await store.register(fcm("a"))
        with pytest.raises(InternalError, match="tocsin migrate"):
            await store.fetch_targets(
                DeviceFilter(), provider="fcm", cursor="", limit=1
            )
        await database.close()


async def test_sqlite_keeps_what_it_confirmed(migrated_sqlite_path: Path) -> None:
    """The file is in WAL mode with full sync, keys are enforced."""
    database = open_sqlite(migrated_sqlite_path)
    async with database.engine.connect() as connection:
        found = [
            await connection.scalar(text(f"PRAGMA {name}"))
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        ]
    await database.close()
    assert found == ["wal", 2, 1, 5000]


async def test_failed_transaction_leaves_nothing(migrated_database: Database) -> None:
    """What was written before an error inside a transaction is rolled back."""
    store = SqlDeviceStore(migrated_database, clock=MovedClock())
    await store.register(fcm("a"))

    async def work(connection: object) -> None:
        await connection.execute(text("DELETE FROM devices"))  # type: ignore[attr-defined] # an AsyncConnection
        raise BadRequest("field", "reason")

    with pytest.raises(BadRequest):
        await migrated_database.write(work)
    page = await store.fetch_page(DeviceFilter(), PageRequest(include_total=True))
    assert page.total == 1


async def test_close_waits_for_registrations_under_way(
    migrated_database: Database,
) -> None:
    """A registration whose caller went away is still written before the end."""
    store = SqlDeviceStore(migrated_database, clock=MovedClock())
    first = asyncio.create_task(store.register(fcm("a")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    first.cancel()
    await migrated_database.close()
    page = await store.fetch_page(DeviceFilter(), PageRequest(include_total=True))
    assert page.total == 1
