"""What names the data of a SQL queue, and the number of its last job.

Part of the queue room; it must not touch jobs.
"""

from __future__ import annotations

import secrets

from sqlalchemy import Table, select, text
from sqlalchemy.ext.asyncio import AsyncConnection


async def find_origin(connection: AsyncConnection, table: Table) -> str | None:
    """The name of this queue, or `None` while nobody has asked for one."""
    found = (await connection.execute(select(table.c.origin))).scalar()
    return None if found is None else str(found)


async def find_or_make_origin(connection: AsyncConnection, table: Table) -> str:
    """The name of this queue, in a transaction that writes."""
    add = text(
        f"INSERT INTO {table.name} (one, origin) VALUES (1, :name)"  # noqa: S608 - the prefix is checked
        " ON CONFLICT (one) DO NOTHING"
    )
    await connection.execute(add, {"name": secrets.token_hex(8)})
    found = await connection.execute(select(table.c.origin))
    return str(found.scalar_one())


async def last_job_id(connection: AsyncConnection, jobs: Table) -> int:
    """The highest id that was ever given, whether or not its job is still there."""
    if connection.dialect.name == "postgresql":
        statement = text(
            f"SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {jobs.name}_id_seq"  # noqa: S608, E501 - the prefix is checked
        )
        return int((await connection.execute(statement)).scalar_one())
    statement = text("SELECT seq FROM sqlite_sequence WHERE name = :name")
    found = await connection.execute(statement, {"name": jobs.name})
    return int(found.scalar() or 0)
