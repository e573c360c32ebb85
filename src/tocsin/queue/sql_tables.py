"""Tables of the SQL queue, as statements name them; `migrations` makes them.

Part of the queue room; it must not read or write jobs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)

_PREFIX = re.compile(r"[a-z0-9_]{0,30}")


@dataclass(frozen=True, slots=True)
class Tables:
    """The queue's tables under one prefix, as SQLAlchemy Core sees them."""

    jobs: Table
    bodies: Table
    payloads: Table
    dead: Table
    once: Table
    rates: Table
    origin: Table
    tokens: Table
    accounts: Table


def build_tables(prefix: str) -> Tables:
    """Raises `ValueError` for a prefix that is not `[a-z0-9_]{0,30}`."""
    if not _PREFIX.fullmatch(prefix):
        raise ValueError(
            f"queue table prefix {prefix!r}: use up to 30 of a-z, 0-9 and _"
        )
    metadata = MetaData()
    return Tables(
        jobs=Table(
            f"{prefix}queue_jobs",
            metadata,
            Column(
                "id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True
            ),
            Column("queue", Text),
            Column("push_id", Text),
            Column("run_at_ms", BigInteger),
            Column("lease_until_ms", BigInteger),
            Column("lease_owner", Text),
            Column("deliveries", Integer),
            Column("done", LargeBinary),
            Column("scheduled_uid", Text),
        ),
        bodies=Table(
            f"{prefix}queue_bodies",
            metadata,
            Column("job_id", BigInteger, primary_key=True, autoincrement=False),
            Column("body", LargeBinary),
        ),
        payloads=Table(
            f"{prefix}queue_payloads",
            metadata,
            Column("push_id", Text, primary_key=True),
            Column("outstanding", BigInteger),
            Column("body", LargeBinary),
        ),
        dead=Table(
            f"{prefix}queue_dead",
            metadata,
            Column(
                "id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True
            ),
            Column("queue", Text),
            Column("push_id", Text),
            Column("letter", LargeBinary),
            Column("raw", LargeBinary),
            Column("payload", LargeBinary),
        ),
        once=Table(
            f"{prefix}queue_once",
            metadata,
            Column("push_id", Text, primary_key=True),
            Column("expires_ms", BigInteger),
        ),
        rates=Table(
            f"{prefix}queue_rates",
            metadata,
            Column("name", Text, primary_key=True),
            Column("states", Text),
            Column("expires_ms", BigInteger),
        ),
        origin=Table(
            f"{prefix}queue_origin",
            metadata,
            Column("one", Integer, primary_key=True, autoincrement=False),
            Column("origin", Text),
            # How far the keeper of the send log has come.
            Column("keeper", BigInteger),
        ),
        tokens=Table(
            f"{prefix}queue_tokens",
            metadata,
            Column("name", Text, primary_key=True),
            Column("value", Text),
            Column("made_at_ms", BigInteger),
            Column("expires_ms", BigInteger),
        ),
        accounts=Table(
            f"{prefix}queue_accounts",
            metadata,
            Column("push_id", Text, primary_key=True),
            Column("version", BigInteger),
            Column("account", Text),
            # 0 while it has unread changes, and 0 while work is left.
            Column("read_version", BigInteger),
            Column("ended_ms", BigInteger),
        ),
    )
