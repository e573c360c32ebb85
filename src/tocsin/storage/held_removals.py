"""Devices whose removal waits for a person: they live, and are sent to, until then.

Part of the storage room; it runs inside a transaction that others opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, and_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tocsin.core.device import RemovedFilter, RemovedGroup
from tocsin.storage.device_filters import selected_by
from tocsin.storage.device_lists import count_groups
from tocsin.storage.rows import among
from tocsin.storage.tables import devices

_table = devices.c

HELD = and_(
    _table.held_at_ms.is_not(None),
    _table.removed_at_ms.is_(None),
    # Releases that know no holds leave them at a registration: it ends them.
    _table.registered_at_ms < _table.held_before_ms,
)
NOT_HELD = {"held_at_ms": None, "held_before_ms": None, "held_reason": None}


async def count_held(
    connection: AsyncConnection, filter: RemovedFilter
) -> list[RemovedGroup]:
    """See `DeviceStore.count_held`."""
    conditions = _conditions(filter, connection.dialect.name)
    return await count_groups(connection, _table.held_reason, conditions)


async def approve_held(
    connection: AsyncConnection, filter: RemovedFilter, limit: int, now_ms: int
) -> list[str]:
    """See `DeviceStore.approve_held`."""
    return await _end(
        connection,
        filter,
        limit,
        {"removed_at_ms": now_ms, "removed_reason": _table.held_reason, **NOT_HELD},
    )


async def release_held(
    connection: AsyncConnection, filter: RemovedFilter, limit: int
) -> list[str]:
    """See `DeviceStore.release_held`."""
    return await _end(connection, filter, limit, NOT_HELD)


async def _end(
    connection: AsyncConnection,
    filter: RemovedFilter,
    limit: int,
    values: Mapping[str, Any],
) -> list[str]:
    dialect = connection.dialect.name
    some = (
        select(_table.id)
        .where(*_conditions(filter, dialect))
        .order_by(_table.id)
        .limit(limit)
    )
    ids = list((await connection.execute(some)).scalars())
    if not ids:
        return []
    # Looked at again: some may have registered meanwhile.
    done = await connection.execute(
        update(devices)
        .where(among(_table.id, ids, dialect), HELD)
        .values(values)
        .returning(_table.id)
    )
    return sorted(done.scalars())


def _conditions(filter: RemovedFilter, dialect: str) -> list[ColumnElement[bool]]:
    return [
        HELD,
        *selected_by(filter, _table.held_at_ms, _table.held_reason, dialect=dialect),
    ]
