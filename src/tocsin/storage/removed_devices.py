"""What was soft-removed: how much, why, and the way back.

Part of the storage room; it runs inside a transaction that others opened.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tocsin.core.device import (
    GLOBAL_USER,
    RemovedFilter,
    RemovedGroup,
    TopicOp,
    TopicOrigin,
    TopicsChange,
)
from tocsin.storage.device_filters import selected_by
from tocsin.storage.device_lists import count_groups
from tocsin.storage.held_removals import NOT_HELD
from tocsin.storage.rows import among, lock_users
from tocsin.storage.tables import devices
from tocsin.storage.topic_rows import (
    fetch_bound,
    fetch_rows,
    held_topics,
    write_topics,
)
from tocsin.storage.topic_sets import change_origin


async def count_removed(
    connection: AsyncConnection, filter: RemovedFilter
) -> list[RemovedGroup]:
    """See `DeviceStore.count_removed`."""
    reason = devices.c.removed_reason
    conditions = _conditions(filter, connection.dialect.name)
    return await count_groups(connection, reason, conditions)


async def restore_removed(
    connection: AsyncConnection, filter: RemovedFilter, limit: int, now_ms: int
) -> list[str]:
    """See `DeviceStore.restore_removed`."""
    table, dialect = devices.c, connection.dialect.name
    result = await connection.execute(
        select(table.id, table.user_id)
        .where(*_conditions(filter, dialect))
        .order_by(table.id)
        .limit(limit)
    )
    found = {row.id: row.user_id for row in result}
    if not found:
        return []
    # Users are locked before any row, as everywhere. The update below looks at the
    # devices again, for some may have registered meanwhile.
    users = set(found.values()) - {GLOBAL_USER}
    await lock_users(connection, users, alone=False)
    result = await connection.execute(
        update(devices)
        .where(among(table.id, found, dialect), table.removed_at_ms.is_not(None))
        .values(
            removed_at_ms=None,
            removed_reason="",
            updated_at_ms=now_ms,  # else the inactive would be removed again
            suspected_at_ms=None,
            suspected_after=None,
            suspected_by=None,
            **NOT_HELD,
        )
        .returning(table.id, table.user_id)
    )
    owners = {row.id: row.user_id for row in result}
    bound = await fetch_bound(connection, users)
    stored = await fetch_rows(connection, owners)
    wanted = {
        device_id: change_origin(
            held_topics(stored.get(device_id, {})),
            TopicsChange(
                TopicOp.SET, () if user == GLOBAL_USER else tuple(bound.get(user, ()))
            ),
            TopicOrigin.USER,
        )
        for device_id, user in owners.items()
    }
    await write_topics(connection, stored, wanted)
    return sorted(owners)


def _conditions(filter: RemovedFilter, dialect: str) -> list[ColumnElement[bool]]:
    table = devices.c
    return [
        table.removed_at_ms.is_not(None),
        *selected_by(
            filter, table.removed_at_ms, table.removed_reason, dialect=dialect
        ),
    ]
