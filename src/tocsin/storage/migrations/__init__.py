"""The schema of the registry, and what brings a database to it.

Part of the storage room; a revision is package data in `versions`.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import BigInteger, literal

from tocsin.sql_access.schema import Schema
from tocsin.storage.engine import Database

SCHEMA = Schema(
    folder=Path(__file__).parent,
    head="v0011",
    version_table="tocsin_migrations",
    lock=literal(0x746F6373_696E0001, BigInteger),  # any number that nobody else takes
    is_at="the database is at schema",
    absent=(
        "the database has no tables of Tocsin: run `tocsin migrate`, or check"
        " that the configuration names the right one"
    ),
    newer="run the newer release, or restore a backup of the older schema",
)


async def fetch_revision(database: Database) -> str | None:
    """The revision that the database is at, `None` for an empty one."""
    return await database.read(SCHEMA.fetch_revision)


async def require_head(database: Database) -> None:
    """Raise `MigrationError` unless the schema is this release's; changes nothing."""
    await database.read(SCHEMA.require_head)


async def migrate(database: Database) -> list[str]:
    """Apply what is missing, in one transaction; see `Schema.migrate`."""
    if await database.read(SCHEMA.is_settled):
        return []
    return await database.write(SCHEMA.migrate)
