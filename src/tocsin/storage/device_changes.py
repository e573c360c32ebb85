"""Changes and removals of many selected devices, and of one device's topics.

Part of the storage room; it runs inside a transaction that others opened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tocsin.core.device import (
    GLOBAL_USER,
    DeviceChange,
    DeviceSelector,
    TagsChange,
    TopicOp,
    TopicOrigin,
    TopicsChange,
)
from tocsin.core.errors import Conflict, NotFound
from tocsin.storage.device_filters import LIVE, selector_conditions
from tocsin.storage.rows import among, delete_rows, lock_users
from tocsin.storage.tables import devices
from tocsin.storage.topic_rows import (
    fetch_bound,
    fetch_rows,
    held_topics,
    write_topics,
)
from tocsin.storage.topic_sets import change_origin, check_own_count


async def change_devices(
    connection: AsyncConnection,
    selector: DeviceSelector,
    change: DeviceChange,
    *,
    switch_user_topics: bool,
    topics_per_device: int,
    now_ms: int,
) -> int:
    """See `DeviceStore.update`."""
    if change.user:
        # Before any device is locked, as `lock_users` wants it: else two could
        # deadlock.
        await lock_users(connection, [change.user], alone=False)
    dialect = connection.dialect.name
    result = await connection.execute(
        select(devices.c.id, devices.c.user_id, devices.c.tags)
        .where(LIVE, *selector_conditions(selector, dialect))
        .order_by(devices.c.id)
        .with_for_update(key_share=True)
    )
    rows = result.all()
    if not rows:
        return 0
    # By id and not by the selector again: what is selected may have changed since.
    ids = [row.id for row in rows]
    await connection.execute(
        update(devices)
        .where(among(devices.c.id, ids, dialect))
        .values(updated_at_ms=now_ms, **_plain_values(change))
    )
    if change.tags is not None and change.tags.op is not TopicOp.SET:
        await _change_tags(connection, {row.id: row.tags for row in rows}, change.tags)
    moved: set[str] = set()
    if change.user is not None and switch_user_topics:
        moved = {row.id for row in rows if row.user_id != change.user}
    if change.topics is not None or moved:
        await _change_topics(connection, ids, change, moved, topics_per_device)
    return len(ids)


async def change_own_topics(
    connection: AsyncConnection,
    device_id: str,
    change: TopicsChange,
    *,
    owner: str,
    topics_per_device: int,
) -> None:
    """See `DeviceStore.update_topics`."""
    result = await connection.execute(
        select(devices.c.user_id)
        .where(LIVE, devices.c.id == device_id)
        .with_for_update(key_share=True)
    )
    user = result.scalar_one_or_none()
    if user is None:
        raise NotFound("device_id: no such device")
    if owner and user != owner:
        raise Conflict("user: the device belongs to another user")
    await _change_topics(
        connection, [device_id], DeviceChange(topics=change), set(), topics_per_device
    )


async def delete_devices(connection: AsyncConnection, selector: DeviceSelector) -> int:
    """See `DeviceStore.remove`."""
    conditions = selector_conditions(selector, connection.dialect.name)
    result = await connection.execute(
        select(devices.c.id, devices.c.removed_at_ms)
        .where(*conditions)
        .order_by(devices.c.id)
        .with_for_update()
    )
    rows = result.all()
    await delete_rows(connection, devices, [row.id for row in rows])
    return sum(row.removed_at_ms is None for row in rows)


def _plain_values(change: DeviceChange) -> dict[str, Any]:
    values: dict[str, Any] = {
        "user_id": change.user,
        "timezone": change.timezone,
        "locale": change.locale,
        "meta": None if change.meta is None else dict(change.meta),
    }
    if change.tags is not None and change.tags.op is TopicOp.SET:
        values["tags"] = dict(change.tags.tags)
    return {name: value for name, value in values.items() if value is not None}


async def _change_tags(
    connection: AsyncConnection,
    stored: Mapping[str, Mapping[str, str]],
    change: TagsChange,
) -> None:
    rows = []
    for device_id, tags in stored.items():
        if change.op is TopicOp.ADD:
            wanted = {**tags, **change.tags}
        else:
            wanted = {k: v for k, v in tags.items() if k not in change.tags}
        if wanted != tags:
            rows.append({"device": device_id, "wanted": wanted})
    if rows:
        await connection.execute(
            update(devices)
            .where(devices.c.id == bindparam("device"))
            .values(tags=bindparam("wanted", type_=devices.c.tags.type)),
            rows,
        )


async def _change_topics(
    connection: AsyncConnection,
    ids: Sequence[str],
    change: DeviceChange,
    moved: set[str],
    topics_per_device: int,
) -> None:
    bound: Sequence[str] = ()
    if moved and change.user is not None and change.user != GLOBAL_USER:
        bound = (await fetch_bound(connection, [change.user]))[change.user]
    of_user = TopicsChange(TopicOp.SET, tuple(bound))
    stored = await fetch_rows(connection, ids)
    wanted: dict[str, dict[str, TopicOrigin]] = {}
    for device_id in ids:
        topics = held_topics(stored.get(device_id, {}))
        if device_id in moved:
            topics = change_origin(topics, of_user, TopicOrigin.USER)
        if change.topics is not None:
            topics = change_origin(topics, change.topics, TopicOrigin.DEVICE)
            if change.topics.op is not TopicOp.REMOVE:
                check_own_count(topics, topics_per_device)
        wanted[device_id] = topics
    await write_topics(connection, stored, wanted)
