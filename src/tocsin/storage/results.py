"""`ResultStore` on SQL: events in the order in which they were committed.

Part of the storage room; it must not know who reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from itertools import takewhile
from typing import Any

import orjson
from sqlalchemy import Row, Select, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from tocsin.core.ports.clock import Clock
from tocsin.core.ports.results import ResultPage
from tocsin.core.results import ResultEvent, ResultFilter
from tocsin.sql_access.dialects import inserting
from tocsin.storage.engine import Database
from tocsin.storage.errors import DatabaseUnavailable
from tocsin.storage.group_commit import GroupCommit
from tocsin.storage.tables import push_result_head, push_results

_table, _head = push_results.c, push_result_head.c
_COLUMNS = ("position", "recorded_at_ms", "detail", "outcome", "uid", "provider")
"""Fields of an event that are columns; the others are JSON in `about`."""
_ABOUT = tuple(
    (each.name, each.default)
    for each in fields(ResultEvent)
    if each.name not in _COLUMNS
)


class SqlResultStore:
    """Events in PostgreSQL or SQLite. Those that come together are written together.

    `listeners` are called after each write of this process.
    """

    def __init__(
        self,
        database: Database,
        *,
        clock: Clock,
    ) -> None:
        self._database = database
        self._clock = clock
        self.listeners: list[Callable[[], None]] = []
        self._adding: GroupCommit[Sequence[ResultEvent], bool] = GroupCommit(
            self._add_group,
            spawn=database.spawn,
            hits_all=lambda error: isinstance(error, DatabaseUnavailable),
        )

    async def add(self, events: Sequence[ResultEvent]) -> None:
        """See `ResultStore.add`."""
        if events:
            await self._adding.submit(events)

    async def add_with(
        self, connection: AsyncConnection, events: Sequence[ResultEvent]
    ) -> None:
        """Keep these in a transaction of another store, as the last thing in it.

        The row of the head is locked until the commit. So events become visible in the
        order of their positions, and a number is taken back where nothing is committed:
        a reader that goes on after the last position it saw misses nothing. Everybody
        locks that row after all others, so nobody waits in a circle.
        """
        if not events:
            return
        first = inserting(push_result_head, connection.dialect.name).values(
            one=1, last=len(events), forgotten=0
        )
        taken = first.on_conflict_do_update(
            index_elements=["one"], set_={"last": _head.last + len(events)}
        ).returning(_head.last)
        last = int((await connection.execute(taken)).scalar_one())
        now_ms = self._clock.now_ms()
        rows = [
            _row_of(replace(event, position=position, recorded_at_ms=now_ms))
            for position, event in enumerate(events, start=last - len(events) + 1)
        ]
        await connection.execute(insert(push_results), rows)

    def tell(self, events: Sequence[ResultEvent]) -> None:
        """Events of `add_with` are committed."""
        if events:
            for listener in self.listeners:
                listener()

    async def fetch(
        self, after: int, *, limit: int, chosen: ResultFilter | None = None
    ) -> ResultPage:
        """See `ResultStore.fetch`."""
        statement = _fitting(chosen or ResultFilter()).where(_table.position > after)
        statement = statement.order_by(_table.position).limit(limit)

        async def work(connection: AsyncConnection) -> ResultPage:
            # The last position is read before the events, what is forgotten after them:
            # what is added or forgotten in between is then in no page, or known.
            last, _ = await _fetch_head(connection)
            rows = (
                await connection.execute(statement.where(_table.position <= last))
            ).all()
            _, forgotten = await _fetch_head(connection)
            events = [_event_of(row) for row in rows]
            reached = events[-1].position if len(events) == limit else max(last, after)
            return ResultPage(events, reached, last, forgotten)

        return await self._database.read(work)

    async def forget(self, *, before_ms: int, limit: int) -> int:
        """See `ResultStore.forget`."""
        oldest = (
            select(_table.position, _table.recorded_at_ms)
            .order_by(_table.position)
            .limit(limit)
        )

        async def work(connection: AsyncConnection) -> int:
            rows = (await connection.execute(oldest)).all()
            old = list(takewhile(lambda row: row.recorded_at_ms < before_ms, rows))
            if not old:
                return 0
            end = int(old[-1].position)
            await connection.execute(delete(push_results).where(_table.position <= end))
            await connection.execute(
                push_result_head.update()
                .where(_head.forgotten < end)
                .values(forgotten=end)
            )
            return len(old)

        return await self._database.write(work)

    async def _add_group(
        self, group: Sequence[Sequence[ResultEvent]]
    ) -> Sequence[bool]:
        events = [event for some in group for event in some]
        await self._database.write(lambda one: self.add_with(one, events))
        self.tell(events)
        return [True] * len(group)


async def _fetch_head(connection: AsyncConnection) -> tuple[int, int]:
    """The newest position, and the newest that is forgotten."""
    row = (await connection.execute(select(_head.last, _head.forgotten))).first()
    return (0, 0) if row is None else (int(row.last), int(row.forgotten))


def _fitting(chosen: ResultFilter) -> Select[Any]:
    statement = select(push_results)
    for column, values in (
        (_table.uid, chosen.uids),
        (_table.outcome, chosen.outcomes),
        (_table.provider, chosen.providers),
        (_table.detail, chosen.details),
    ):
        if values:
            statement = statement.where(column.in_(values))
    return statement


def _row_of(event: ResultEvent) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(event, name) for name in _COLUMNS}
    about = {
        name: value
        for name, default in _ABOUT
        if (value := getattr(event, name)) and value != default
    }
    return row | {"about": orjson.dumps(about).decode()}


def _event_of(row: Row[Any]) -> ResultEvent:
    columns = {name: getattr(row, name) for name in _COLUMNS}
    return ResultEvent(**columns, **orjson.loads(row.about))
