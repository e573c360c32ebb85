"""Analytics room: rows in the configured database, PostgreSQL or SQLite.

The default store. Others open the database, and migrations make its table.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from tocsin.analytics.text_rows import EVENTS, encode_rows
from tocsin.core.analytics import Funnel, NotificationRow, RowsRefused, read_events
from tocsin.core.errors import BadRequest, InternalError

T = TypeVar("T")

SLICE_ROWS = 1000
"""Rows made into text before other tasks have a turn."""

_TABLE = "push_analytics"
_COLUMNS = (
    "uid, provider, type, recipient, device_id, platform, user_id, msg_id, status,"
    " error_message, error_code, time_ms"
)
_COPY = f"COPY {_TABLE} ({_COLUMNS}) FROM STDIN"
_INSERT = (
    f"INSERT INTO {_TABLE} ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - constants
)

# Rows are grouped by recipient: a device, or else the mark of a token, a topic or a
# condition. Its rows count once, however often a try or a batch was repeated.
# Milliseconds have 13 digits until the year 2286. So the greatest text of time and code
# is the newest fault, and its code begins at character 14.
_FUNNEL = text(
    f"""
    SELECT sum(sent), sum(delivered), sum(interacted),
           CASE WHEN sent = 0 THEN substr(fault, 14) END AS reason, count(*)
    FROM (
        SELECT max(CASE WHEN status = 'sent' THEN 1 ELSE 0 END) AS sent,
               max(CASE WHEN status = 'delivered' THEN 1 ELSE 0 END) AS delivered,
               max(CASE WHEN status = 'interacted' THEN 1 ELSE 0 END) AS interacted,
               max(CASE WHEN status = 'failed'
                   THEN CAST(time_ms AS TEXT) || error_code END) AS fault
        FROM {_TABLE} WHERE uid = :uid
        GROUP BY CASE WHEN device_id <> '' THEN device_id
                 ELSE provider || ':' || recipient END
    ) AS recipients
    GROUP BY 4
    """  # noqa: S608 - constants
)

# A cancellation is stored under the uid of its send, results under the analytics_uid;
# the scheduled row has both, and leads from one to the other.
_EVENTS = text(
    f"""
    SELECT status, provider, error_code, max(error_message), max(time_ms)
    FROM {_TABLE}
    WHERE uid = :uid AND status IN ({EVENTS})
       OR status = 'cancelled' AND uid IN (
              SELECT msg_id FROM {_TABLE}
              WHERE uid = :uid AND status = 'scheduled' AND msg_id <> '')
    GROUP BY status, provider, error_code
    """  # noqa: S608 - constants
)

_DEVICE = text(
    f"""
    SELECT {_COLUMNS} FROM {_TABLE} WHERE uid = :uid AND device_id = :device_id
    ORDER BY time_ms DESC, id DESC LIMIT 100
    """  # noqa: S608 - constants
)

# Rows are added nearly in order of time, so the oldest have the smallest ids. That
# needs no index of the time, and a purge never reads more rows than its limit.
_PURGE = text(
    f"""
    DELETE FROM {_TABLE} WHERE id IN (
        SELECT id FROM (SELECT id, time_ms FROM {_TABLE} ORDER BY id LIMIT :limit)
            AS oldest
        WHERE time_ms < :before_ms
    )
    """  # noqa: S608 - constants
)


class Transactions(Protocol):
    """Runs a function of a connection in one transaction of a database.

    Raises `ApiError` for faults of the database and of statements.
    """

    async def read(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Run `work`, which changes nothing."""
        ...

    async def write(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Run `work` and commit it."""
        ...


class SqlAnalyticsStore:
    """Rows in the table `push_analytics`; whoever opened the database closes it."""

    def __init__(self, database: Transactions) -> None:
        self._database = database

    async def append(self, rows: Sequence[NotificationRow], *, batch_id: str) -> None:
        """See `AnalyticsStore.append`; a repeated batch is stored again."""
        del batch_id

        async def insert(connection: AsyncConnection) -> None:
            if connection.dialect.name == "postgresql":
                await _copy(connection, rows)
            else:
                plain = [tuple([_storable(value) for value in row]) for row in rows]
                await connection.exec_driver_sql(_INSERT, plain)

        try:
            await self._database.write(insert)
        except BadRequest as error:
            raise RowsRefused(error.message) from error

    async def fetch_funnel(self, uid: str) -> Funnel:
        """See `AnalyticsStore.fetch_funnel`."""

        async def select(connection: AsyncConnection) -> list[Sequence[Sequence[Any]]]:
            return [
                (await connection.execute(statement, {"uid": uid})).all()
                for statement in (_FUNNEL, _EVENTS)
            ]

        groups, events = await self._database.read(select)
        return Funnel(
            uid,
            sent=sum(int(sent) for sent, *_ in groups),
            delivered=sum(int(delivered) for _, delivered, *_ in groups),
            interacted=sum(int(interacted) for _, _, interacted, *_ in groups),
            failed={
                str(reason): int(count)
                for *_, reason, count in groups
                if reason is not None
            },
            events=read_events([tuple(event) for event in events]),
        )

    async def fetch_device(self, uid: str, device_id: str) -> list[NotificationRow]:
        """See `DeviceSource.fetch_device`."""
        values = {"uid": uid, "device_id": device_id}

        async def select(connection: AsyncConnection) -> Sequence[Sequence[Any]]:
            return (await connection.execute(_DEVICE, values)).all()

        rows = await self._database.read(select)
        return [NotificationRow(*row) for row in reversed(rows)]

    async def purge(self, *, before_ms: int, limit: int) -> int:
        """See `AnalyticsStore.purge`."""

        async def delete(connection: AsyncConnection) -> int:
            values = {"before_ms": before_ms, "limit": limit}
            return (await connection.execute(_PURGE, values)).rowcount

        return await self._database.write(delete)

    async def close(self) -> None:
        """Nothing to release: the database belongs to its opener."""


def _storable(value: object) -> object:
    """The value without lone surrogates, the only text that SQLite does not take."""
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-8", "replace").decode()
    return value


async def _copy(connection: AsyncConnection, rows: Sequence[NotificationRow]) -> None:
    # Not waiting for the disk: a power cut may lose the last rows, which is worth it.
    await connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
    driver: Any = (await connection.get_raw_connection()).driver_connection
    with _own_errors():
        async with driver.cursor() as cursor, cursor.copy(_COPY) as copy:
            for start in range(0, len(rows), SLICE_ROWS):
                part = rows[start : start + SLICE_ROWS]
                await copy.write(encode_rows(part, in_seconds=False))


@contextmanager
def _own_errors() -> Iterator[None]:
    """Translate errors of COPY: it runs on the driver, so SQLAlchemy wraps none."""
    # The PostgreSQL engine has loaded it; where SQLite is used it is not imported.
    psycopg: Any = sys.modules["psycopg"]
    try:
        yield
    except psycopg.DataError as error:
        raise RowsRefused(f"PostgreSQL answers {error.sqlstate}") from error
    except psycopg.Error as error:
        state = error.sqlstate or type(error).__name__
        raise InternalError(f"the database refused the rows ({state})") from error
