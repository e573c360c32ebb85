"""Jobs, their payloads, dead letters and what was accepted once.

Part of the queue room; a released revision must not be changed any more.

Job rows are narrow: a lease changes a row several times, and PostgreSQL and SQLite
alike write the whole row again, so the bodies lie beside them.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "q0001"
down_revision = None
branch_labels = None
depends_on = None

# Rows that change often: room for new versions on the same page, cleaned up long
# before a fifth of the table is dead.
_NARROW = {
    "fillfactor": 50,
    "autovacuum_vacuum_scale_factor": 0.02,
    "autovacuum_vacuum_threshold": 500,
}


def upgrade() -> None:
    """Create the tables."""
    prefix = op.get_context().opts["prefix"]
    _create_jobs(prefix)
    op.create_table(
        f"{prefix}queue_payloads",
        sa.Column("push_id", sa.Text, primary_key=True),
        sa.Column("outstanding", sa.BigInteger, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        f"{prefix}queue_dead",
        _counted(),
        sa.Column("queue", sa.Text, nullable=False),
        sa.Column("push_id", sa.Text, nullable=False),
        sa.Column("letter", sa.LargeBinary, nullable=False),
        sa.Column("raw", sa.LargeBinary, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        f"{prefix}queue_once",
        sa.Column("push_id", sa.Text, primary_key=True),
        sa.Column("expires_ms", sa.BigInteger, nullable=False),
    )
    op.create_index(
        f"{prefix}queue_once_expires", f"{prefix}queue_once", ["expires_ms"]
    )


def _create_jobs(prefix: str) -> None:
    jobs = f"{prefix}queue_jobs"
    op.create_table(
        jobs,
        _counted(),
        sa.Column("queue", sa.Text, nullable=False),
        sa.Column("push_id", sa.Text, nullable=False),
        sa.Column("run_at_ms", sa.BigInteger, nullable=False),
        sa.Column(
            "lease_until_ms",
            sa.BigInteger,
            nullable=False,
            server_default=sa.text("0"),
        ),
        sa.Column("lease_owner", sa.Text, nullable=False, server_default=sa.text("''")),
        sa.Column(
            "deliveries", sa.Integer, nullable=False, server_default=sa.text("0")
        ),
        sa.Column("done", sa.LargeBinary),
        sqlite_autoincrement=True,
        postgresql_with=_NARROW,
    )
    ready, held = sa.text("lease_owner = ''"), sa.text("lease_owner <> ''")
    op.create_index(
        f"{jobs}_ready",
        jobs,
        ["queue", "run_at_ms", "id"],
        postgresql_where=ready,
        sqlite_where=ready,
    )
    # Without lease_until_ms, so that renewing touches no index.
    op.create_index(
        f"{jobs}_held", jobs, ["queue"], postgresql_where=held, sqlite_where=held
    )
    op.create_table(
        f"{prefix}queue_bodies",
        sa.Column("job_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )


def _counted() -> sa.Column[int]:
    """A key that counts by itself and never comes back."""
    return sa.Column(
        "id",
        sa.BigInteger().with_variant(sa.Integer, "sqlite"),
        sa.Identity(always=True),
        primary_key=True,
    )
