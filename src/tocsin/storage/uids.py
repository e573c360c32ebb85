"""`UidStore` on SQL: which sends were accepted already.

Part of the storage room; it must not know what a fingerprint is made of.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tocsin.core.errors import Conflict
from tocsin.core.ports.clock import Clock
from tocsin.core.ports.sends import UID_TAKEN, UidClaim
from tocsin.sql_access.dialects import inserting
from tocsin.storage.engine import Database
from tocsin.storage.tables import push_uids

_MS_PER_S = 1000


class SqlUidStore:
    """Claimed uids in PostgreSQL or SQLite, until `purge_expired`."""

    def __init__(self, database: Database, *, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def claim(
        self, uid: str, *, fingerprint: bytes, push_id: str, ttl_s: float
    ) -> UidClaim:
        """See `UidStore.claim`; one over its ttl may be taken again."""
        now_ms = self._clock.now_ms()
        values = {
            "uid": uid,
            "fingerprint": fingerprint,
            "push_id": push_id,
            "accepted": False,
            "expires_at_ms": now_ms + int(ttl_s * _MS_PER_S),
            "queue_epoch": "",
        }

        async def work(connection: AsyncConnection) -> UidClaim:
            while not await take_uid(connection, values, now_ms):
                standing = await _find(connection, uid)
                # Gone again: it was purged between the two statements.
                if standing is not None:
                    stored, claim = standing
                    if stored != fingerprint:
                        raise Conflict(UID_TAKEN)
                    return claim
            return UidClaim(push_id, accepted=False)

        return await self._database.write(work)

    async def confirm(self, uid: str, *, epoch: str = "") -> None:
        """See `UidStore.confirm`."""
        await self._database.write(
            lambda connection: connection.execute(
                update(push_uids)
                .where(push_uids.c.uid == uid)
                .values(accepted=True, queue_epoch=epoch)
            )
        )

    async def purge_expired(self, *, limit: int) -> int:
        """See `UidStore.purge_expired`."""
        table = push_uids.c
        oldest = (
            select(table.uid)
            .where(table.expires_at_ms <= self._clock.now_ms())
            .order_by(table.expires_at_ms)
            .limit(limit)
            .with_for_update(skip_locked=True)
            # Not a subquery: that may be run again for each row, past its limit.
            .cte("oldest")
        )
        statement = delete(push_uids).where(table.uid.in_(select(oldest.c.uid)))

        async def work(connection: AsyncConnection) -> int:
            return len((await connection.execute(statement.returning(table.uid))).all())

        return await self._database.write(work)


async def take_uid(
    connection: AsyncConnection, values: Mapping[str, object], now_ms: int
) -> bool:
    """Claim a uid with these columns, one over its ttl too; `False` if it is taken."""
    claim = inserting(push_uids, connection.dialect.name).values(values)
    taken = await connection.execute(
        claim.on_conflict_do_update(
            index_elements=["uid"],
            set_={name: claim.excluded[name] for name in values},
            where=push_uids.c.expires_at_ms <= now_ms,
        ).returning(push_uids.c.uid)
    )
    return taken.first() is not None


async def _find(connection: AsyncConnection, uid: str) -> tuple[bytes, UidClaim] | None:
    table = push_uids.c
    result = await connection.execute(
        select(
            table.fingerprint, table.push_id, table.accepted, table.queue_epoch
        ).where(table.uid == uid)
    )
    row = result.first()
    if row is None:
        return None
    return bytes(row.fingerprint), UidClaim(row.push_id, row.accepted, row.queue_epoch)
