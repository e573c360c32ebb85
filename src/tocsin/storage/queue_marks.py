"""`QueueMarkStore` on SQL: how far the queue had come, as the registry knows it.

Part of the storage room; it must not know what a queue is made of.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import case, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tocsin.core.ports.sends import LOSS_TOLD_ONCE_MS, Entered, QueueMark
from tocsin.sql_access.dialects import inserting
from tocsin.storage.engine import Database
from tocsin.storage.tables import push_queues

_table = push_queues.c


class SqlQueueMarkStore:
    """A row for each epoch that a queue of this registry ever had."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def fetch(self, epoch: str) -> QueueMark | None:
        """See `QueueMarkStore.fetch`."""
        return await self._database.read(lambda connection: _find(connection, epoch))

    async def enter(
        self,
        epoch: str,
        place: str,
        *,
        lost: str,
        now_ms: int,
        before: str = "",
        had_work: bool = False,
    ) -> Entered:
        """See `QueueMarkStore.enter`."""

        async def work(connection: AsyncConnection) -> Entered:
            # Without any other data this is the first queue, and no move.
            others = select(_table.epoch).where(_table.epoch != epoch).limit(1)
            is_first = (await connection.execute(others)).first() is None
            found = await connection.execute(
                select(func.max(_table.seen_at_ms)).where(_table.place != place)
            )
            # When data at another place was last in use. What was here
            # before that was left by a move, and its end is no loss.
            elsewhere_ms = found.scalar() or 0
            is_new = await _add(connection, epoch, place)
            replaced = await connection.execute(
                update(push_queues)
                .where(
                    _table.place == place,
                    _table.epoch != epoch,
                    _table.replaced_at_ms == 0,
                    or_(_table.epoch == before, _table.seen_at_ms >= elsewhere_ms),
                )
                .values(replaced_at_ms=now_ms)
                .returning(_table.epoch, _table.accepted)
            )
            is_loss = any(
                row.accepted > 0 or (had_work and row.epoch == before)
                for row in replaced
            )
            # Also for known data that is back at its place: it is not
            # replaced any more.
            values: dict[str, Any] = {
                "place": place,
                "seen_at_ms": now_ms,
                "replaced_at_ms": 0,
            }
            if is_loss:
                values |= {"lost_at_ms": now_ms, "lost": lost}
            entered = await connection.execute(
                update(push_queues)
                .where(_table.epoch == epoch)
                .values(values)
                .returning(_table.accepted, _table.lost_at_ms, _table.lost)
            )
            mark = QueueMark(epoch, *entered.one())
            return Entered(mark, is_loss=is_loss, is_moved=is_new and not is_first)

        return await self._database.write(work)

    async def advance(self, epoch: str, accepted: int, *, now_ms: int) -> None:
        """See `QueueMarkStore.advance`."""
        await self._database.write(
            lambda connection: connection.execute(
                update(push_queues)
                # Never lowered: several processes write, in any order.
                .where(_table.epoch == epoch, _table.accepted < accepted)
                .values(accepted=accepted, seen_at_ms=now_ms)
            )
        )

    async def report_loss(
        self, epoch: str, *, reached: int, lost: str, now_ms: int
    ) -> bool:
        """See `QueueMarkStore.report_loss`."""
        row = push_queues.update().where(_table.epoch == epoch)

        async def work(connection: AsyncConnection) -> bool:
            lowered = case((_table.accepted > reached, reached), else_=_table.accepted)
            told = await connection.execute(
                row.where(_table.lost_at_ms <= now_ms - LOSS_TOLD_ONCE_MS).values(
                    lost_at_ms=now_ms, lost=lost, accepted=lowered
                )
            )
            if not told.rowcount:
                # The time always moves on with a lower mark: a lower
                # one at the same time would mean that the marks
                # themselves went back.
                later = case(
                    (_table.lost_at_ms < now_ms, now_ms), else_=_table.lost_at_ms + 1
                )
                await connection.execute(
                    row.where(_table.accepted > reached).values(
                        lost_at_ms=later, accepted=reached
                    )
                )
            return told.rowcount > 0

        return await self._database.write(work)

    async def is_replaced(self, epoch: str) -> bool:
        """See `QueueMarkStore.is_replaced`."""
        statement = select(_table.replaced_at_ms).where(_table.epoch == epoch)

        async def work(connection: AsyncConnection) -> bool:
            return bool((await connection.execute(statement)).scalar())

        return await self._database.read(work)


async def _add(connection: AsyncConnection, epoch: str, place: str) -> bool:
    added = await connection.execute(
        inserting(push_queues, connection.dialect.name)
        .values(
            epoch=epoch,
            place=place,
            accepted=0,
            seen_at_ms=0,
            replaced_at_ms=0,
            lost_at_ms=0,
            lost="",
        )
        .on_conflict_do_nothing(index_elements=["epoch"])
        .returning(_table.epoch)
    )
    return added.first() is not None


async def _find(connection: AsyncConnection, epoch: str) -> QueueMark | None:
    statement = select(_table.accepted, _table.lost_at_ms, _table.lost)
    found = await connection.execute(statement.where(_table.epoch == epoch))
    row = found.first()
    if row is None:
        return None
    return QueueMark(epoch, row.accepted, row.lost_at_ms, row.lost)
