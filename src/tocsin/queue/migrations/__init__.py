"""The schema of the SQL queue's tables, and what brings a database to it.

Part of the queue room. The queue may live in a database of its own, so its revisions
are counted apart from those of the registry; under each prefix there is one queue.
"""

from __future__ import annotations

import time
from pathlib import Path

from sqlalchemy import BigInteger, Connection, func, inspect, text
from sqlalchemy.ext.asyncio import AsyncConnection

from tocsin.sql_access.schema import Schema

_HEAD = "q0005"
_OLD_STEPS = 4
"""The number of steps in the last release before Alembic."""


def queue_schema(prefix: str) -> Schema:
    """The tables under this prefix, which `build_tables` has found to be one."""
    return Schema(
        folder=Path(__file__).parent,
        head=_HEAD,
        version_table=f"{prefix}tocsin_queue_schema",
        lock=func.hashtext(_ledger(prefix), type_=BigInteger),
        is_at="the queue's tables are at schema",
        absent=(
            f"the queue's database has no tables of a queue with the prefix {prefix!r}:"
            " run `tocsin migrate`, or check that the configuration is the server's"
        ),
        options={"prefix": prefix},
        find_unstamped=lambda connection: _find_step(connection, prefix),
    )


async def migrate(connection: AsyncConnection, prefix: str) -> list[str]:
    """Apply what is missing; see `Schema.migrate`."""
    applied = await queue_schema(prefix).migrate(connection)
    if applied:
        await connection.run_sync(_tell_older_releases, prefix)
    return applied


def _ledger(prefix: str) -> str:
    """Where releases before Alembic counted the first four steps."""
    return f"{prefix}tocsin_queue_migrations"


def _find_step(connection: Connection, prefix: str) -> str | None:
    """The revision that equals the steps applied so far; each step is one revision."""
    if not inspect(connection).has_table(_ledger(prefix)):
        return None
    step = connection.scalar(text(f"SELECT max(version) FROM {_ledger(prefix)}"))  # noqa: S608 - the prefix is checked
    return f"q{step:04d}" if step else None


def _tell_older_releases(connection: Connection, prefix: str) -> None:
    """Keep the count of older releases true: they may start on these tables too.

    They do in a rolling update, or after going back. A release that finds a step
    missing would create its tables a second time, fail, and not come up.
    """
    step = _find_step(connection, prefix)
    if step is None:
        return
    for missing in range(int(step[1:]) + 1, _OLD_STEPS + 1):
        connection.execute(
            text(f"INSERT INTO {_ledger(prefix)} VALUES (:version, :now)"),  # noqa: S608 - as above
            {"version": missing, "now": int(time.time())},
        )
