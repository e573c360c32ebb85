"""Tables of the SQL queue and the numbered steps that make them.

Part of the queue room; it must not read or write jobs.

The queue may live in a database of its own, so its steps are counted apart from
those of the device registry. Job rows are narrow: a lease changes a row several
times, and PostgreSQL and SQLite alike write the whole row again, so the bodies
lie beside them.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    inspect,
    text,
)
from sqlalchemy.ext.asyncio import AsyncConnection

_PREFIX = re.compile(r"[a-z0-9_]{0,30}")

# {p} is the prefix, {id} a key that counts by itself and never comes back, {bytes}
# the type of bytes, {narrow} how rows that change often are stored: room for new
# versions on the same page, cleaned up long before a fifth of the table is dead.
# The index of held jobs is without lease_until_ms, so that renewing touches none.
_STEPS: tuple[str, ...] = (
    """
    CREATE TABLE {p}queue_jobs (
        id {id},
        queue TEXT NOT NULL,
        push_id TEXT NOT NULL,
        run_at_ms BIGINT NOT NULL,
        lease_until_ms BIGINT NOT NULL DEFAULT 0,
        lease_owner TEXT NOT NULL DEFAULT '',
        deliveries INTEGER NOT NULL DEFAULT 0,
        done {bytes}
    ) {narrow};
    CREATE INDEX {p}queue_jobs_ready ON {p}queue_jobs (queue, run_at_ms, id)
        WHERE lease_owner = '';
    CREATE INDEX {p}queue_jobs_held ON {p}queue_jobs (queue)
        WHERE lease_owner <> '';
    CREATE TABLE {p}queue_bodies (
        job_id BIGINT PRIMARY KEY,
        body {bytes} NOT NULL
    );
    CREATE TABLE {p}queue_payloads (
        push_id TEXT PRIMARY KEY,
        outstanding BIGINT NOT NULL,
        body {bytes} NOT NULL
    );
    CREATE TABLE {p}queue_dead (
        id {id},
        queue TEXT NOT NULL,
        push_id TEXT NOT NULL,
        letter {bytes} NOT NULL,
        raw {bytes} NOT NULL,
        payload {bytes} NOT NULL
    );
    CREATE TABLE {p}queue_once (
        push_id TEXT PRIMARY KEY,
        expires_ms BIGINT NOT NULL
    );
    CREATE INDEX {p}queue_once_expires ON {p}queue_once (expires_ms);
    """,
    """
    CREATE TABLE {p}queue_tokens (
        name TEXT PRIMARY KEY,
        value TEXT NOT NULL,
        made_at_ms BIGINT NOT NULL,
        expires_ms BIGINT NOT NULL
    );
    """,
    """
    ALTER TABLE {p}queue_jobs ADD COLUMN scheduled_uid TEXT;
    CREATE INDEX {p}queue_jobs_scheduled ON {p}queue_jobs (scheduled_uid)
        WHERE scheduled_uid IS NOT NULL;
    CREATE TABLE {p}queue_rates (
        name TEXT PRIMARY KEY,
        states TEXT NOT NULL,
        expires_ms BIGINT NOT NULL
    ) {narrow};
    CREATE INDEX {p}queue_rates_expires ON {p}queue_rates (expires_ms);
    """,
    """
    CREATE TABLE {p}queue_origin (
        one INTEGER PRIMARY KEY,
        origin TEXT NOT NULL
    );
    """,
)

_WORDS = {
    "postgresql": {
        "id": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
        "bytes": "BYTEA",
        "narrow": "WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02,"
        " autovacuum_vacuum_threshold = 500)",
    },
    "sqlite": {
        "id": "INTEGER PRIMARY KEY AUTOINCREMENT",
        "bytes": "BLOB",
        "narrow": "",
    },
}


@dataclass(frozen=True, slots=True)
class Tables:
    """The queue's tables under one prefix, as SQLAlchemy Core sees them."""

    jobs: Table
    bodies: Table
    payloads: Table
    dead: Table
    once: Table
    rates: Table
    origin: Table
    tokens: Table


