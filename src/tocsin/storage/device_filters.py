"""Turns filters into conditions and walks over devices by id.

Part of the storage room; builds statements only and must not run any.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, or_, select, union

from tocsin.core.device import (
    DeviceFilter,
    DeviceSelector,
    DeviceTopicFilter,
    PageRequest,
    ProviderTokens,
    RemovedFilter,
)
from tocsin.core.errors import BadRequest
from tocsin.core.ids import is_id
from tocsin.core.push_services import SERVICES
from tocsin.storage.rows import among, has_prefix, has_tags
from tocsin.storage.tables import device_topics, devices, token_key

Conditions = list[ColumnElement[bool]]

LIVE = devices.c.removed_at_ms.is_(None)

# Topics up to which a walk gets a branch of SQL for each.
_MOST_BRANCHES = 50


def selector_conditions(selector: DeviceSelector, dialect: str) -> Conditions:
    """What an update or a removal acts on, soft-removed devices included."""
    if selector.is_empty():
        # The last guard before a statement that would hit every device.
        raise BadRequest("ids", "nothing selected: name ids, users or tokens")
    return chosen(
        (devices.c.id, selector.ids),
        (devices.c.user_id, selector.users),
        dialect=dialect,
    ) + _holds(selector.provider_tokens, dialect)


def filter_conditions(filter: DeviceFilter, dialect: str) -> Conditions:
    """All of a device filter but its topics; only live devices pass."""
    return [
        LIVE,
        *chosen(
            (devices.c.id, filter.ids),
            (devices.c.user_id, filter.users),
            (devices.c.provider, filter.providers),
            (devices.c.platform, filter.platforms),
            dialect=dialect,
        ),
        *belong(filter.integrations, dialect),
        *_holds(filter.provider_tokens, dialect),
        *has_tags(devices.c.tags, filter.tags, dialect),
    ]


def topic_filter_conditions(filter: DeviceTopicFilter, dialect: str) -> Conditions:
    """Conditions on device_topics joined with devices; only live ones pass."""
    return [
        LIVE,
        *chosen(
            (device_topics.c.device_id, filter.device_ids),
            (devices.c.provider, filter.device_providers),
            (devices.c.platform, filter.device_platforms),
            (devices.c.user_id, filter.device_users),
            (device_topics.c.topic, filter.topics),
            dialect=dialect,
        ),
        *_holds(filter.device_provider_tokens, dialect),
        *has_prefix(device_topics.c.topic, filter.topic_prefix),
    ]


def holds_any_topic(
    topics: Sequence[str], dialect: str, *, after: str = ""
) -> ColumnElement[bool]:
    """That a device, with an id after that one, holds one of these topics."""
    return devices.c.id.in_(
        select(device_topics.c.device_id).where(
            among(device_topics.c.topic, topics, dialect),
            device_topics.c.device_id > after,
        )
    )


def walk(
    columns: Sequence[ColumnElement[Any]],
    conditions: Conditions,
    topics: Sequence[str],
    *,
    after: str,
    limit: int,
    dialect: str,
) -> Select[Any]:
    """The next `limit` devices after an id, in id order, each once.

    No page reads the devices before `after` again, however many there are.
    """
    wanted = list(dict.fromkeys(topics))
    if not wanted:
        source = select(*columns).where(*conditions)
    elif len(wanted) == 1:
        return _walk_topic(columns, conditions, wanted[0], after, limit)
    elif len(wanted) <= _MOST_BRANCHES:
        # The next devices of all topics are among the next of each one; a plain
        # semi-join would gather every later device of these topics per page.
        branches = [
            _walk_topic([devices.c.id], conditions, topic, after, limit)
            .subquery(f"topic_{number}")
            .select()
            for number, topic in enumerate(wanted)
        ]
        nearest = union(*branches).subquery("nearest")
        source = select(*columns).join(nearest, devices.c.id == nearest.c.id)
    else:
        held = holds_any_topic(wanted, dialect, after=after)
        source = select(*columns).where(*conditions, held)
    if after:
        source = source.where(devices.c.id > after)
    return source.order_by(devices.c.id).limit(limit)


def check_cursor(page: PageRequest) -> None:
    """Refuse a cursor that no server made."""
    if page.cursor and not is_id(page.cursor):
        raise BadRequest("cursor", "must be the id of the last row of the page before")


def _walk_topic(
    columns: Sequence[ColumnElement[Any]],
    conditions: Conditions,
    topic: str,
    after: str,
    limit: int,
) -> Select[Any]:
    # The bound stands on both tables: with one of them bare, PostgreSQL may read
    # that one from its first row for every page.
    return (
        select(*columns)
        .join(device_topics, device_topics.c.device_id == devices.c.id)
        .where(
            device_topics.c.topic == topic,
            device_topics.c.device_id > after,
            devices.c.id > after,
            *conditions,
        )
        .order_by(device_topics.c.device_id)
        .limit(limit)
    )


def chosen(
    *lists: tuple[ColumnElement[str], Sequence[str]], dialect: str
) -> Conditions:
    """That each column holds one of its values; a list without any says nothing."""
    return [
        column == values[0] if len(values) == 1 else among(column, values, dialect)
        for column, values in lists
        if values
    ]


def belong(integrations: Sequence[str], dialect: str) -> Conditions:
    """That a device names one of these integrations.

    One that names none belongs to the integration that bears its provider's name.
    """
    named = chosen((devices.c.integration, integrations), dialect=dialect)
    sections = [name for name in integrations if name in SERVICES]
    if not sections:
        return named
    nameless = and_(
        devices.c.integration == "",
        *chosen((devices.c.provider, sections), dialect=dialect),
    )
    return [or_(*named, nameless)]


def selected_by(
    filter: RemovedFilter,
    at_ms: ColumnElement[int | None],
    reason: ColumnElement[str],
    *,
    dialect: str,
) -> Conditions:
    """All of a filter over devices that were removed, or held, then and for that."""
    conditions = [
        *chosen(
            (devices.c.id, filter.ids),
            (devices.c.user_id, filter.users),
            (devices.c.provider, filter.providers),
            dialect=dialect,
        ),
        *belong(filter.integrations, dialect),
    ]
    if filter.topics:
        conditions.append(holds_any_topic(filter.topics, dialect))
    if filter.reasons:
        # Stored as `provider: code`; a filter names the whole, or the code. As one
        # list: a condition for each would make a statement that no database takes.
        find = func.strpos if dialect == "postgresql" else func.instr
        code = func.substr(reason, find(reason, ": ") + 2, type_=reason.type)
        conditions.append(
            or_(
                among(reason, filter.reasons, dialect),
                among(code, filter.reasons, dialect),
            )
        )
    if filter.since_ms:
        conditions.append(at_ms >= filter.since_ms)
    if filter.until_ms:
        conditions.append(at_ms < filter.until_ms)
    return conditions


def _holds(pairs: Sequence[ProviderTokens], dialect: str) -> Conditions:
    if not pairs:
        return []
    # A provider without tokens selects nothing: for a removal, "all devices of
    # that provider" would be a guess that cannot be taken back.
    keys = [token_key(each.provider, t) for each in pairs for t in each.tokens]
    return [among(devices.c.token_key, keys, dialect)]
