"""Many rows in one statement, spelled for both databases.

Part of the storage room; the only file besides migrations where a statement
may differ between PostgreSQL and SQLite. It must not know any table.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import orjson
from sqlalchemy import (
    JSON,
    BigInteger,
    BindParameter,
    ColumnClause,
    ColumnElement,
    FromClause,
    Select,
    Table,
    Text,
    any_,
    bindparam,
    cast,
    column,
    delete,
    exists,
    func,
    insert,
    literal,
    select,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import TypeEngine

Row = Mapping[str, Any]


def is_postgres(connection: AsyncConnection) -> bool:
    """Whether this connection leads to PostgreSQL."""
    return connection.dialect.name == "postgresql"


def among(
    expression: ColumnElement[Any], values: Collection[str], dialect: str
) -> ColumnElement[bool]:
    """`expression IN values`, as one parameter however many there are."""
    if dialect == "postgresql":
        return expression == any_(_array(sorted(values), Text()))
    each = func.json_each(literal(orjson.dumps(list(values)).decode()))
    return expression.in_(select(each.table_valued("value").c.value))


def has_prefix(
    expression: ColumnElement[Any], prefix: str
) -> Sequence[ColumnElement[bool]]:
    """That a text in byte order starts with `prefix`, as a range of an index.

    Unlike LIKE it has no special characters, and SQLite's ignores case.
    """
    if not prefix:
        return ()
    end = text_after(prefix)
    above = expression >= prefix
    return (above,) if end is None else (above, expression < end)


def text_after(prefix: str) -> str | None:
    """The least text above all that start with `prefix`; `None` without one."""
    head = prefix.rstrip("\U0010ffff")
    if not head:
        return None
    last = ord(head[-1]) + 1
    if last == 0xD800:  # surrogates are no characters
        last = 0xE000
    return head[:-1] + chr(last)


def has_tags(
    expression: ColumnElement[Any], tags: Mapping[str, str], dialect: str
) -> Sequence[ColumnElement[bool]]:
    """That a JSON map holds all these pairs."""
    if not tags:
        return ()
    if dialect == "postgresql":
        wanted = literal(orjson.dumps(dict(tags)).decode(), Text())
        contained = expression.op("@>", is_comparison=True)(
            cast(wanted, postgresql.JSONB())
        )
        # The index leaves out devices without tags: this says that it fits.
        return contained, expression.op("<>", is_comparison=True)(text("'{}'::jsonb"))
    conditions: list[ColumnElement[bool]] = []
    for name, value in tags.items():
        each = func.json_each(expression).table_valued("key", "value", "type")
        conditions.append(
            exists(
                select(1)
                .select_from(each)
                .where(each.c.key == name, each.c.value == value, each.c.type == "text")
            )
        )
    return conditions


async def insert_rows(
    connection: AsyncConnection, table: Table, rows: Sequence[Row]
) -> None:
    """Insert all rows; they must hold the same columns."""
    if not rows:
        return
    if is_postgres(connection):
        names = list(rows[0])
        source = _unnest(table, names, rows)
        await connection.execute(insert(table).from_select(names, source))
    else:
        await connection.execute(insert(table), rows)


async def upsert_rows(
    connection: AsyncConnection, table: Table, rows: Sequence[Row], keep: Sequence[str]
) -> None:
    """Insert all rows by `id`; one that stands is overwritten but for `keep`."""
    if not rows:
        return
    names = list(rows[0])
    changed = [name for name in names if name not in ("id", *keep)]
    if is_postgres(connection):
        source = _unnest(table, names, rows)
        upsert = postgresql.insert(table).from_select(names, source)
        await connection.execute(
            upsert.on_conflict_do_update(
                index_elements=["id"],
                set_={name: upsert.excluded[name] for name in changed},
            )
        )
    else:
        single = sqlite.insert(table)
        await connection.execute(
            single.on_conflict_do_update(
                index_elements=["id"],
                set_={name: single.excluded[name] for name in changed},
            ),
            rows,
        )


async def delete_rows(
    connection: AsyncConnection, table: Table, ids: Collection[str]
) -> None:
    """Delete the rows with these ids."""
    if ids:
        chosen = among(table.c.id, ids, connection.dialect.name)
        await connection.execute(delete(table).where(chosen))


async def lock_users(
    connection: AsyncConnection, users: Collection[str], *, alone: bool
) -> None:
    """Hold these users' topic lists still until the transaction ends.

    Devices of a user are written under the shared lock, its list under the lock
    held `alone`: so no device misses a change that runs beside its
    registration. Must come before any row is locked.
    """
    if not users or not is_postgres(connection):
        return  # SQLite has one writer at a time
    lock = func.pg_advisory_xact_lock if alone else func.pg_advisory_xact_lock_shared
    keys = _array(sorted(map(_lock_key, users)), BigInteger())
    each = func.unnest(keys).table_valued("key").render_derived(name="users")
    await connection.execute(select(lock(each.c.key)))


def _lock_key(user: str) -> int:
    digest = blake2b(user.encode(), digest_size=8, person=b"tocsin-user").digest()
    return int.from_bytes(digest, "big", signed=True)


def unnest_columns(
    name: str, *columns: tuple[ColumnClause[Any], Sequence[Any]]
) -> FromClause:
    """A table made of parallel lists, on PostgreSQL: one parameter a column."""
    arrays = [_array(values, each.type) for each, values in columns]
    table = func.unnest(*arrays).table_valued(*[each for each, _ in columns])
    return table.render_derived(name=name)


def _array(values: Sequence[Any], item: TypeEngine[Any]) -> BindParameter[Any]:
    return bindparam(None, list(values), type_=postgresql.ARRAY(item), unique=True)


def _unnest(table: Table, names: Sequence[str], rows: Sequence[Row]) -> Select[Any]:
    columns: list[tuple[ColumnClause[Any], Sequence[Any]]] = []
    for name in names:
        kind, values = table.c[name].type, [row[name] for row in rows]
        if isinstance(kind, JSON):
            values = [orjson.dumps(value).decode() for value in values]
        plain = Text() if isinstance(kind, (JSON, Text)) else kind
        columns.append((column(name, plain), values))
    source = unnest_columns("rows", *columns)
    return select(
        *(
            cast(source.c[name], postgresql.JSONB())
            if isinstance(table.c[name].type, JSON)
            else source.c[name]
            for name in names
        )
    )
