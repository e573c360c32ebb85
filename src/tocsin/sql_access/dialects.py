"""Where PostgreSQL and SQLite differ for every room with SQL tables.

It must not know a table, nor open a connection.
"""

from __future__ import annotations

import asyncio
import sqlite3
from typing import Any

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite

_WAL_ATTEMPTS = 200
_WAL_PAUSE_S = 0.01


def inserting(table: Table, dialect: str) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that can say what to do where a row stands already.

    Both databases have the same words for it, but no common class.
    """
    if dialect == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


async def switch_to_wal(driver: Any) -> None:
    """Put a SQLite file into WAL mode, where readers do not stop the writer.

    `driver` is a connection of aiosqlite: SQLAlchemy would begin a transaction, and
    inside one the setting is refused.
    """
    # The switch answers "locked" at once, without waiting for the busy timeout,
    # while another process does the same on a new file.
    for attempt in range(_WAL_ATTEMPTS):
        try:
            cursor = await driver.execute("PRAGMA journal_mode = WAL")
            await cursor.close()
        except sqlite3.OperationalError as error:
            busy = (error.sqlite_errorcode & 0xFF) == sqlite3.SQLITE_BUSY
            if not busy or attempt == _WAL_ATTEMPTS - 1:
                raise
        else:
            return
        await asyncio.sleep(_WAL_PAUSE_S)
