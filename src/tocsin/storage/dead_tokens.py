"""Soft removal of devices, dead or inactive, and the purge of what was removed.

Part of the storage room; whether a verdict is to be believed is decided elsewhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    Text,
    and_,
    bindparam,
    delete,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import ReturningUpdate
from sqlalchemy.types import TypeEngine

from tocsin.core.device import DeadToken
from tocsin.core.removals import Removal, RemovalGuard
from tocsin.storage.held_removals import HELD
from tocsin.storage.removal_limits import admit
from tocsin.storage.rows import is_postgres, unnest_columns
from tocsin.storage.tables import devices

INACTIVE = "inactive"
"""The reason of a removal that no provider asked for."""

_SAID: dict[str, TypeEngine[Any]] = {
    "device_id": Text(),
    "token": Text(),
    "before_ms": BigInteger(),
    "reason": Text(),
    "push_id": Text(),
}
_table = devices.c


class Said(NamedTuple):
    """What a verdict says, as the columns of a statement; see `DeadToken`."""

    device_id: ColumnElement[str]
    token: ColumnElement[str]
    before_ms: ColumnElement[int]
    reason: ColumnElement[str]
    push_id: ColumnElement[str]


def said_on(connection: AsyncConnection) -> Said:
    """Those of many verdicts at once on PostgreSQL, of one on SQLite."""
    if is_postgres(connection):
        columns = unnest_columns("said", _SAID).c
        return Said(*(columns[name] for name in _SAID))
    return Said(
        *(bindparam(f"said_{name}", type_=kind) for name, kind in _SAID.items())
    )


Rule = Callable[[Said], Sequence[ColumnElement[bool]]]
"""Further conditions on a device, which may compare it with what was said."""


async def remove_guarded(
    connection: AsyncConnection,
    dead: Sequence[DeadToken],
    guard: RemovalGuard | None,
    now_ms: int,
    rule: Rule = lambda _: (),
) -> Removal:
    """Remove as many as the guard allows, and hold the rest for a person."""
    said = said_on(connection)
    more = rule(said)
    removing = (
        update(devices)
        .where(*more)
        .values(removed_at_ms=now_ms, removed_reason=said.reason)
        .returning(_table.id)
    )
    if guard is None:
        return Removal(await apply(connection, said, removing, dead), [])
    wanted = await apply(connection, said, select(_table.id).where(~HELD, *more), dead)
    if not wanted:
        return Removal([], [])
    allowed, is_alarm = await admit(connection, guard, len(wanted), now_ms)
    early, late = set(wanted[:allowed]), set(wanted[allowed:])
    removed = await apply(
        connection, said, removing, [each for each in dead if each.device_id in early]
    )
    holding = (
        update(devices)
        .where(*more)
        .values(
            held_at_ms=now_ms, held_before_ms=said.before_ms, held_reason=said.reason
        )
        .returning(_table.id)
    )
    held = await apply(
        connection, said, holding, [each for each in dead if each.device_id in late]
    )
    return Removal(removed, held, is_alarm)


async def apply(
    connection: AsyncConnection,
    said: Said,
    statement: Select[Any] | ReturningUpdate[Any],
    dead: Sequence[DeadToken],
) -> list[str]:
    """Run it for the living devices that these verdicts are about; ids of its rows.

    They are compared in the statement, so that no registration comes in between: a
    device that registered after the send began is alive, whatever was answered. On
    SQLite, with its one writer, a statement for each verdict does as well.
    """
    if not dead:
        return []
    meant = statement.where(
        _table.removed_at_ms.is_(None),
        _table.id == said.device_id,
        _table.token == said.token,
        _table.registered_at_ms < said.before_ms,
    )
    if is_postgres(connection):
        given = {f"all_{n}": [getattr(each, n) for each in dead] for n in _SAID}
        return list((await connection.execute(meant, given)).scalars())
    found: list[str] = []
    for each in dead:
        one = {f"said_{name}": getattr(each, name) for name in _SAID}
        found.extend((await connection.execute(meant, one)).scalars())
    return found


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
