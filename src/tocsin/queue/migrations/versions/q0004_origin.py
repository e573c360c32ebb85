"""The name of the queue's data.

Part of the queue room; a released revision must not be changed any more.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "q0004"
down_revision = "q0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    prefix = op.get_context().opts["prefix"]
    op.create_table(
        f"{prefix}queue_origin",
        sa.Column("one", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("origin", sa.Text, nullable=False),
    )