def build_tables(prefix: str) -> Tables:
    """Raises `ValueError` for a prefix that is not `[a-z0-9_]{0,30}`."""
    if not _PREFIX.fullmatch(prefix):
        raise ValueError(
            f"queue table prefix {prefix!r}: use up to 30 of a-z, 0-9 and _"
        )
    metadata = MetaData()
    return Tables(
        jobs=Table(
            f"{prefix}queue_jobs",
            metadata,
            Column(
                "id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True
            ),
            Column("queue", Text),
            Column("push_id", Text),
            Column("run_at_ms", BigInteger),
            Column("lease_until_ms", BigInteger),
            Column("lease_owner", Text),
            Column("deliveries", Integer),
            Column("done", LargeBinary),
            Column("scheduled_uid", Text),
        ),
        bodies=Table(
            f"{prefix}queue_bodies",
            metadata,
            Column("job_id", BigInteger, primary_key=True, autoincrement=False),
            Column("body", LargeBinary),
        ),
        payloads=Table(
            f"{prefix}queue_payloads",
            metadata,
            Column("push_id", Text, primary_key=True),
            Column("outstanding", BigInteger),
            Column("body", LargeBinary),
        ),
        dead=Table(
            f"{prefix}queue_dead",
            metadata,
            Column(
                "id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True
            ),
            Column("queue", Text),
            Column("push_id", Text),
            Column("letter", LargeBinary),
            Column("raw", LargeBinary),
            Column("payload", LargeBinary),
        ),
        once=Table(
            f"{prefix}queue_once",
            metadata,
            Column("push_id", Text, primary_key=True),
            Column("expires_ms", BigInteger),
        ),
        rates=Table(
            f"{prefix}queue_rates",
            metadata,
            Column("name", Text, primary_key=True),
            Column("states", Text),
            Column("expires_ms", BigInteger),
        ),
        origin=Table(
            f"{prefix}queue_origin",
            metadata,
            Column("one", Integer, primary_key=True, autoincrement=False),
            Column("origin", Text),
        ),
        tokens=Table(
            f"{prefix}queue_tokens",
            metadata,
            Column("name", Text, primary_key=True),
            Column("value", Text),
            Column("made_at_ms", BigInteger),
            Column("expires_ms", BigInteger),
        ),
    )


class QueueSchemaError(Exception):
    """The queue's tables are not those of this release; nothing was changed."""


async def require_steps(connection: AsyncConnection, prefix: str) -> None:
    """Raise `QueueSchemaError` unless the tables are up to date; changes nothing."""
    ledger = f"{prefix}tocsin_queue_migrations"
    if not await connection.run_sync(lambda c: inspect(c).has_table(ledger)):
        raise QueueSchemaError(
            f"the queue's database has no tables of a queue with the prefix {prefix!r}:"
            " run `tocsin migrate`, or check that the configuration is the server's"
        )
    found = await connection.exec_driver_sql(f"SELECT max(version) FROM {ledger}")  # noqa: S608 - the prefix is checked
    applied = found.scalar() or 0
    if applied < len(_STEPS):
        raise QueueSchemaError(
            f"the queue's tables are at step {applied}, this release needs"
            f" {len(_STEPS)}: run `tocsin migrate`"
        )
    if applied > len(_STEPS):
        raise QueueSchemaError(
            f"the queue's tables are at step {applied}, this release knows up to"
            f" {len(_STEPS)}: run the newer release"
        )


async def migrate(connection: AsyncConnection, prefix: str) -> int:
    """Bring the tables up to date inside the given transaction.

    Several processes may do so at once: PostgreSQL takes a lock of its own here,
    on SQLite the transaction must be one that writes. Returns how many steps were
    applied. Steps of a newer release are left alone.
    """
    dialect = connection.dialect.name
    if dialect == "postgresql":
        await connection.execute(
            text("SELECT pg_advisory_xact_lock(hashtext(:name))"),
            {"name": f"{prefix}tocsin_queue_migrations"},
        )
    ledger = f"{prefix}tocsin_queue_migrations"
    await connection.exec_driver_sql(
        f"CREATE TABLE IF NOT EXISTS {ledger}"
        " (version INTEGER PRIMARY KEY, applied_at BIGINT NOT NULL)"
    )
    found = await connection.exec_driver_sql(f"SELECT max(version) FROM {ledger}")  # noqa: S608 - the prefix is checked
    applied = found.scalar() or 0
    for version, step in enumerate(_STEPS[applied:], start=applied + 1):
        statements = step.format(p=prefix, **_WORDS[dialect]).split(";")
        for statement in filter(str.strip, statements):
            await connection.exec_driver_sql(statement)
        await connection.execute(
            text(f"INSERT INTO {ledger} VALUES (:version, :now)"),  # noqa: S608 - as above
            {"version": version, "now": int(time.time())},
        )
    return max(0, len(_STEPS) - applied)
