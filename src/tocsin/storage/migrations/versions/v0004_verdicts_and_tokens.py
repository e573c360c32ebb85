"""What guards against purges, and one spelling for every token.

Part of the storage room; a released revision must not be changed any more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
import structlog
from alembic import op
from sqlalchemy.dialects import postgresql

# The rule of registrations itself: what differed from it would be two devices.
from tocsin.core.push_services import SERVICES
from tocsin.storage.tables import token_key

revision = "v0004"
down_revision = "v0003"
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")

_AT_ONCE = 2000
"""Rows of a page; each needs few statements, however many rows there are."""

_ODD_ON_POSTGRESQL = r"""
    provider = 'apns' AND token ~ '[^0-9a-f]'
    OR provider IN ('fcm', 'hms', 'expo') AND token ~ '[^]A-Za-z0-9_:.[-]'
    OR provider = 'webpush' AND token !~ '^https://[a-z0-9.-]+/[^#]*$'
"""
_ODD_ON_SQLITE = """
    provider = 'apns' AND token GLOB '*[^0-9a-f]*'
    OR provider IN ('fcm', 'hms', 'expo') AND token GLOB '*[^]A-Za-z0-9_:.[-]*'
    OR provider = 'webpush'
"""
"""Tokens that may be spelled another way; the others need not be read."""

_devices = sa.table(
    "devices",
    *(
        sa.column(name)
        for name in (
            "id",
            "provider",
            "token",
            "token_key",
            "user_id",
            "registered_at_ms",
            "removed_at_ms",
        )
    ),
)
_topics = sa.table(
    "device_topics",
    *(sa.column(name) for name in ("id", "device_id", "topic", "origins")),
)

_log = structlog.get_logger("tocsin.storage.migrations")


def upgrade() -> None:
    """Add what the guards remember; bring tokens to one spelling, merge doubles."""
    op.create_table(
        "credential_verdicts",
        sa.Column("provider", _TEXT, primary_key=True),
        sa.Column("integration", _TEXT, primary_key=True),
        sa.Column("letters", _TEXT, nullable=False),
        sa.Column("delivered", sa.BigInteger, nullable=False),
        sa.Column("updated_at_ms", sa.BigInteger, nullable=False),
    )
    # Without a default, so that neither database rewrites its rows.
    op.add_column("devices", sa.Column("suspected_at_ms", sa.BigInteger))
    op.add_column("devices", sa.Column("suspected_after", sa.BigInteger))
    marked = sa.text("suspected_at_ms IS NOT NULL")
    op.create_index(
        "devices_suspected_at_idx",
        "devices",
        ["suspected_at_ms"],
        postgresql_where=marked,
        sqlite_where=marked,
    )
    merged = _normalise_tokens(op.get_bind())
    if merged:
        _log.info(
            "devices merged that held one token in several spellings", merged=merged
        )


def _normalise_tokens(connection: sa.Connection) -> int:
    """Page by page in the order of ids; returns how many devices were merged away.

    A later page finds what an earlier one made of a token by its key.
    """
    is_postgres = connection.dialect.name == "postgresql"
    odd = _ODD_ON_POSTGRESQL if is_postgres else _ODD_ON_SQLITE
    page = sa.text(
        f"SELECT id, provider, token FROM devices WHERE id > :after AND ({odd})"  # noqa: S608 - constants
        " ORDER BY id LIMIT :most"
    )
    after, merged = "", 0
    while rows := connection.execute(page, {"after": after, "most": _AT_ONCE}).all():
        after = rows[-1].id
        tokens: dict[str, str] = {}
        wanted: defaultdict[str, list[str]] = defaultdict(list)
        for id, provider, token in rows:
            same = SERVICES.tokens_of(provider).comparable(token)
            if same != token:
                tokens[id] = same
                wanted[token_key(provider, same)].append(id)
        if wanted:
            merged += _apply(connection, wanted, tokens)
    return merged


def _apply(
    connection: sa.Connection,
    wanted: Mapping[str, list[str]],
    tokens: Mapping[str, str],
) -> int:
    """Give these devices their key, or merge them into the one that has it."""
    table = _devices.c
    held = connection.execute(
        sa.select(table.id, table.token, table.token_key).where(
            table.token_key.in_(list(wanted))
        )
    ).all()
    holders = {row.token_key: row for row in held}
    groups = {
        key: [*ids, holders[key].id] if key in holders else ids
        for key, ids in wanted.items()
    }
    doubled = [id for ids in groups.values() if len(ids) > 1 for id in ids]
    rows = _fetch(connection, _devices, table.id, doubled)
    known = {row.id: row for row in rows}
    changes: list[dict[str, str]] = []
    heirs: dict[str, str] = {}
    gone: list[str] = []
    for key, ids in groups.items():
        winner = ids[0]
        if len(ids) > 1:
            winner = _choose([known[id] for id in ids])
            losers = [id for id in ids if id != winner]
            gone += losers
            heirs |= {id: winner for id in losers if _gives(known[id], known[winner])}
        holder = holders.get(key)
        if holder is None or winner != holder.id:
            token = tokens[ids[0]] if holder is None else holder.token
            changes.append({"id": winner, "token": token, "token_key": key})
    _unite_topics(connection, heirs)
    for part in _parts(gone):
        connection.execute(sa.delete(_topics).where(_topics.c.device_id.in_(part)))
        connection.execute(sa.delete(_devices).where(table.id.in_(part)))
    columns = {"token": "text", "token_key": "text"}
    _update(connection, "devices", columns, changes)
    return len(gone)


def _parts(ids: Sequence[str]) -> list[Sequence[str]]:
    return [ids[at : at + _AT_ONCE] for at in range(0, len(ids), _AT_ONCE)]


def _fetch(
    connection: sa.Connection,
    source: sa.TableClause,
    column: sa.ColumnClause[Any],
    ids: Sequence[str],
) -> list[Any]:
    return [
        row
        for part in _parts(ids)
        for row in connection.execute(sa.select(source).where(column.in_(part)))
    ]


def _update(
    connection: sa.Connection,
    table: str,
    columns: Mapping[str, str],
    rows: Sequence[Mapping[str, Any]],
) -> None:
    """Set these columns, name → type, of the rows with each `id`."""
    if not rows:
        return
    # Constants of this file, all of them.
    if connection.dialect.name == "postgresql":  # many in one statement
        given = {"id": "text", **columns}
        arrays = ", ".join(f"CAST(:{n} AS {kind}[])" for n, kind in given.items())
        statement = (
            f"UPDATE {table} SET {', '.join(f'{n} = given.{n}' for n in columns)}"  # noqa: S608
            f" FROM unnest({arrays}) AS given({', '.join(given)})"
            f" WHERE {table}.id = given.id"
        )
        lists = {name: [row[name] for row in rows] for name in given}
        connection.execute(sa.text(statement), lists)
        return
    settings = ", ".join(f"{name} = :{name}" for name in columns)
    statement = f"UPDATE {table} SET {settings} WHERE id = :id"  # noqa: S608
    connection.execute(sa.text(statement), [dict(row) for row in rows])


def _choose(rows: Sequence[Any]) -> str:
    """The newest registration of a living device says whose phone it is."""
    return str(
        max(rows, key=lambda r: (r.removed_at_ms is None, r.registered_at_ms, r.id)).id
    )


def _gives(loser: Any, winner: Any) -> bool:
    """Whether its topics go on: not those of another user, nor of a dead device."""
    lives = loser.removed_at_ms is None or winner.removed_at_ms is not None
    return bool(lives and loser.user_id == winner.user_id)


def _unite_topics(connection: sa.Connection, heirs: Mapping[str, str]) -> None:
    """Give topics to the device that stays; `heirs` is who goes → who stays."""
    stay = set(heirs.values())
    rows = _fetch(connection, _topics, _topics.c.device_id, [*heirs, *stay])
    held = {(r.device_id, r.topic): [r.id, r.origins] for r in rows}
    moved: dict[str, str] = {}
    widened: dict[str, int] = {}
    for row in rows:
        if row.device_id in stay:
            continue
        winner = heirs[row.device_id]
        known = held.setdefault((winner, row.topic), [row.id, row.origins])
        if known[0] == row.id:
            moved[row.id] = winner
        elif known[1] | row.origins != known[1]:
            known[1] |= row.origins
            widened[known[0]] = known[1]
    _update(
        connection,
        "device_topics",
        {"device_id": "text"},
        [{"id": id, "device_id": winner} for id, winner in moved.items()],
    )
    _update(
        connection,
        "device_topics",
        {"origins": "smallint"},
        [{"id": id, "origins": origins} for id, origins in widened.items()],
    )
