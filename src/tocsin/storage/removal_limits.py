"""Decides, and remembers, how many devices verdicts may remove in a while.

Part of the storage room; it runs inside a transaction that others opened, and the row
of the integration stays locked until that ends.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tocsin.core.device import DeviceFilter
from tocsin.core.removals import ALARM_EVERY_MS, RecentRemovals, RemovalGuard
from tocsin.sql_access.dialects import inserting
from tocsin.storage.device_filters import filter_conditions
from tocsin.storage.held_removals import HELD
from tocsin.storage.tables import devices, removal_limits

_table = removal_limits.c
_COUNT_AHEAD = 2
"""So many times the devices that are needed are counted, to count less often."""


class Admitted(NamedTuple):
    """How many of the wanted removals may happen, and whether a person is told."""

    allowed: int
    is_alarm: bool


async def admit(
    connection: AsyncConnection, guard: RemovalGuard, wanted: int, now_ms: int
) -> Admitted:
    """Take them from the limit. While something is held, all that follows is too."""
    limit = guard.limit
    is_this = (
        _table.provider == guard.provider,
        _table.integration == guard.integration,
    )
    await _make_row(connection, guard)
    row = (
        await connection.execute(
            select(removal_limits).where(*is_this).with_for_update()
        )
    ).one()
    recent = RecentRemovals.read(row.removed)
    used = recent.used(limit, now_ms)
    counted, counted_at_ms = row.counted, row.counted_at_ms
    if limit.max_share < 1 and await _has_held(connection, guard):
        allowed = 0
    else:
        needed = limit.living_needed(used, wanted)
        is_fresh = now_ms - counted_at_ms < limit.window_ms
        if needed and not (is_fresh and counted >= needed):
            counted = await _count(connection, guard, needed * _COUNT_AHEAD)
            counted_at_ms = now_ms
        allowed = limit.allowed(used, wanted, counted)
    recent.add(limit, now_ms, allowed)
    is_alarm = allowed < wanted and now_ms - row.reported_at_ms >= ALARM_EVERY_MS
    await connection.execute(
        update(removal_limits)
        .where(*is_this)
        .values(
            removed=recent.to_text(),
            counted=max(0, counted - allowed),
            counted_at_ms=counted_at_ms,
            reported_at_ms=now_ms if is_alarm else row.reported_at_ms,
        )
    )
    return Admitted(allowed, is_alarm)


async def _make_row(connection: AsyncConnection, guard: RemovalGuard) -> None:
    row = inserting(removal_limits, connection.dialect.name).values(
        provider=guard.provider,
        integration=guard.integration,
        removed="",
        counted=0,
        counted_at_ms=0,
        reported_at_ms=0,
    )
    await connection.execute(
        row.on_conflict_do_nothing(index_elements=["provider", "integration"])
    )


async def _has_held(connection: AsyncConnection, guard: RemovalGuard) -> bool:
    found = select(devices.c.id).where(HELD, *_belonging(connection, guard)).limit(1)
    return (await connection.execute(found)).first() is not None


async def _count(connection: AsyncConnection, guard: RemovalGuard, most: int) -> int:
    """Its living devices, or `most` of them: a large registry is not read whole."""
    some = (
        select(devices.c.id).where(*_belonging(connection, guard)).limit(most)
    ).subquery()
    count = await connection.execute(select(func.count()).select_from(some))
    return int(count.scalar_one())


def _belonging(
    connection: AsyncConnection, guard: RemovalGuard
) -> list[ColumnElement[bool]]:
    belonging = DeviceFilter(
        providers=(guard.provider,), integrations=(guard.integration,)
    )
    return filter_conditions(belonging, connection.dialect.name)
