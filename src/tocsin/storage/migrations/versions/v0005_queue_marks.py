"""What the registry knows of the queue's data, and which data took each uid.

Part of the storage room; a released revision must not be changed any more.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "v0005"
down_revision = "v0004"
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    """Create the table, and add the column."""
    op.create_table(
        "push_queues",
        sa.Column("epoch", _TEXT, primary_key=True),
        sa.Column("place", _TEXT, nullable=False),
        sa.Column("accepted", sa.BigInteger, nullable=False),
        sa.Column("seen_at_ms", sa.BigInteger, nullable=False),
        sa.Column("replaced_at_ms", sa.BigInteger, nullable=False),
        sa.Column("lost_at_ms", sa.BigInteger, nullable=False),
        sa.Column("lost", _TEXT, nullable=False),
    )
    op.add_column(
        "push_uids",
        sa.Column("queue_epoch", _TEXT, nullable=False, server_default=""),
    )
