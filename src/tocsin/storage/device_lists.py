"""Pages of devices and of device topics, in id order, and how many went for what.

Part of the storage room; reads only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Row, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from tocsin.core.device import (
    Device,
    DeviceFilter,
    DeviceTopic,
    DeviceTopicFilter,
    Page,
    PageRequest,
    RemovedGroup,
)
from tocsin.storage.device_filters import (
    check_cursor,
    filter_conditions,
    holds_any_topic,
    topic_filter_conditions,
    walk,
)
from tocsin.storage.tables import device_topics, devices
from tocsin.storage.topic_rows import fetch_rows

T = TypeVar("T")

_MS_PER_S = 1000
_COLUMNS: tuple[ColumnElement[Any], ...] = (
    devices.c.id,
    devices.c.provider,
    devices.c.token,
    devices.c.platform,
    devices.c.user_id,
    devices.c.meta,
    devices.c.tags,
    devices.c.timezone,
    devices.c.locale,
    devices.c.integration,
    devices.c.webpush_keys,
    devices.c.created_at_ms,
    devices.c.updated_at_ms,
)


async def list_devices(
    connection: AsyncConnection,
    filter: DeviceFilter,
    page: PageRequest,
    *,
    include_topics: bool,
) -> Page[Device]:
    """See `DeviceStore.fetch_page`."""
    check_cursor(page)
    dialect = connection.dialect.name
    conditions = filter_conditions(filter, dialect)
    statement = walk(
        _COLUMNS,
        conditions,
        filter.topics,
        after=page.cursor,
        limit=page.limit + 1,
        dialect=dialect,
    )
    rows = (await connection.execute(statement)).all()
    total = None
    if page.include_total:
        # The walk joins topics by itself; the count needs them as a condition.
        if filter.topics:
            conditions.append(holds_any_topic(filter.topics, dialect))
        total = await connection.scalar(
            select(func.count()).select_from(devices).where(*conditions)
        )
    topics: dict[str, tuple[str, ...]] = {}
    if include_topics:
        found = await fetch_rows(connection, [row.id for row in rows[: page.limit]])
        topics = {device_id: tuple(sorted(held)) for device_id, held in found.items()}
    items = [_device(row, topics.get(row.id, ())) for row in rows]
    return build_page(items, [row.id for row in rows], page, total)


async def list_device_topics(
    connection: AsyncConnection,
    filter: DeviceTopicFilter,
    page: PageRequest,
    *,
    include_device: bool,
) -> Page[DeviceTopic]:
    """See `DeviceStore.fetch_topic_page`."""
    check_cursor(page)
    conditions = topic_filter_conditions(filter, connection.dialect.name)
    joined = device_topics.join(devices, devices.c.id == device_topics.c.device_id)
    columns: tuple[ColumnElement[Any], ...] = (
        device_topics.c.id.label("row_id"),
        device_topics.c.device_id,
        device_topics.c.topic,
        *(_COLUMNS if include_device else ()),
    )
    statement = select(*columns).select_from(joined).where(*conditions)
    if page.cursor:
        statement = statement.where(device_topics.c.id > page.cursor)
    statement = statement.order_by(device_topics.c.id).limit(page.limit + 1)
    rows = (await connection.execute(statement)).all()
    total = None
    if page.include_total:
        total = await connection.scalar(
            select(func.count()).select_from(joined).where(*conditions)
        )
    items = [
        DeviceTopic(
            row.row_id,
            row.device_id,
            row.topic,
            _device(row, ()) if include_device else None,
        )
        for row in rows
    ]
    return build_page(items, [row.row_id for row in rows], page, total)


def build_page(
    items: Sequence[T], ids: Sequence[str], page: PageRequest, total: int | None
) -> Page[T]:
    """A page out of up to `limit` + 1 rows; the one too many is the sign of more."""
    more = len(items) > page.limit
    cursor = ids[page.limit - 1] if more else ""
    return Page(tuple(items[: page.limit]), cursor, total)


def _device(row: Row[Any], topics: tuple[str, ...]) -> Device:
    return Device(
        id=row.id,
        provider=row.provider,
        token=row.token,
        platform=row.platform,
        user=row.user_id,
        meta=row.meta,
        tags=row.tags,
        topics=topics,
        timezone=row.timezone,
        locale=row.locale,
        integration=row.integration,
        webpush_keys=row.webpush_keys,
        created_at=row.created_at_ms // _MS_PER_S,
        updated_at=row.updated_at_ms // _MS_PER_S,
    )


async def count_groups(
    connection: AsyncConnection,
    reason: ColumnElement[str],
    conditions: Sequence[ColumnElement[bool]],
) -> list[RemovedGroup]:
    """Devices by provider, integration and reason, the largest groups first."""
    kind = (devices.c.provider, devices.c.integration, reason)
    count = func.count().label("number")
    result = await connection.execute(
        select(*kind, count)
        .where(*conditions)
        .group_by(*kind)
        .order_by(count.desc(), *kind)
    )
    return [RemovedGroup(*row) for row in result]
