"""Many rows in one statement, spelled for both databases.

Part of the storage room, where most of what differs between the two is kept.
It must not know any table.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from hashlib import blake2b
from typing import Any

import orjson
from sqlalchemy import (
    JSON,
    BigInteger,
    BindParameter,
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
    # Named by itself: several may stand in one statement.
    given = bindparam(None, as_list(values, dialect), _list_type(dialect), unique=True)
    return _is_among(expression, given, dialect)


def among_given(
    expression: ColumnElement[Any], name: str, dialect: str
) -> ColumnElement[bool]:
    """The same for a statement that is built once: `name` takes `as_list`."""
    given = bindparam(name, type_=_list_type(dialect))
    return _is_among(expression, given, dialect)


def as_list(values: Collection[str], dialect: str) -> Any:
    """The parameter for `among_given`."""
    if dialect == "postgresql":
        return list(values)
    return orjson.dumps(list(values)).decode()


def _list_type(dialect: str) -> TypeEngine[Any]:
    return postgresql.ARRAY(Text()) if dialect == "postgresql" else Text()


def _is_among(
    expression: ColumnElement[Any], given: BindParameter[Any], dialect: str
) -> ColumnElement[bool]:
    if dialect == "postgresql":
        return expression == any_(given)
    each = func.json_each(given).table_valued("value")
    return expression.in_(select(each.c.value))


def has_prefix(
    expression: ColumnElement[Any], prefix: str
) -> Sequence[ColumnElement[bool]]:
    """That a text in byte order starts with `prefix`, as a range of an index.

    Not LIKE: that has special characters, and SQLite's ignores case.
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
        # The index leaves out devices without tags. PostgreSQL uses it only where the
        # statement says that such devices are not meant.
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
        names = tuple(rows[0])
        await connection.execute(
            _postgres_insert(table, names), _arrays(table, names, rows)
        )
    else:
        await connection.execute(insert(table), rows)


async def upsert_rows(
    connection: AsyncConnection, table: Table, rows: Sequence[Row], keep: Sequence[str]
) -> None:
    """Insert all rows by `id`; an existing row is overwritten, except for `keep`."""
    if not rows:
        return
    names = tuple(rows[0])
    changed = tuple(name for name in names if name not in ("id", *keep))
    if is_postgres(connection):
        await connection.execute(
            _postgres_upsert(table, names, changed), _arrays(table, names, rows)
        )
    else:
        await connection.execute(_sqlite_upsert(table, changed), rows)


# Building a statement costs more than running it, so each is built once.


@cache
def _postgres_insert(table: Table, names: tuple[str, ...]) -> postgresql.Insert:
    kinds = {name: table.c[name].type for name in names}
    source = unnest_columns(
        "given", {name: _sent_as(kind) for name, kind in kinds.items()}
    )
    values = [
        cast(source.c[name], postgresql.JSONB())
        if isinstance(kind, JSON)
        else source.c[name]
        for name, kind in kinds.items()
    ]
    return postgresql.insert(table).from_select(names, select(*values))


@cache
def _postgres_upsert(
    table: Table, names: tuple[str, ...], changed: tuple[str, ...]
) -> postgresql.Insert:
    upsert = _postgres_insert(table, names)
    return upsert.on_conflict_do_update(
        index_elements=["id"],
        set_={name: upsert.excluded[name] for name in changed},
    )


@cache
def _sqlite_upsert(table: Table, changed: tuple[str, ...]) -> sqlite.Insert:
    single = sqlite.insert(table)
    return single.on_conflict_do_update(
        index_elements=["id"],
        set_={name: single.excluded[name] for name in changed},
    )


def _arrays(table: Table, names: Sequence[str], rows: Sequence[Row]) -> dict[str, Any]:
    arrays: dict[str, Any] = {}
    for name in names:
        values = [row[name] for row in rows]
        if isinstance(table.c[name].type, JSON):
            values = [orjson.dumps(value).decode() for value in values]
        arrays[f"all_{name}"] = values
    return arrays


def _sent_as(kind: TypeEngine[Any]) -> TypeEngine[Any]:
    return Text() if isinstance(kind, (JSON, Text)) else kind


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
    """Let nobody change these users' topic lists until the transaction ends.

    Devices of a user are written under the shared lock, the user's list under the
    exclusive one (`alone`). So no device misses a change of the list that happens
    during its registration. Must come before any row is locked.
    """
    if not users or not is_postgres(connection):
        return  # SQLite has one writer at a time
    # Sorted: every process takes these locks in one order, so no two deadlock.
    keys = sorted(map(_lock_key, users))
    await connection.execute(_user_lock(alone), {"all_key": keys})


@cache
def _user_lock(alone: bool) -> Select[Any]:
    source = unnest_columns("users", {"key": BigInteger()})
    if alone:
        return select(func.pg_advisory_xact_lock(source.c.key))
    return select(func.pg_advisory_xact_lock_shared(source.c.key))


def _lock_key(user: str) -> int:
    # Two users with one digest would only wait for each other. `person` keeps these
    # apart from hashes with another purpose.
    digest = blake2b(user.encode(), digest_size=8, person=b"tocsin-user").digest()
    return int.from_bytes(digest, "big", signed=True)


def unnest_columns(name: str, columns: Mapping[str, TypeEngine[Any]]) -> FromClause:
    """A table made of parallel lists, on PostgreSQL; `all_<column>` takes one."""
    arrays = [
        bindparam(f"all_{each}", type_=postgresql.ARRAY(kind))
        for each, kind in columns.items()
    ]
    table = func.unnest(*arrays).table_valued(
        *(column(each, kind) for each, kind in columns.items())
    )
    return table.render_derived(name=name)
