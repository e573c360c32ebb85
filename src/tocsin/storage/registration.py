"""Registers many devices in one transaction: who keeps which id, and the rows.

Part of the storage room; it must not open transactions nor wait for callers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Select, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from tocsin.core.device import GLOBAL_USER, Registration, TopicOrigin
from tocsin.core.ids import new_id
from tocsin.storage.held_removals import NOT_HELD
from tocsin.storage.rows import (
    among_given,
    as_list,
    delete_rows,
    lock_users,
    upsert_rows,
)
from tocsin.storage.tables import devices
from tocsin.storage.topic_rows import fetch_bound, fetch_rows, write_topics
from tocsin.storage.topic_sets import topics_of


@dataclass(frozen=True, slots=True)
class KeyedRegistration:
    """A registration and the key of its (provider, token) pair."""

    registration: Registration
    token_key: str


@dataclass(slots=True)
class RegistrationPlan:
    """What becomes of a group of registrations.

    `ids` has one for each entry, `None` for an entry that is put off to the next group.
    `known` are ids of rows that stand, `merged` those of rows that go because another
    device takes their token.
    """

    ids: list[str | None]
    known: set[str]
    merged: list[str]


def plan_ids(
    entries: Sequence[KeyedRegistration],
    by_id: Collection[str],
    by_key: Mapping[str, str],
) -> RegistrationPlan:
    """Decide every entry's device id. `by_key` is token key → device id.

    An entry that touches a device or token which an earlier one touches is put
    off: it must see what that one wrote. The first is never put off.
    """
    plan = RegistrationPlan([], set(), [])
    touched: set[str] = set()
    for entry in entries:
        given = entry.registration.id
        holder = by_key.get(entry.token_key)
        target = given if given in by_id else holder
        concerned = {entry.token_key, given, holder, target} - {None, ""}
        if not touched.isdisjoint(concerned):
            plan.ids.append(None)
            continue
        touched |= {each for each in concerned if each is not None}
        if target is None:
            plan.ids.append(new_id(entry.registration.provider))
            continue
        plan.ids.append(target)
        plan.known.add(target)
        if holder is not None and holder != target:
            plan.merged.append(holder)
    return plan


async def register_all(
    connection: AsyncConnection, entries: Sequence[KeyedRegistration], now_ms: int
) -> list[str | None]:
    """Write a group of registrations; returns their ids, see `RegistrationPlan`."""
    users = {e.registration.user for e in entries} - {GLOBAL_USER}
    await lock_users(connection, users, alone=False)
    # Rows after users, in every transaction, so that two never wait for each other.
    by_id, by_key = await _lock_known(connection, entries)
    plan = plan_ids(entries, by_id, by_key)
    taken = {
        device_id: entry
        for device_id, entry in zip(plan.ids, entries, strict=True)
        if device_id is not None
    }
    # Before the upsert: a token may stand in one row only.
    await delete_rows(connection, devices, plan.merged)
    rows = [_row(device_id, entry, now_ms) for device_id, entry in taken.items()]
    # Every process inserts in this order, so that two never wait for each other.
    rows.sort(key=lambda row: row["token_key"])
    await upsert_rows(connection, devices, rows, keep=("created_at_ms",))
    bound = await fetch_bound(connection, users)
    stored = await fetch_rows(connection, plan.known)
    await write_topics(connection, stored, _wanted(taken, bound))
    return plan.ids


async def _lock_known(
    connection: AsyncConnection, entries: Sequence[KeyedRegistration]
) -> tuple[set[str], dict[str, str]]:
    dialect = connection.dialect.name
    given = {e.registration.id for e in entries if e.registration.id}
    result = await connection.execute(
        _lock_statement(dialect, with_ids=bool(given)),
        {
            "keys": as_list([entry.token_key for entry in entries], dialect),
            "ids": as_list(given, dialect),
        },
    )
    by_key = {token_key: device_id for device_id, token_key in result}
    return set(by_key.values()), by_key


@cache
def _lock_statement(dialect: str, *, with_ids: bool) -> Select[Any]:
    table = devices.c
    same = among_given(table.token_key, "keys", dialect)
    if with_ids:
        same = or_(same, among_given(table.id, "ids", dialect))
    return (
        select(table.id, table.token_key)
        .where(same)
        .order_by(table.id)
        .with_for_update(key_share=True)
    )


def _wanted(
    taken: Mapping[str, KeyedRegistration], bound: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, TopicOrigin]]:
    wanted: dict[str, dict[str, TopicOrigin]] = {}
    for device_id, entry in taken.items():
        own, user = entry.registration.topics, entry.registration.user
        of_user = bound[user] if user != GLOBAL_USER else ()
        wanted[device_id] = topics_of(own, of_user, bound[GLOBAL_USER])
    return wanted


def _row(device_id: str, entry: KeyedRegistration, now_ms: int) -> dict[str, Any]:
    registration = entry.registration
    return {
        "id": device_id,
        "provider": registration.provider,
        "token": registration.token,
        "token_key": entry.token_key,
        "platform": registration.platform,
        "user_id": registration.user,
        "timezone": registration.timezone,
        "locale": registration.locale,
        "meta": dict(registration.meta),
        "tags": dict(registration.tags),
        "integration": registration.integration,
        "webpush_keys": registration.webpush_keys,
        "created_at_ms": now_ms,
        "updated_at_ms": now_ms,
        "registered_at_ms": now_ms,
        "removed_at_ms": None,
        "removed_reason": "",
        "suspected_at_ms": None,
        "suspected_after": None,
        "suspected_by": None,
        **NOT_HELD,
    }
