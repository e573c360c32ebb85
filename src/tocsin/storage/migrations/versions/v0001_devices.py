"""Devices, their topics, users' topics and uids.

Part of the storage room; a released revision must not be changed any more.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "v0001"
down_revision = None
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    """Create the tables."""
    _create_devices()
    _create_topics()
    op.create_table(
        "push_uids",
        sa.Column("uid", _TEXT, primary_key=True),
        sa.Column("fingerprint", sa.LargeBinary, nullable=False),
        sa.Column("push_id", _TEXT, nullable=False),
        sa.Column("accepted", sa.Boolean, nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger, nullable=False),
    )
    op.create_index("push_uids_expires_at_idx", "push_uids", ["expires_at_ms"])


def _create_devices() -> None:
    op.create_table(
        "devices",
        sa.Column("id", _TEXT, primary_key=True),
        *(
            sa.Column(name, _TEXT, nullable=False)
            for name in (
                "provider",
                "token",
                "token_key",
                "platform",
                "user_id",
                "timezone",
                "locale",
            )
        ),
        sa.Column("meta", _JSON, nullable=False),
        sa.Column("tags", _JSON, nullable=False),
        sa.Column("integration", _TEXT, nullable=False),
        sa.Column("webpush_keys", _TEXT, nullable=False),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("updated_at_ms", sa.BigInteger, nullable=False),
        sa.Column("registered_at_ms", sa.BigInteger, nullable=False),
        sa.Column("removed_at_ms", sa.BigInteger),
        sa.Column("removed_reason", _TEXT, nullable=False),
        sa.UniqueConstraint("token_key", name="devices_token_key_unique"),
    )
    op.create_index("devices_user_id_idx", "devices", ["user_id", "id"])
    op.create_index("devices_updated_at_idx", "devices", ["updated_at_ms"])
    _create_partial(
        "devices_integration_idx", ["integration", "id"], "integration <> ''"
    )
    _create_partial(
        "devices_removed_at_idx", ["removed_at_ms"], "removed_at_ms IS NOT NULL"
    )
    if op.get_bind().dialect.name == "postgresql":
        # SQLite walks over the devices and looks into their tags instead.
        op.execute(
            "CREATE INDEX devices_tags_idx ON devices"
            " USING gin (tags jsonb_path_ops) WHERE tags <> '{}'::jsonb"
        )


def _create_partial(name: str, columns: list[str], where: str) -> None:
    condition = sa.text(where)
    op.create_index(
        name,
        "devices",
        columns,
        postgresql_where=condition,
        sqlite_where=condition,
    )


def _create_topics() -> None:
    op.create_table(
        "device_topics",
        sa.Column("id", _TEXT, primary_key=True),
        sa.Column(
            "device_id",
            _TEXT,
            sa.ForeignKey("devices.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("topic", _TEXT, nullable=False),
        sa.Column("origins", sa.SmallInteger, nullable=False),
        sa.UniqueConstraint(
            "device_id", "topic", name="device_topics_device_topic_unique"
        ),
    )
    op.create_index(
        "device_topics_topic_device_idx", "device_topics", ["topic", "device_id"]
    )
    op.create_table(
        "user_topics",
        sa.Column("id", _TEXT, primary_key=True),
        sa.Column("user_id", _TEXT, nullable=False),
        sa.Column("topic", _TEXT, nullable=False),
        sa.UniqueConstraint("user_id", "topic", name="user_topics_user_topic_unique"),
    )
    op.create_index("user_topics_topic_idx", "user_topics", ["topic"])
