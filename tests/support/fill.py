"""Many devices at once, straight into the tables: registering is not the subject."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

import psycopg

from tocsin.core.ids import new_id
from tocsin.storage.tables import token_key

DEVICE_COLUMNS = (
    "id, provider, token, token_key, platform, user_id, timezone, locale, meta, tags,"
    " integration, webpush_keys, created_at_ms, updated_at_ms, registered_at_ms,"
    " removed_reason"
)
TOPIC_COLUMNS = "id, device_id, topic, origins"


def _rows(
    tokens: Sequence[str], topic: str, provider: str, webpush_keys: str = ""
) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    now = int(time.time() * 1000) - 1000
    devices: list[tuple[object, ...]] = []
    topics: list[tuple[object, ...]] = []
    for number, token in enumerate(tokens):
        id = new_id(provider)
        row: tuple[object, ...] = (
            id,
            provider,
            token,
            token_key(provider, token),
            "android",
        )
        row += (f"u{number}", "", "en-US", "{}", "{}", "", webpush_keys)
        row += (now, now, now, "")
        devices.append(row)
        topics.append((new_id("device_topic"), id, topic, 1))
    return devices, topics


def fill_postgres(
    dsn: str,
    tokens: Sequence[str],
    topic: str,
    *,
    provider: str = "fcm",
    webpush_keys: str = "",
) -> None:
    """Put one device per token on the topic, by COPY, and ANALYZE.

    All browsers of Web Push get the same keys.
    """
    devices, topics = _rows(tokens, topic, provider, webpush_keys)
    with psycopg.connect(dsn, autocommit=True) as connection:
        with connection.cursor() as cursor:
            command = f"COPY devices ({DEVICE_COLUMNS}) FROM STDIN"
            with cursor.copy(command) as copy:
                for row in devices:
                    copy.write_row(row)
            command = f"COPY device_topics ({TOPIC_COLUMNS}) FROM STDIN"
            with cursor.copy(command) as copy:
                for row in topics:
                    copy.write_row(row)
        connection.execute("ANALYZE")


def fill_sqlite(
    path: Path, tokens: Sequence[str], topic: str, *, provider: str = "fcm"
) -> None:
    """Put one device per token on the topic; a server may have the file open."""
    devices, topics = _rows(tokens, topic, provider)
    connection = sqlite3.connect(path, timeout=30)
    try:
        with connection:
            marks = ", ".join("?" * 16)
            connection.executemany(
                f"INSERT INTO devices ({DEVICE_COLUMNS}) VALUES ({marks})", devices
            )
            connection.executemany(
                f"INSERT INTO device_topics ({TOPIC_COLUMNS}) VALUES (?, ?, ?, ?)",
                topics,
            )
    finally:
        connection.close()
