"""The hot walk: whom to send to, page by page, with as little per row as possible.

Part of the storage room; it must stay free of ORM entities and of row objects.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, Text, cast
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from tocsin.core.device import Detail, DeviceFilter
from tocsin.core.push import RecipientPage, Recipients
from tocsin.core.push_services import SERVICES
from tocsin.storage.device_filters import filter_conditions, walk
from tocsin.storage.rows import is_postgres
from tocsin.storage.tables import devices

_COLUMNS = (devices.c.id, devices.c.token, devices.c.platform)
_COLUMNS_AND_KEYS = (*_COLUMNS, devices.c.webpush_keys)
_DETAILS: Mapping[Detail, tuple[str, ColumnElement[Any]]] = {
    Detail.USER: ("users", devices.c.user_id),
    Detail.TIMEZONE: ("timezones", devices.c.timezone),
    Detail.LOCALE: ("locales", devices.c.locale),
    # As text: only the worker that renders has to read it.
    Detail.META: ("metas", cast(devices.c.meta, Text)),
}
"""The column of `Recipients`, and of the table, that each detail comes from."""


async def fetch_target_page(
    connection: AsyncConnection,
    filter: DeviceFilter,
    *,
    provider: str,
    cursor: str,
    limit: int,
    details: Collection[Detail] = (),
) -> RecipientPage:
    """See `DeviceStore.fetch_targets`."""
    if filter.providers and provider not in filter.providers:
        return RecipientPage(Recipients())
    dialect = connection.dialect.name
    rules = SERVICES.tokens_of(provider)
    more_columns = [_DETAILS[detail] for detail in details]
    statement = walk(
        [
            *(_COLUMNS_AND_KEYS if rules.has_keys else _COLUMNS),
            *(column for _, column in more_columns),
        ],
        [devices.c.provider == provider, *filter_conditions(filter, dialect)],
        filter.topics,
        after=cursor,
        limit=limit + 1,  # one more says whether there is a next page
        dialect=dialect,
    )
    if is_postgres(connection):
        rows = await _fetch_binary(connection, statement, by_topic=_is_by_topic(filter))
    else:
        rows = (await connection.execute(statement)).all()
    more = len(rows) > limit
    if not rows:
        return RecipientPage(Recipients())
    ids, tokens, platforms, *rest = zip(*rows[:limit], strict=True)
    if rules.has_keys:  # a message is encrypted for the device's keys
        tokens = tuple(map(rules.make_target, tokens, rest.pop(0)))
    named = zip([name for name, _ in more_columns], rest, strict=True)
    recipients = Recipients(tokens, ids, platforms, **dict(named))
    return RecipientPage(recipients, ids[-1] if more else "")


def _is_by_topic(filter: DeviceFilter) -> bool:
    """Whether the index on topics is certainly the best way.

    It is where topics are the only narrow condition.
    """
    return bool(filter.topics) and filter == DeviceFilter(
        topics=filter.topics, providers=filter.providers, platforms=filter.platforms
    )


async def _fetch_binary(
    connection: AsyncConnection, statement: Select[Any], *, by_topic: bool
) -> Sequence[Sequence[Any]]:
    """Run a statement on psycopg's own binary cursor, the fastest way measured."""
    import psycopg  # here, since a process on SQLite never needs the driver

    compiled = statement.compile(dialect=connection.dialect)
    raw = await connection.get_raw_connection()
    driver: psycopg.AsyncConnection[Any] = raw.driver_connection  # type: ignore[assignment] # the dialect decides its class
    try:
        async with driver.cursor(binary=True) as cursor:
            if by_topic:
                # Right after an import PostgreSQL takes a topic for small, and
                # would sort all that is left of it for every page.
                await cursor.execute("SET LOCAL enable_sort = off")
            # Not prepared, so it is planned anew for each page: a general plan may be
            # a bad one for this topic, and planning costs little beside a page.
            await cursor.execute(compiled.string, compiled.params, prepare=False)
            return await cursor.fetchall()
    except psycopg.Error as error:
        if driver.broken or driver.closed:
            await connection.invalidate()
        # SQLAlchemy wraps what passes through it; this did not.
        raise DBAPIError(
            None,
            None,
            error,
            hide_parameters=True,
            connection_invalidated=driver.broken or driver.closed,
        ) from error
