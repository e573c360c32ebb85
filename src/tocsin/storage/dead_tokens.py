"""Soft removal of devices, dead or inactive, and the purge of what was removed.

Part of the storage room; whether a verdict is to be believed is decided elsewhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from sqlalchemy import BigInteger, Text, and_, delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import TypeEngine

from tocsin.core.device import DeadToken
from tocsin.storage.rows import is_postgres, unnest_columns
from tocsin.storage.tables import devices

INACTIVE = "inactive"
"""The reason of a removal that no provider asked for."""

_SAID: dict[str, TypeEngine[Any]] = {
    "device_id": Text(),
    "token": Text(),
    "before_ms": BigInteger(),
    "reason": Text(),
}


async def mark_dead(
    connection: AsyncConnection, dead: Sequence[DeadToken], now_ms: int
) -> list[str]:
    """Compare and mark in one statement, so that no registration comes in between.

    SQLite has one writer at a time, so there a statement per token does as well.
    """
    table = devices.c
    mark = (
        update(devices)
        .where(table.removed_at_ms.is_(None))
        .values(removed_at_ms=now_ms)
        .returning(table.id)
    )
    if is_postgres(connection):
        said = unnest_columns("said", _SAID)
        result = await connection.execute(
            mark.where(
                table.id == said.c.device_id,
                table.token == said.c.token,
                # A device that registered after the send began is
                # alive, whatever was answered.
                table.registered_at_ms < said.c.before_ms,
            ).values(removed_reason=said.c.reason),
            {f"all_{name}": [getattr(each, name) for each in dead] for name in _SAID},
        )
        return list(result.scalars())
    gone: list[str] = []
    for each in dead:
        result = await connection.execute(
            mark.where(
                table.id == each.device_id,
                table.token == each.token,
                table.registered_at_ms < each.before_ms,
            ).values(removed_reason=each.reason)
        )
        gone.extend(result.scalars())
    return gone


async def mark_inactive(
    connection: AsyncConnection, older_than_ms: int, limit: int, now_ms: int
) -> dict[str, int]:
    """Soft-remove up to `limit` devices not updated since; how many by provider."""
    table = devices.c
    idle = and_(table.removed_at_ms.is_(None), table.updated_at_ms < older_than_ms)
    oldest = (
        select(table.id)
        .where(idle)
        .order_by(table.updated_at_ms)
        .limit(limit)
        # One that registers right now is skipped, and counts as active.
        .with_for_update(skip_locked=True)
        .cte("oldest")
    )
    result = await connection.execute(
        update(devices)
        .where(table.id.in_(select(oldest.c.id)), idle)
        # The removal counts as an update: else the next call would read these again.
        .values(removed_at_ms=now_ms, updated_at_ms=now_ms, removed_reason=INACTIVE)
        .returning(table.provider)
    )
    return dict(Counter(result.scalars()))


async def purge(connection: AsyncConnection, older_than_ms: int, limit: int) -> int:
    """Delete up to `limit` rows that were soft-removed before that time."""
    table = devices.c
    oldest = (
        select(table.id)
        .where(table.removed_at_ms < older_than_ms)
        .order_by(table.removed_at_ms)
        .limit(limit)
        # One that registers again right now is skipped, and alive afterwards.
        .with_for_update(skip_locked=True)
        # Not a subquery: that may be run again for each row, past its limit.
        .cte("oldest")
    )
    chosen = table.id.in_(select(oldest.c.id))
    result = await connection.execute(delete(devices).where(chosen).returning(table.id))
    return len(result.all())
