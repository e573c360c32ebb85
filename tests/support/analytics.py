"""Rows of analytics as tests need them."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any

from tocsin.core.analytics import NotificationRow
from tocsin.core.ports.analytics import AnalyticsStore

NOW_MS = 1_800_000_000_000

_PLAIN = NotificationRow(
    uid="u1",
    provider="fcm",
    type="filter",
    recipient="0123456789abcdef",
    device_id="",
    platform="android",
    user="",
    msg_id="",
    status="sent",
    error_message="",
    error_code="",
    time_ms=NOW_MS,
)

_UNESCAPED = {"\\\\": "\\", "\\t": "\t", "\\n": "\n", "\\r": "\r"}


def row(**fields: Any) -> NotificationRow:
    """A row that differs from a plain one in these fields."""
    return _PLAIN._replace(**fields)


async def put(store: AnalyticsStore, rows: Iterable[NotificationRow]) -> None:
    """Store rows as one batch."""
    await store.append(list(rows), batch_id=uuid.uuid4().hex)


def decode_row(line: str) -> list[str]:
    """The fields of a line of text rows, as PostgreSQL and ClickHouse read it."""
    fields = []
    for field in line.split("\t"):
        text, at = "", 0
        while at < len(field):
            pair = field[at : at + 2]
            text += _UNESCAPED.get(pair, field[at])
            at += 2 if pair in _UNESCAPED else 1
        fields.append(text)
    return fields
