"""Jobs for later that can be found by uid, and buckets that all workers share.

Part of the queue room; a released revision must not be changed any more.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "q0003"
down_revision = "q0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, and create the table."""
    prefix = op.get_context().opts["prefix"]
    jobs, rates = f"{prefix}queue_jobs", f"{prefix}queue_rates"
    op.add_column(jobs, sa.Column("scheduled_uid", sa.Text))
    scheduled = sa.text("scheduled_uid IS NOT NULL")
    op.create_index(
        f"{jobs}_scheduled",
        jobs,
        ["scheduled_uid"],
        postgresql_where=scheduled,
        sqlite_where=scheduled,
    )
    op.create_table(
        rates,
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("states", sa.Text, nullable=False),
        sa.Column("expires_ms", sa.BigInteger, nullable=False),
        postgresql_with={  # rows that change often, as those of jobs
            "fillfactor": 50,
            "autovacuum_vacuum_scale_factor": 0.02,
            "autovacuum_vacuum_threshold": 500,
        },
    )
    op.create_index(f"{rates}_expires", rates, ["expires_ms"])
