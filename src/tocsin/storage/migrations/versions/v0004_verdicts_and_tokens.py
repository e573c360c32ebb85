"""What credentials were answered, and which devices are under suspicion.

Part of the storage room; a released revision must not be changed any more.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "v0004"
down_revision = "v0003"
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    """Add what the guards against purges remember."""
    op.create_table(
        "credential_verdicts",
        sa.Column("provider", _TEXT, primary_key=True),
        sa.Column("integration", _TEXT, primary_key=True),
        sa.Column("letters", _TEXT, nullable=False),
        sa.Column("delivered", sa.BigInteger, nullable=False),
        sa.Column("updated_at_ms", sa.BigInteger, nullable=False),
    )
    # Without a default, so that neither database rewrites its rows.
    op.add_column("devices", sa.Column("suspected_at_ms", sa.BigInteger))
    op.add_column("devices", sa.Column("suspected_after", sa.BigInteger))
    marked = sa.text("suspected_at_ms IS NOT NULL")
    op.create_index(
        "devices_suspected_at_idx",
        "devices",
        ["suspected_at_ms"],
        postgresql_where=marked,
        sqlite_where=marked,
    )
