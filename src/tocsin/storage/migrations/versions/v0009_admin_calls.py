"""The audit log: who asked for which administrative call, and what came of it.

Part of the storage room; a released revision must not be changed any more.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "v0009"
down_revision = "v0007"
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "admin_calls",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer, "sqlite"),
            sa.Identity(always=True),
            primary_key=True,
        ),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("actor", _TEXT, nullable=False),
        sa.Column("address", _TEXT, nullable=False),
        sa.Column("door", _TEXT, nullable=False),
        sa.Column("method", _TEXT, nullable=False),
        sa.Column("subject", _TEXT, nullable=False),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.Column("result", _TEXT, nullable=False),
    )
    op.create_index("admin_calls_at_idx", "admin_calls", ["at_ms"])
