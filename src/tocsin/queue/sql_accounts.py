"""Accounts of sends in SQL: one row for each, which a settlement locks and rewrites.

Part of the queue room; `core/accounts.py` says what an account is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
    and_,
    bindparam,
    delete,
    exists,
    literal,
    literal_column,
    select,
    true,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from tocsin.core.accounts import Account, Change, encode_account, parse_account
from tocsin.queue.rules import ACCOUNT_KEPT_MS
from tocsin.queue.sql_connection import QueueDatabase
from tocsin.queue.sql_jobs import find_or_make_origin
from tocsin.queue.sql_tables import Tables


class AccountRows:
    """Statements inside a transaction of the caller."""

    def __init__(self, database: QueueDatabase, tables: Tables) -> None:
        self._database = database
        self._table = tables.accounts
        self._once = tables.once

    async def exists(self, connection: AsyncConnection, push_id: str) -> bool:
        """Whether an account is kept of this send."""
        table = self._table.c
        found = await connection.execute(
            select(table.push_id).where(table.push_id == push_id)
        )
        return found.first() is not None

    async def add(
        self,
        connection: AsyncConnection,
        push_id: str,
        account: Account,
        *,
        even_if_marked: bool = True,
    ) -> bool:
        """Keep this account, unless the send has one; `False` then.

        `False` too where the queue remembers the push id, unless told to pass over it.
        """
        table, once, now = self._table.c, self._once.c, self._database.now
        row: dict[str, Any] = {"push_id": push_id, "read_version": 0, "ended_ms": 0}
        row |= _columns(account)
        values = [literal(value, table[name].type) for name, value in row.items()]
        may_add: ColumnElement[bool] = true()
        if not even_if_marked:
            may_add = ~exists().where(once.push_id == push_id, once.expires_ms > now)
        added = await connection.execute(
            self._database.inserting(self._table)
            .from_select(list(row), select(*values).where(may_add))
            .on_conflict_do_nothing(index_elements=["push_id"])
            .returning(table.push_id),
            {} if even_if_marked else self._database.now_values(),
        )
        if added.first() is None:
            return False
        if account.ended:
            await self._write(connection, push_id, account)
        return True

    async def change(
        self, connection: AsyncConnection, push_id: str, changes: Sequence[Change]
    ) -> None:
        """Make these changes; sends of older releases have no account."""
        if not changes:
            return
        account = await self._lock(connection, push_id)
        if account is None:
            return
        for change in changes:
            account.apply(change)
        await self._write(connection, push_id, account)

    async def reopen(
        self,
        connection: AsyncConnection,
        push_id: str,
        change: Change,
        *,
        generation: str,
    ) -> None:
        """Make a change that brings work back, in a new account if the old is gone."""
        account = await self._lock(connection, push_id)
        if account is None:
            account = Account(generation)
            account.apply(change)
            await self.add(connection, push_id, account)
            return
        account.ended = False
        account.apply(change)
        await self._write(connection, push_id, account)

    async def count_unread(self, connection: AsyncConnection, push_id: str) -> None:
        """Note that an entry of this send could not be read."""
        account = await self._lock(connection, push_id)
        if account is not None:
            account.unread += 1
            account.version += 1
            await self._write(connection, push_id, account)

    async def end(self, connection: AsyncConnection, push_id: str) -> None:
        """Note that no work of this send is left."""
        account = await self._lock(connection, push_id)
        if account is not None:
            account.ended = True
            account.version += 1
            await self._write(connection, push_id, account)

    async def take_in(
        self,
        connection: AsyncConnection,
        push_id: str,
        account: Account | None,
        ended: Change | None,
    ) -> bool:
        """Bring an entry's account from another engine; `None` if it has none there.

        `False` if the account here is of another generation: the entry is not wanted.
        """
        if account is None:
            return True
        if not await self.add(connection, push_id, account):
            standing = await self._lock(connection, push_id)
            if standing is None or standing.generation != account.generation:
                return False
        if ended is not None:
            await self.change(connection, push_id, [ended])
        return True

    async def remove(self, connection: AsyncConnection, push_id: str) -> None:
        """Forget an account that another engine has now."""
        await connection.execute(
            delete(self._table).where(self._table.c.push_id == push_id)
        )

    async def purge(self, connection: AsyncConnection) -> None:
        """Forget accounts that ended long ago and that nobody has come for."""
        table = self._table.c
        over = and_(
            literal_column("ended_ms > 0"),
            table.ended_ms <= self._database.now - ACCOUNT_KEPT_MS,
        )
        await connection.execute(
            delete(self._table).where(over), self._database.now_values()
        )

    async def _lock(self, connection: AsyncConnection, push_id: str) -> Account | None:
        table = self._table.c
        found = await connection.execute(
            select(table.account).where(table.push_id == push_id).with_for_update()
        )
        text = found.scalar()
        return None if text is None else parse_account(text)

    async def _write(
        self, connection: AsyncConnection, push_id: str, account: Account
    ) -> None:
        ended = self._database.now if account.ended else 0
        values = self._database.now_values() if account.ended else {}
        await connection.execute(
            update(self._table)
            .where(self._table.c.push_id == push_id)
            .values(ended_ms=ended, **_columns(account)),
            values,
        )


class SqlAccounts:
    """`AccountReader` in a database; see the port."""

    def __init__(self, database: QueueDatabase, tables: Tables) -> None:
        self._database = database
        self._table = tables.accounts
        self._origin = tables.origin

    async def changed(self, *, limit: int) -> dict[str, Account]:
        """Accounts that changed and were not acknowledged since."""
        table = self._table.c
        statement = (
            select(table.push_id, table.account)
            # As text, so that planners use the partial index.
            .where(literal_column("read_version <> version"))
            .limit(limit)
        )
        return await self._fetch(statement)

    async def find(self, push_ids: Sequence[str]) -> dict[str, Account]:
        """The accounts of these sends that the queue has."""
        if not push_ids:
            return {}
        table = self._table.c
        statement = select(table.push_id, table.account).where(
            table.push_id.in_(push_ids)
        )
        return await self._fetch(statement)

    async def acknowledge(
        self, accounts: Mapping[str, Account], *, forget: bool
    ) -> None:
        """They are written down elsewhere as they were read."""
        if not accounts:
            return
        table = self._table.c
        same = and_(
            table.push_id == bindparam("of_push"), table.version == bindparam("seen")
        )
        # In one order by all, so that two statements never wait for each other.
        rows = [
            {"of_push": push_id, "seen": account.version}
            for push_id, account in sorted(accounts.items())
        ]
        async with self._database.writing(lasting=False) as connection:
            if forget:
                gone = delete(self._table).where(same, literal_column("ended_ms > 0"))
                await connection.execute(gone, rows)
            read = update(self._table).where(same).values(read_version=table.version)
            await connection.execute(read, rows)

    async def note_keeper(self, fence: int) -> int:
        """How far the send log has come; see the port."""
        table = self._origin
        async with self._database.writing() as connection:
            # In the row that names the queue, which may not be there yet.
            await find_or_make_origin(connection, table)
            before = (await connection.execute(select(table.c.keeper))).scalar_one()
            if fence > before:
                await connection.execute(update(table).values(keeper=fence))
        return int(before)

    async def _fetch(self, statement: Any) -> dict[str, Account]:
        async with self._database.reading() as connection:
            rows: Sequence[Row[Any]] = (await connection.execute(statement)).all()
        return {row.push_id: parse_account(row.account) for row in rows}


def _columns(account: Account) -> dict[str, Any]:
    return {"version": account.version, "account": encode_account(account)}
