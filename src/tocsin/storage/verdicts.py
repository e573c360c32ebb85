"""`VerdictStore` on SQL: a row per credential, and marks on devices.

Part of the storage room; what is to be believed is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import ColumnElement, case, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tocsin.core.device import DeadToken, DeviceFilter
from tocsin.core.ports.clock import Clock
from tocsin.core.ports.devices import RecentVerdicts
from tocsin.core.removals import Removal, RemovalGuard
from tocsin.sql_access.dialects import inserting
from tocsin.storage.dead_tokens import Said, apply, remove_guarded, said_on
from tocsin.storage.device_filters import filter_conditions
from tocsin.storage.engine import Database
from tocsin.storage.held_removals import HELD, NOT_HELD
from tocsin.storage.rows import among
from tocsin.storage.tables import credential_verdicts, devices

# Letters kept per credential; `delivery/credentials.py` counts guarded ones in them.
KEPT_ANSWERS = 200
FORGOTTEN_AFTER_MS = 86_400_000
"""A credential that was silent for so long may have been changed since."""

_NOT_SUSPECTED = {
    "suspected_at_ms": None,
    "suspected_after": None,
    "suspected_by": None,
}


class SqlVerdictStore:
    """Verdicts in PostgreSQL or SQLite."""

    def __init__(self, database: Database, *, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def note(
        self, provider: str, integration: str, letters: str, *, delivered: int
    ) -> RecentVerdicts:
        """See `VerdictStore.note`."""
        now_ms = self._clock.now_ms()
        is_sqlite = self._database.dialect == "sqlite"
        table = credential_verdicts.c
        added = inserting(credential_verdicts, self._database.dialect).values(
            provider=provider,
            integration=integration,
            letters=letters[-KEPT_ANSWERS:],
            delivered=delivered,
            updated_at_ms=now_ms,
        )
        joined = table.letters.concat(added.excluded.letters)
        # SQLite's substr returns nothing for a text that is shorter than this.
        last: ColumnElement[str] = (
            case(
                (
                    func.length(joined) > KEPT_ANSWERS,
                    func.substr(joined, -KEPT_ANSWERS),
                ),
                else_=joined,
            )
            if is_sqlite
            else func.right(joined, KEPT_ANSWERS)
        )
        statement = added.on_conflict_do_update(
            index_elements=["provider", "integration"],
            set_={
                "letters": case(
                    (
                        table.updated_at_ms < now_ms - FORGOTTEN_AFTER_MS,
                        added.excluded.letters,
                    ),
                    else_=last,
                ),
                "delivered": table.delivered + added.excluded.delivered,
                "updated_at_ms": func.max(table.updated_at_ms, now_ms)
                if is_sqlite
                else func.greatest(table.updated_at_ms, now_ms),
            },
        ).returning(table.letters, table.delivered)

        async def work(connection: AsyncConnection) -> RecentVerdicts:
            row = (await connection.execute(statement)).one()
            return RecentVerdicts(row.letters, row.delivered)

        return await self._database.write(work)

    async def suspect(
        self,
        accused: Sequence[DeadToken],
        *,
        delivered: int,
        proof: int,
        guard: RemovalGuard | None = None,
    ) -> Removal:
        """See `VerdictStore.suspect`."""
        if not accused:
            return Removal([], [])
        now_ms = self._clock.now_ms()
        return await self._database.write(
            lambda connection: _suspect(
                connection, accused, delivered, proof, guard, now_ms
            )
        )

    async def fetch_suspects(
        self, provider: str, integration: str, *, limit: int
    ) -> set[str]:
        """See `VerdictStore.fetch_suspects`."""
        statement = (
            select(devices.c.id)
            .where(
                *self._belonging(provider, integration),
                or_(devices.c.suspected_at_ms.is_not(None), HELD),
            )
            .order_by(devices.c.suspected_at_ms)
            .limit(limit)
        )

        async def work(connection: AsyncConnection) -> set[str]:
            return set((await connection.execute(statement)).scalars())

        return await self._database.read(work)

    async def acquit(self, ids: Collection[str]) -> None:
        """See `VerdictStore.acquit`."""
        if not ids:
            return
        table = devices.c
        statement = (
            update(devices)
            .where(
                among(table.id, ids, self._database.dialect),
                or_(table.suspected_at_ms.is_not(None), table.held_at_ms.is_not(None)),
            )
            .values(**_NOT_SUSPECTED, **NOT_HELD)
        )
        await self._database.write(lambda connection: connection.execute(statement))

    async def acquit_all(self, provider: str, integration: str) -> None:
        """See `VerdictStore.acquit_all`."""
        statement = (
            update(devices)
            .where(
                *self._belonging(provider, integration),
                devices.c.suspected_at_ms.is_not(None),
            )
            .values(**_NOT_SUSPECTED)
        )
        await self._database.write(lambda connection: connection.execute(statement))

    def _belonging(self, provider: str, integration: str) -> list[ColumnElement[bool]]:
        belonging = DeviceFilter(providers=(provider,), integrations=(integration,))
        return filter_conditions(belonging, self._database.dialect)


async def _suspect(
    connection: AsyncConnection,
    accused: Sequence[DeadToken],
    delivered: int,
    proof: int,
    guard: RemovalGuard | None,
    now_ms: int,
) -> Removal:
    """Remove the devices that were marked before, then mark the others."""
    table = devices.c

    def is_confirmed(said: Said) -> Sequence[ColumnElement[bool]]:
        return (
            table.suspected_after <= delivered - proof,
            # Releases that know no marks leave them at a registration: a mark from
            # before it does not count.
            table.registered_at_ms <= table.suspected_at_ms,
            table.suspected_at_ms < said.before_ms,
            # By another send, and not by a retry of the one that marked it; releases
            # before did not note which that was.
            or_(
                func.coalesce(table.suspected_by, "") == "",
                table.suspected_by != said.push_id,
            ),
        )

    found = await remove_guarded(connection, accused, guard, now_ms, is_confirmed)
    said = said_on(connection)
    marking = (
        update(devices)
        .where(
            or_(
                table.suspected_at_ms.is_(None),
                table.suspected_at_ms < table.registered_at_ms,
            ),
        )
        .values(
            suspected_at_ms=now_ms, suspected_after=delivered, suspected_by=said.push_id
        )
        .returning(table.id)
    )
    await apply(connection, said, marking, accused)
    return found
