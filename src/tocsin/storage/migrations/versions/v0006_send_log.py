"""The send log, and who keeps it.

Part of the storage room; a released revision must not be changed any more.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "v0006"
down_revision = "v0005"
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
_OPEN = sa.text("ended_at_ms = 0")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "push_sends",
        sa.Column("push_id", _TEXT, primary_key=True),
        sa.Column("uid", _TEXT, nullable=False),
        sa.Column("progress", _TEXT, nullable=False),
        sa.Column("accepted_at_ms", sa.BigInteger, nullable=False),
        sa.Column("due_at_ms", sa.BigInteger, nullable=False),
        sa.Column("expire_at_ms", sa.BigInteger, nullable=False),
        sa.Column("ended_at_ms", sa.BigInteger, nullable=False),
        sa.Column("epoch", _TEXT, nullable=False),
        sa.Column("repairs", sa.Integer, nullable=False),
        sa.Column("note", _TEXT, nullable=False),
        sa.Column("seen", sa.Boolean, nullable=False),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("about", _TEXT, nullable=False),
        sa.Column("work", sa.LargeBinary, nullable=False),
        sa.Column("accounts", _TEXT, nullable=False),
    )
    op.create_index("push_sends_uid_idx", "push_sends", ["uid"])
    op.create_index(
        "push_sends_open_idx",
        "push_sends",
        ["seen", "push_id"],
        postgresql_where=_OPEN,
        sqlite_where=_OPEN,
    )
    op.create_table(
        "push_keeper",
        sa.Column("one", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("owner", _TEXT, nullable=False),
        sa.Column("until_ms", sa.BigInteger, nullable=False),
        sa.Column("fence", sa.BigInteger, nullable=False),
    )
