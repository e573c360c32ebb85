"""Results that are told to callers.

Part of the storage room; a released revision must not be changed any more.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "v0011"
down_revision = "v0010"
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "push_results",
        sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("recorded_at_ms", sa.BigInteger, nullable=False),
        sa.Column("detail", _TEXT, nullable=False),
        sa.Column("outcome", _TEXT, nullable=False),
        sa.Column("uid", _TEXT, nullable=False),
        sa.Column("provider", _TEXT, nullable=False),
        sa.Column("about", _TEXT, nullable=False),
    )
    op.create_index("push_results_uid_idx", "push_results", ["uid", "position"])
    op.create_table(
        "push_result_head",
        sa.Column("one", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("last", sa.BigInteger, nullable=False),
        sa.Column("forgotten", sa.BigInteger, nullable=False),
    )
