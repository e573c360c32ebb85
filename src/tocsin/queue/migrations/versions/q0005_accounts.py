"""The accounts of sends.

Part of the queue room; a released revision must not be changed any more.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "q0005"
down_revision = "q0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table, and the place for how far the send log has come."""
    prefix = op.get_context().opts["prefix"]
    op.create_table(
        f"{prefix}queue_accounts",
        sa.Column("push_id", sa.Text, primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("read_version", sa.BigInteger, nullable=False),
        sa.Column("ended_ms", sa.BigInteger, nullable=False),
        sa.Column("account", sa.Text, nullable=False),
    )
    op.create_index(
        f"{prefix}queue_accounts_changed_idx",
        f"{prefix}queue_accounts",
        ["push_id"],
        postgresql_where=sa.text("read_version <> version"),
        sqlite_where=sa.text("read_version <> version"),
    )
    op.create_index(
        f"{prefix}queue_accounts_ended_idx",
        f"{prefix}queue_accounts",
        ["ended_ms"],
        postgresql_where=sa.text("ended_ms > 0"),
        sqlite_where=sa.text("ended_ms > 0"),
    )
    op.add_column(
        f"{prefix}queue_origin",
        sa.Column("keeper", sa.BigInteger, nullable=False, server_default="0"),
    )
