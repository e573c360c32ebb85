"""How releases before Alembic made the SQL queue's tables: their code, as it was."""

from __future__ import annotations

import time

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

# {p} is the prefix, {id} a key that counts by itself and never comes back, {bytes}
# the type of bytes, {narrow} how rows that change often are stored: room for new
# versions on the same page, cleaned up long before a fifth of the table is dead.
# The index of held jobs is without lease_until_ms, so that renewing touches none.
STEPS: tuple[str, ...] = (
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


async def migrate(
    connection: AsyncConnection, prefix: str = "", upto: int = len(STEPS)
) -> int:
    """Bring the tables up to date inside the given transaction.

    Several processes may do so at once: PostgreSQL takes a lock of its own here,
    on SQLite the transaction must be one that writes. Returns how many steps were
    applied, which is what a release with `upto` steps would do.
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
    found = await connection.exec_driver_sql(f"SELECT max(version) FROM {ledger}")
    applied = found.scalar() or 0
    for version, step in enumerate(STEPS[applied:upto], start=applied + 1):
        statements = step.format(p=prefix, **_WORDS[dialect]).split(";")
        for statement in filter(str.strip, statements):
            await connection.exec_driver_sql(statement)
        await connection.execute(
            text(f"INSERT INTO {ledger} VALUES (:version, :now)"),
            {"version": version, "now": int(time.time())},
        )
    return max(0, upto - applied)
