"""Breakers that workers share, and removals that wait for a person.

Part of the storage room; a released revision must not be changed any more.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "v0007"
down_revision = "v0006"
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    """Create the tables, and add the columns."""
    op.create_table(
        "breakers",
        sa.Column("name", _TEXT, primary_key=True),
        sa.Column("state", _TEXT, nullable=False),
        sa.Column("changed_at_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "removal_limits",
        sa.Column("provider", _TEXT, primary_key=True),
        sa.Column("integration", _TEXT, primary_key=True),
        sa.Column("removed", _TEXT, nullable=False),
        sa.Column("counted", sa.BigInteger, nullable=False),
        sa.Column("counted_at_ms", sa.BigInteger, nullable=False),
        sa.Column("reported_at_ms", sa.BigInteger, nullable=False),
    )
    # Without a default, so that neither database rewrites its rows.
    op.add_column("devices", sa.Column("suspected_by", _TEXT))
    op.add_column("devices", sa.Column("held_at_ms", sa.BigInteger))
    op.add_column("devices", sa.Column("held_before_ms", sa.BigInteger))
    op.add_column("devices", sa.Column("held_reason", _TEXT))
    held = sa.text("held_at_ms IS NOT NULL")
    op.create_index(
        "devices_held_at_idx",
        "devices",
        ["held_at_ms"],
        postgresql_where=held,
        sqlite_where=held,
    )
