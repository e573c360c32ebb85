"""Brings the topic rows of devices to what is wanted, many devices at once.

Part of the storage room; callers hold the lock on the devices' rows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

from sqlalchemy import Select, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tocsin.core.device import GLOBAL_USER, TopicOrigin
from tocsin.core.ids import new_id
from tocsin.storage.rows import among, among_given, as_list, delete_rows, insert_rows
from tocsin.storage.tables import device_topics, user_topics
from tocsin.storage.topic_sets import Origins, find_row_changes

Rows = dict[str, tuple[str, TopicOrigin]]
"""topic → (row id, origins), of one device."""


async def fetch_rows(
    connection: AsyncConnection, device_ids: Collection[str]
) -> dict[str, Rows]:
    """The stored topic rows by device; devices without any are missing."""
    found: dict[str, Rows] = {}
    if not device_ids:
        return found
    dialect = connection.dialect.name
    result = await connection.execute(
        _rows_statement(dialect), {"ids": as_list(device_ids, dialect)}
    )
    for device_id, topic, row_id, origins in result:
        found.setdefault(device_id, {})[topic] = (row_id, TopicOrigin(origins))
    return found


async def fetch_bound(
    connection: AsyncConnection, users: Collection[str]
) -> dict[str, list[str]]:
    """The topics bound to these users, and those bound to everybody."""
    wanted = {*users, GLOBAL_USER}
    dialect = connection.dialect.name
    result = await connection.execute(
        _bound_statement(dialect), {"users": as_list(wanted, dialect)}
    )
    bound: dict[str, list[str]] = {user: [] for user in wanted}
    for user, topic in result:
        bound[user].append(topic)
    return bound


@cache
def _rows_statement(dialect: str) -> Select[Any]:
    table = device_topics.c
    return select(table.device_id, table.topic, table.id, table.origins).where(
        among_given(table.device_id, "ids", dialect)
    )


@cache
def _bound_statement(dialect: str) -> Select[Any]:
    table = user_topics.c
    return (
        select(table.user_id, table.topic)
        .where(among_given(table.user_id, "users", dialect))
        .order_by(table.id)
    )


def held_topics(rows: Rows) -> dict[str, TopicOrigin]:
    """The topics of a device without their row ids."""
    return {topic: origins for topic, (_, origins) in rows.items()}


async def write_topics(
    connection: AsyncConnection,
    stored: Mapping[str, Rows],
    wanted: Mapping[str, Origins],
) -> None:
    """Write the difference for every device of `wanted`."""
    gone: list[str] = []
    changed: defaultdict[TopicOrigin, list[str]] = defaultdict(list)
    added: list[dict[str, object]] = []
    for device_id, topics in wanted.items():
        changes = find_row_changes(stored.get(device_id, {}), topics)
        gone.extend(changes.gone)
        for row_id, origins in changes.changed:
            changed[origins].append(row_id)
        added.extend(
            {
                "id": new_id("device_topic"),
                "device_id": device_id,
                "topic": topic,
                "origins": int(origins),
            }
            for topic, origins in changes.added
        )
    await delete_rows(connection, device_topics, gone)
    for origins, ids in changed.items():
        await connection.execute(
            update(device_topics)
            .where(among(device_topics.c.id, ids, connection.dialect.name))
            .values(origins=int(origins))
        )
    await insert_rows(connection, device_topics, added)
