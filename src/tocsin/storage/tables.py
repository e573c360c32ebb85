"""The tables of the device registry as SQLAlchemy Core sees them.

Part of the storage room; migrations create the tables, this file must not.
"""

from __future__ import annotations

from hashlib import sha256

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import TEXT as PG_TEXT

# Byte order everywhere: ids are cursors, and prefixes are ranges. SQLite compares
# bytes anyway.
TEXT = Text().with_variant(PG_TEXT(collation="C"), "postgresql")
JSON_MAP = JSON().with_variant(JSONB(), "postgresql")

metadata = MetaData()

devices = Table(
    "devices",
    metadata,
    Column("id", TEXT, primary_key=True),
    Column("provider", TEXT, nullable=False),
    Column("token", TEXT, nullable=False),
    # A Web Push endpoint can be longer than an index entry may be.
    Column("token_key", TEXT, nullable=False),
    Column("platform", TEXT, nullable=False),
    Column("user_id", TEXT, nullable=False),
    Column("timezone", TEXT, nullable=False),
    Column("locale", TEXT, nullable=False),
    Column("meta", JSON_MAP, nullable=False),
    Column("tags", JSON_MAP, nullable=False),
    Column("integration", TEXT, nullable=False),
    Column("webpush_keys", TEXT, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("updated_at_ms", BigInteger, nullable=False),
    Column("registered_at_ms", BigInteger, nullable=False),
    Column("removed_at_ms", BigInteger),
    Column("removed_reason", TEXT, nullable=False),
    # Set when a guarded verdict was believed: the time, and the number of deliveries
    # of its credential until then.
    # With the send (`push_id`) that got the verdict: only another one confirms it.
    Column("suspected_at_ms", BigInteger),
    Column("suspected_after", BigInteger),
    Column("suspected_by", TEXT),
    # Set when a definite verdict waits for a person, with what it was about: see
    # `DeadToken`.
    Column("held_at_ms", BigInteger),
    Column("held_before_ms", BigInteger),
    Column("held_reason", TEXT),
    UniqueConstraint("token_key", name="devices_token_key_unique"),
    Index("devices_user_id_idx", "user_id", "id"),
    Index("devices_updated_at_idx", "updated_at_ms"),
    Index(
        "devices_integration_idx",
        "integration",
        "id",
        postgresql_where=text("integration <> ''"),
        sqlite_where=text("integration <> ''"),
    ),
    Index(
        "devices_removed_at_idx",
        "removed_at_ms",
        postgresql_where=text("removed_at_ms IS NOT NULL"),
        sqlite_where=text("removed_at_ms IS NOT NULL"),
    ),
    Index(
        "devices_suspected_at_idx",
        "suspected_at_ms",
        postgresql_where=text("suspected_at_ms IS NOT NULL"),
        sqlite_where=text("suspected_at_ms IS NOT NULL"),
    ),
    Index(
        "devices_held_at_idx",
        "held_at_ms",
        postgresql_where=text("held_at_ms IS NOT NULL"),
        sqlite_where=text("held_at_ms IS NOT NULL"),
    ),
    # On PostgreSQL there is one more, devices_tags_idx: see the first migration.
)

device_topics = Table(
    "device_topics",
    metadata,
    Column("id", TEXT, primary_key=True),
    Column(
        "device_id", TEXT, ForeignKey("devices.id", ondelete="CASCADE"), nullable=False
    ),
    Column("topic", TEXT, nullable=False),
    Column("origins", SmallInteger, nullable=False),
    UniqueConstraint("device_id", "topic", name="device_topics_device_topic_unique"),
    Index("device_topics_topic_device_idx", "topic", "device_id"),
)

user_topics = Table(
    "user_topics",
    metadata,
    Column("id", TEXT, primary_key=True),
    Column("user_id", TEXT, nullable=False),
    Column("topic", TEXT, nullable=False),
    UniqueConstraint("user_id", "topic", name="user_topics_user_topic_unique"),
    Index("user_topics_topic_idx", "topic"),
)

push_uids = Table(
    "push_uids",
    metadata,
    Column("uid", TEXT, primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("push_id", TEXT, nullable=False),
    Column("accepted", Boolean, nullable=False),
    Column("expires_at_ms", BigInteger, nullable=False),
    # The data of the queue that has the work; empty where an older release took it.
    Column("queue_epoch", TEXT, nullable=False, server_default=""),
    Index("push_uids_expires_at_idx", "expires_at_ms"),
)

# A row per epoch of the queue's data: how much was certainly accepted (`accepted`),
# when it was last in use (`seen_at_ms`), since when other data stands in its place
# (`replaced_at_ms`), and what it was last found to have lost.
push_queues = Table(
    "push_queues",
    metadata,
    Column("epoch", TEXT, primary_key=True),
    Column("place", TEXT, nullable=False),
    Column("accepted", BigInteger, nullable=False),
    Column("seen_at_ms", BigInteger, nullable=False),
    Column("replaced_at_ms", BigInteger, nullable=False),
    Column("lost_at_ms", BigInteger, nullable=False),
    Column("lost", TEXT, nullable=False),
)

# A row per send, written before its work is queued. `work` is its payload with its
# first jobs while it is open, `accounts` a JSON object of generation → account, `seen`
# whether the queue has ever told of it, `fence` the keeper that wrote last, `about` a
# JSON object of what is only shown. An index costs every send an entry, so there are
# three: ids sort by time, and are what the log is listed and purged by.
push_sends = Table(
    "push_sends",
    metadata,
    Column("push_id", TEXT, primary_key=True),
    Column("uid", TEXT, nullable=False),
    Column("progress", TEXT, nullable=False),
    Column("accepted_at_ms", BigInteger, nullable=False),
    Column("due_at_ms", BigInteger, nullable=False),
    Column("expire_at_ms", BigInteger, nullable=False),
    Column("ended_at_ms", BigInteger, nullable=False),
    Column("epoch", TEXT, nullable=False),
    Column("repairs", Integer, nullable=False),
    Column("note", TEXT, nullable=False),
    Column("seen", Boolean, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("about", TEXT, nullable=False),
    Column("work", LargeBinary, nullable=False),
    Column("accounts", TEXT, nullable=False),
    Index("push_sends_uid_idx", "uid"),
    Index(
        "push_sends_open_idx",
        "seen",
        "push_id",
        postgresql_where=text("ended_at_ms = 0"),
        sqlite_where=text("ended_at_ms = 0"),
    ),
)

# One row: which process keeps the send log, and a number that rises with each look.
push_keeper = Table(
    "push_keeper",
    metadata,
    Column("one", Integer, primary_key=True, autoincrement=False),
    Column("owner", TEXT, nullable=False),
    Column("until_ms", BigInteger, nullable=False),
    Column("fence", BigInteger, nullable=False),
)

# The queue's dead letters once more, by digest, should the queue lose them.
push_letter_copies = Table(
    "push_letter_copies",
    metadata,
    Column("digest", TEXT, primary_key=True),
    Column("queue", TEXT, nullable=False),
    Column("push_id", TEXT, nullable=False),
    Column("letter", LargeBinary, nullable=False),
    Column("raw", LargeBinary, nullable=False),
    Column("payload", LargeBinary, nullable=False),
)

# Results for callers; `about` is JSON. Positions rise without gaps, see `results.py`.
push_results = Table(
    "push_results",
    metadata,
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("recorded_at_ms", BigInteger, nullable=False),
    Column("detail", TEXT, nullable=False),
    Column("outcome", TEXT, nullable=False),
    Column("uid", TEXT, nullable=False),
    Column("provider", TEXT, nullable=False),
    Column("about", TEXT, nullable=False),
    Index("push_results_uid_idx", "uid", "position"),
)

# One row: the newest position, and the newest that is not kept any more.
push_result_head = Table(
    "push_result_head",
    metadata,
    Column("one", Integer, primary_key=True, autoincrement=False),
    Column("last", BigInteger, nullable=False),
    Column("forgotten", BigInteger, nullable=False),
)

# Appended to and read by the analytics room, in words of its own.
push_analytics = Table(
    "push_analytics",
    metadata,
    Column(
        "id",
        BigInteger().with_variant(Integer, "sqlite"),
        Identity(always=True),
        primary_key=True,
    ),
    Column("uid", TEXT, nullable=False),
    Column("provider", TEXT, nullable=False),
    Column("type", TEXT, nullable=False),
    Column("recipient", TEXT, nullable=False),
    Column("device_id", TEXT, nullable=False),
    Column("platform", TEXT, nullable=False),
    Column("user_id", TEXT, nullable=False),
    Column("msg_id", TEXT, nullable=False),
    Column("status", TEXT, nullable=False),
    Column("error_message", TEXT, nullable=False),
    Column("error_code", TEXT, nullable=False),
    Column("time_ms", BigInteger, nullable=False),
    Index("push_analytics_uid_idx", "uid"),
)

push_tickets = Table(
    "push_tickets",
    metadata,
    Column("integration", TEXT, primary_key=True),
    Column("id", TEXT, primary_key=True),
    Column("provider", TEXT, nullable=False),
    Column("device_id", TEXT, nullable=False),
    Column("token", TEXT, nullable=False),
    Column("sent_at_ms", BigInteger, nullable=False),
    Column("due_at_ms", BigInteger, nullable=False),
    Index("push_tickets_due_at_idx", "due_at_ms"),
)

# One row per credential; `letters` are its last answers, of all workers.
credential_verdicts = Table(
    "credential_verdicts",
    metadata,
    Column("provider", TEXT, primary_key=True),
    Column("integration", TEXT, primary_key=True),
    Column("letters", TEXT, nullable=False),
    Column("delivered", BigInteger, nullable=False),
    Column("updated_at_ms", BigInteger, nullable=False),
)

# How many devices of an integration verdicts removed lately: `removed` has a line for
# each part of the window, `counted` is a lower bound of its living devices.
removal_limits = Table(
    "removal_limits",
    metadata,
    Column("provider", TEXT, primary_key=True),
    Column("integration", TEXT, primary_key=True),
    Column("removed", TEXT, nullable=False),
    Column("counted", BigInteger, nullable=False),
    Column("counted_at_ms", BigInteger, nullable=False),
    Column("reported_at_ms", BigInteger, nullable=False),
)

# A row for each open breaker and each halted send; see `core/breaker.py`.
breakers = Table(
    "breakers",
    metadata,
    Column("name", TEXT, primary_key=True),
    Column("state", TEXT, nullable=False),
    Column("changed_at_ms", BigInteger, nullable=False),
)

# The audit log. `subject` is JSON; `result` is empty until the call has ended.
admin_calls = Table(
    "admin_calls",
    metadata,
    Column(
        "id",
        BigInteger().with_variant(Integer, "sqlite"),
        Identity(always=True),
        primary_key=True,
    ),
    Column("at_ms", BigInteger, nullable=False),
    Column("actor", TEXT, nullable=False),
    Column("address", TEXT, nullable=False),
    Column("door", TEXT, nullable=False),
    Column("method", TEXT, nullable=False),
    Column("subject", TEXT, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("result", TEXT, nullable=False),
    Index("admin_calls_at_idx", "at_ms"),
)


def token_key(provider: str, token: str) -> str:
    """The key of the unique pair (provider, token): SHA-256 of both, in hex."""
    return sha256(f"{provider}\0{token}".encode()).hexdigest()
