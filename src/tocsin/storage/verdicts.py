"""`VerdictStore` on SQL: a row per credential, and marks on devices.

Part of the storage room; what is to be believed is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Text, case, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import TypeEngine

from tocsin.core.device import DeadToken, DeviceFilter
from tocsin.core.ports.clock import Clock
from tocsin.core.ports.devices import RecentVerdicts
from tocsin.sql_access.dialects import inserting
from tocsin.storage.device_filters import filter_conditions
from tocsin.storage.engine import Database
from tocsin.storage.rows import among, is_postgres, unnest_columns
from tocsin.storage.tables import credential_verdicts, devices

# Letters kept per credential; `delivery/credentials.py` counts guarded ones in them.
KEPT_ANSWERS = 200
FORGOTTEN_AFTER_MS = 86_400_000
"""A credential that was silent for so long may have been changed since."""

_SAID: dict[str, TypeEngine[Any]] = {
    "device_id": Text(),
    "token": Text(),
    "before_ms": BigInteger(),
    "reason": Text(),
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
        self, accused: Sequence[DeadToken], *, delivered: int, proof: int
    ) -> list[str]:
        """See `VerdictStore.suspect`."""
        if not accused:
            return []
        now_ms = self._clock.now_ms()
        return await self._database.write(
            lambda connection: _suspect(connection, accused, delivered, proof, now_ms)
        )

    async def fetch_suspects(
        self, provider: str, integration: str, *, limit: int
    ) -> set[str]:
        """See `VerdictStore.fetch_suspects`."""
        statement = (
            select(devices.c.id)
            .where(*self._marked(provider, integration))
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
                table.suspected_at_ms.is_not(None),
            )
            .values(suspected_at_ms=None, suspected_after=None)
        )
        await self._database.write(lambda connection: connection.execute(statement))

    async def acquit_all(self, provider: str, integration: str) -> None:
        """See `VerdictStore.acquit_all`."""
        statement = (
            update(devices)
            .where(*self._marked(provider, integration))
            .values(suspected_at_ms=None, suspected_after=None)
        )
        await self._database.write(lambda connection: connection.execute(statement))

    def _marked(self, provider: str, integration: str) -> list[Any]:
        belonging = DeviceFilter(providers=(provider,), integrations=(integration,))
        return [
            devices.c.suspected_at_ms.is_not(None),
            *filter_conditions(belonging, self._database.dialect),
        ]


async def _suspect(
    connection: AsyncConnection,
    accused: Sequence[DeadToken],
    delivered: int,
    proof: int,
    now_ms: int,
) -> list[str]:
    """Remove the devices that were marked before, then mark the others.

    SQLite has one writer at a time, so there a statement per device does as well.
    """
    table = devices.c
    removal = (
        update(devices)
        .where(
            table.removed_at_ms.is_(None),
            table.suspected_after <= delivered - proof,
            # Releases that know no marks leave them at a registration: a mark from
            # before it does not count.
            table.registered_at_ms <= table.suspected_at_ms,
        )
        .values(removed_at_ms=now_ms)
        .returning(table.id)
    )
    marking = (
        update(devices)
        .where(
            table.removed_at_ms.is_(None),
            or_(
                table.suspected_at_ms.is_(None),
                table.suspected_at_ms < table.registered_at_ms,
            ),
        )
        .values(suspected_at_ms=now_ms, suspected_after=delivered)
    )
    if is_postgres(connection):
        said = unnest_columns("said", _SAID)
        given = {
            f"all_{name}": [getattr(each, name) for each in accused] for name in _SAID
        }
        meant = (
            table.id == said.c.device_id,
            table.token == said.c.token,
            table.registered_at_ms < said.c.before_ms,
        )
        result = await connection.execute(
            removal.where(*meant, table.suspected_at_ms < said.c.before_ms).values(
                removed_reason=said.c.reason
            ),
            given,
        )
        gone = list(result.scalars())
        await connection.execute(marking.where(*meant), given)
        return gone
    removed: list[str] = []
    for each in accused:
        meant = (
            table.id == each.device_id,
            table.token == each.token,
            table.registered_at_ms < each.before_ms,
        )
        result = await connection.execute(
            removal.where(*meant, table.suspected_at_ms < each.before_ms).values(
                removed_reason=each.reason
            )
        )
        removed.extend(result.scalars())
        await connection.execute(marking.where(*meant))
    return removed
