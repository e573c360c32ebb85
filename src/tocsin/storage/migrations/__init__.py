"""Brings a database to this release's schema, one process at a time.

Part of the storage room; Alembic is loaded only when there is something to apply.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text
from sqlalchemy.ext.asyncio import AsyncConnection

from tocsin.storage.engine import Database
from tocsin.storage.rows import is_postgres

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "v0004"
"""The newest revision in `versions`; a test holds the two together."""

VERSION_TABLE = "tocsin_migrations"
"""Not Alembic's own name: the queue keeps its migrations in a table of its own."""

_LOCK_KEY = 0x746F6373_696E0001  # "tocsin" 1: any number that nobody else takes


class MigrationError(Exception):
    """The schema cannot be brought to this release's; nothing was changed."""


def head() -> str:
    """The revision that this release needs."""
    return HEAD


async def fetch_revision(database: Database) -> str | None:
    """The revision that the database is at, `None` for an empty one."""
    return await database.read(_fetch_revision)


async def require_head(database: Database) -> None:
    """Raise `MigrationError` unless the schema is this release's; changes nothing."""
    found = await fetch_revision(database)
    if found == HEAD:
        return
    if found is None:
        raise MigrationError(
            "the database has no tables of Tocsin: run `tocsin migrate`, or check"
            " that the configuration names the right one"
        )
    if _is_older(found):
        raise MigrationError(
            f"the database is at schema {found}, this release needs {HEAD}: run"
            " `tocsin migrate`"
        )
    raise MigrationError(_newer(found))


async def migrate(database: Database) -> list[str]:
    """Apply what is missing, in one transaction; returns the revisions applied.

    Safe while other processes do the same: one applies, the others wait for it.
    Raises `MigrationError` for a database that a newer release has migrated.
    """
    if await fetch_revision(database) == HEAD:
        return []
    return await database.write(_migrate_alone)


async def _migrate_alone(connection: AsyncConnection) -> list[str]:
    if is_postgres(connection):
        await connection.execute(
            text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY}
        )
    # A write transaction on SQLite is alone from its first statement on.
    before = await _fetch_revision(connection)
    if before == HEAD:
        return []
    return await connection.run_sync(_upgrade, before)


async def _fetch_revision(connection: AsyncConnection) -> str | None:
    if not await connection.run_sync(lambda c: inspect(c).has_table(VERSION_TABLE)):
        return None
    found = await connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))  # noqa: S608 - a constant
    return None if found is None else str(found)


def _upgrade(connection: Connection, before: str | None) -> list[str]:
    from alembic import command
    from alembic.script import ScriptDirectory
    from alembic.script.revision import RevisionError

    config = build_config(connection)
    scripts = ScriptDirectory.from_config(config)
    try:
        pending = [
            script.revision for script in scripts.iterate_revisions(HEAD, before)
        ]
    except RevisionError as error:
        raise MigrationError(_newer(before)) from error
    command.upgrade(config, HEAD)
    return pending[::-1]


def _is_older(found: str) -> bool:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", _folder())
    known = ScriptDirectory.from_config(config).walk_revisions()
    return found in {script.revision for script in known}


def _newer(found: str | None) -> str:
    return (
        f"the database is at schema {found}, this release knows up to {HEAD}:"
        " run the newer release, or restore a backup of the older schema"
    )


def _folder() -> str:
    return str(Path(__file__).parent).replace("%", "%%")


def build_config(connection: Connection) -> Config:
    """Alembic's settings for this connection; nothing is read from a file."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", _folder())
    config.attributes["connection"] = connection
    return config
