"""Copies of the queue's dead letters.

Part of the storage room; a released revision must not be changed any more.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "v0010"
down_revision = "v0009"
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "push_letter_copies",
        sa.Column("digest", _TEXT, primary_key=True),
        sa.Column("queue", _TEXT, nullable=False),
        sa.Column("push_id", _TEXT, nullable=False),
        sa.Column("letter", sa.LargeBinary, nullable=False),
        sa.Column("raw", sa.LargeBinary, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
    )
