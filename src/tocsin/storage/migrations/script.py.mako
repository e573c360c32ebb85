"""${message}.

Part of the storage room; a released revision must not be changed any more.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    """Say what changes."""
    ${upgrades if upgrades else "raise NotImplementedError"}
