"""Rows of what became of each push.

Part of the storage room; a released revision must not be changed any more.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "v0002"
down_revision = "v0001"
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create the table; rows are appended, purged from the old end, never changed."""
    op.create_table(
        "push_analytics",
        sa.Column("id", _ID, sa.Identity(always=True), primary_key=True),
        *(
            sa.Column(name, _TEXT, nullable=False)
            for name in (
                "uid",
                "provider",
                "type",
                "recipient",
                "device_id",
                "platform",
                "user_id",
                "msg_id",
                "status",
                "error_message",
                "error_code",
            )
        ),
        sa.Column("time_ms", sa.BigInteger, nullable=False),
    )
    op.create_index("push_analytics_uid_idx", "push_analytics", ["uid"])
