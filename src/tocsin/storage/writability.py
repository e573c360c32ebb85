"""Whether a database takes writes now, found out without leaving anything in it.

Part of the storage room; it must not know any table.
"""

from __future__ import annotations

import sqlite3

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from tocsin.core.errors import DependencyLost
from tocsin.storage.errors import own_error, sqlite_code, sqlstate

_READ_ONLY = text("SELECT current_setting('transaction_read_only')")
_LITTLE_MEMORY = text("SELECT set_config('work_mem', '64', true)")
# A sort of more rows than that memory holds, so PostgreSQL writes them to the disk of
# its data for a moment. Where a limit of the user ends it, the disk was not full.
_SPILL = text(
    "SELECT count(*) FROM (SELECT repeat('x', 64), n FROM generate_series(1, 2000) n"
    " ORDER BY random()) AS spilled"
)
_SQLITE_FAULTS = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
    }
)
_POSTGRES_FAULTS = {
    "53100": "PostgreSQL's disk is full: free space there",
    "25006": "PostgreSQL takes no writes: point the dsn at the primary",
}


async def try_postgres(connection: AsyncConnection) -> None:
    """Raise `DependencyLost`, or the driver's error, unless it takes writes.

    The transaction is to be rolled back.
    """
    if (await connection.execute(_READ_ONLY)).scalar_one() == "on":
        raise DependencyLost(
            "PostgreSQL takes no writes: it is a standby, or"
            " default_transaction_read_only is on"
        )
    await connection.execute(_LITTLE_MEMORY)
    await connection.execute(_SPILL)


async def try_sqlite(connection: AsyncConnection) -> None:
    """Write what is there already, in a transaction that is to be committed."""
    version = (await connection.exec_driver_sql("PRAGMA user_version")).scalar_one()
    # The same value: it is written to the file, and nothing changes.
    await connection.exec_driver_sql(f"PRAGMA user_version = {int(version)}")


def find_refusal(error: Exception) -> DependencyLost | None:
    """The error for the readiness check, where no write is taken; else `None`."""
    if (words := _POSTGRES_FAULTS.get(sqlstate(error) or "")) is not None:
        return DependencyLost(words)
    if sqlite_code(error) in _SQLITE_FAULTS:
        return DependencyLost(own_error(error).detail)
    return None
