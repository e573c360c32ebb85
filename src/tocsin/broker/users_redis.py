"""Statuses of users, and denials, in Redis, where all nodes see them.

Part of the broker room; it decides nothing about them. Statuses are spread over the
servers by user, denials live on the first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from tocsin.broker.redis_shard import load_script
from tocsin.broker.sharding import find_shard
from tocsin.core.errors import BrokerUnavailable
from tocsin.core.ports.channels import DenialKind, UserStatus
from tocsin.redis_access.commands import run_many

_FIELDS = ("active", "online", "state")
_LAST_EXPIRY_S = 10**12
"""Redis counts expiry in 64-bit milliseconds and refuses what does not fit; a denial
that ends this far away never does."""

_Command = tuple[str | int, ...]


class RedisUserStatuses:
    """`UserStatusStore` in Redis: a hash for each user."""

    def __init__(self, clients: Sequence[Redis], *, prefix: str = "centrifugo") -> None:
        self._clients = clients
        self._prefix = f"{prefix}.user.status."

    async def set_active(
        self, users: Sequence[str], state: str, *, now_s: int, ttl_s: int
    ) -> None:
        """See the port."""
        await self._set(users, ("active", now_s, "state", state), ttl_s)

    async def set_online(self, users: Sequence[str], *, now_s: int, ttl_s: int) -> None:
        """See the port."""
        await self._set(users, ("online", now_s), ttl_s)

    async def fetch(self, users: Sequence[str]) -> Sequence[UserStatus]:
        """See the port."""
        found: dict[str, UserStatus] = {}
        for client, group in self._grouped(users):
            answers = await _run_all(
                client, [("HMGET", self._prefix + user, *_FIELDS) for user in group]
            )
            for user, values in zip(group, answers, strict=True):
                found[user] = _status(user, values)
        return [found[user] for user in users]

    async def delete(self, users: Sequence[str]) -> None:
        """See the port."""
        for client, group in self._grouped(users):
            await _run_all(client, [("DEL", self._prefix + user) for user in group])

    async def _set(
        self, users: Sequence[str], values: Sequence[str | int], ttl_s: int
    ) -> None:
        for client, group in self._grouped(users):
            commands: list[_Command] = []
            for user in group:
                key = self._prefix + user
                commands += ("HSET", key, *values), ("EXPIRE", key, ttl_s)
            await _run_all(client, commands)

    def _grouped(self, users: Sequence[str]) -> Iterator[tuple[Redis, list[str]]]:
        groups: dict[int, list[str]] = {}
        for user in users:
            shard = find_shard(user, len(self._clients))
            groups.setdefault(shard, []).append(user)
        for shard, group in groups.items():
            yield self._clients[shard], group


class RedisDenials:
    """`DenialStore` in Redis: a key for each."""

    def __init__(self, client: Redis, *, prefix: str = "centrifugo") -> None:
        self._client = client
        self._prefix = f"{prefix}.denied."
        self._put = load_script("deny")

    async def put(
        self, kind: DenialKind, key: str, value: int, *, expire_at: int
    ) -> None:
        """See the port."""
        until_s = expire_at if expire_at <= _LAST_EXPIRY_S else 0
        with own_errors():
            await self._put(self._client, [self._key(kind, key)], [value, until_s])

    async def remove(self, kind: DenialKind, key: str) -> None:
        """See the port."""
        with own_errors():
            await self._client.delete(self._key(kind, key))

    async def fetch(
        self, keys: Sequence[tuple[DenialKind, str]]
    ) -> Sequence[int | None]:
        """See the port."""
        # One command for all would need them on one server of a cluster.
        values = await _run_all(
            self._client, [("GET", self._key(*key)) for key in keys]
        )
        return [None if value is None else int(value) for value in values]

    def _key(self, kind: DenialKind, key: str) -> str:
        return f"{self._prefix}{kind.value}.{key}"


@contextmanager
def own_errors() -> Iterator[None]:
    """Raise `BrokerUnavailable` for whatever Redis or the way to it fails with."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise BrokerUnavailable(str(error)) from error


async def _run_all(client: Redis, commands: Sequence[_Command]) -> list[Any]:
    """Several commands in one round; raises `BrokerUnavailable`."""
    with own_errors():
        return await run_many(client, commands)


def _status(user: str, values: Sequence[bytes | None]) -> UserStatus:
    active, online, state = values
    return UserStatus(
        user,
        active=int(active or 0),
        online=int(online or 0),
        state=(state or b"").decode(),
    )
