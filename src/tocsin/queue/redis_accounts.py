"""Accounts of sends in Redis: a hash for each, which the scripts change.

Part of the queue room; `lua/account.lua` says what the fields are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from redis.asyncio import Redis

from tocsin.core.accounts import Account, Change, Unit, Walk
from tocsin.queue.redis_connection import Keys, QueueScript, own_errors, run

_SEPARATOR = "\n"
"""Stands in no device id."""


class RedisAccounts:
    """`AccountReader` on Redis; the client belongs to whoever opened it."""

    def __init__(self, client: Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._find = QueueScript("accounts_find")
        self._read = QueueScript("accounts_read")
        self._note = QueueScript("note_keeper")

    async def changed(self, *, limit: int) -> dict[str, Account]:
        """Accounts that changed and were not acknowledged since; see the port."""
        with own_errors():
            found = await run(
                self._client, "SRANDMEMBER", self._keys.changed, max(1, limit)
            )
        # One that is gone was acknowledged by another reader meanwhile, or its time
        # was over: it is given back empty, so that it leaves the list.
        push_ids = [push_id.decode() for push_id in found or ()]
        accounts = await self.find(push_ids)
        return {push_id: accounts.get(push_id, Account()) for push_id in push_ids}

    async def find(self, push_ids: Sequence[str]) -> dict[str, Account]:
        """The accounts of these sends that the queue has; see the port."""
        if not push_ids:
            return {}
        keys = [self._keys.account(push_id) for push_id in push_ids]
        with own_errors():
            found = await self._find(self._client, keys, [])
        return {
            push_id: parse_fields(fields)
            for push_id, fields in zip(push_ids, found, strict=True)
            if fields
        }

    async def acknowledge(
        self, accounts: Mapping[str, Account], *, forget: bool
    ) -> None:
        """They are written down elsewhere as they were read; see the port."""
        if not accounts:
            return
        keys = [self._keys.changed, *(self._keys.account(each) for each in accounts)]
        args: list[Any] = []
        for push_id, account in accounts.items():
            args += (push_id, account.version, int(forget))
        with own_errors():
            await self._read(self._client, keys, args)

    async def note_keeper(self, fence: int) -> int:
        """How far the send log has come; see the port."""
        with own_errors():
            return int(await self._note(self._client, [self._keys.keeper], [fence]))


def encode_change(change: Change | None) -> str:
    """A change as `lua/account.lua` reads it; empty for none."""
    if change is None:
        return ""
    told: dict[str, Any] = {}
    if change.unit:
        told["u"], told["o"] = change.unit, change.open
        if change.matched:
            told["m"] = change.matched
            told["s"] = f"{change.start}{_SEPARATOR}{change.until}"
    parts = {part.value: count for part, count in change.parts.items() if count}
    if parts:
        told["p"] = parts
    if change.walk:
        told["w"] = change.walk
        if change.goes_on is not None:
            told["g"] = _encode_walk(change.goes_on)
        if change.walk_ends is not None:
            told["k"], told["c"] = change.walk_ends.value, change.walks_ended
    return json.dumps(told, separators=(",", ":"))


UNREAD = '{"n":1}'
"""The change for an entry that cannot be read."""


def encode_fields(account: Account) -> list[str | int]:
    """Fields and values of an account, one after the other."""
    fields: list[str | int] = ["g", account.generation, "v", account.version]
    for name, number in (
        ("m", account.matched),
        ("n", account.unread),
        ("e", int(account.ended)),
    ):
        if number:
            fields += (name, number)
    for part, number in account.parts.items():
        fields += (f"p:{part}", number)
    for end, number in account.walk_ends.items():
        fields += (f"k:{end}", number)
    for name, unit in account.units.items():
        fields += (f"o:{name}", unit.open)
        if unit.start or unit.until:
            fields += (f"s:{name}", f"{unit.start}{_SEPARATOR}{unit.until}")
        for part, number in unit.parts.items():
            fields += (f"x:{name}:{part}", number)
    for name, walk in account.walks.items():
        fields += (f"w:{name}", _encode_walk(walk))
    return fields


def parse_fields(fields: Sequence[bytes]) -> Account:
    """The account in these fields and values of its hash."""
    account = Account()
    for raw, value in zip(fields[::2], fields[1::2], strict=True):
        kind, _, name = raw.decode().partition(":")
        _set(account, kind, name, value.decode())
    return account


def _set(account: Account, kind: str, name: str, value: str) -> None:
    match kind:
        case "g":
            account.generation = value
        case "v":
            account.version = int(value)
        case "m":
            account.matched = int(value)
        case "n":
            account.unread = int(value)
        case "e":
            account.ended = True
        case "p":
            account.parts[name] = int(value)
        case "k":
            account.walk_ends[name] = int(value)
        case "w":
            page, cursor, until = value.split(_SEPARATOR)
            account.walks[name] = Walk(int(page), cursor, until)
        case "o":
            _unit(account, name).open = int(value)
        case "s":
            unit = _unit(account, name)
            unit.start, unit.until = value.split(_SEPARATOR)
        case "x":
            name, _, part = name.rpartition(":")
            _unit(account, name).parts[part] = int(value)


def _unit(account: Account, name: str) -> Unit:
    return account.units.setdefault(name, Unit())


def _encode_walk(walk: Walk) -> str:
    return f"{walk.page}{_SEPARATOR}{walk.cursor}{_SEPARATOR}{walk.until}"
