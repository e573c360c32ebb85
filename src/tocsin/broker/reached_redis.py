"""Who was reached by pushes that are published first, where all nodes see it.

Part of the broker room; it must not look into channels. A push is one Redis set that
ends by itself: its users, and markers for its stage.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from typing import Any

from redis.asyncio import Redis

from tocsin.broker.sharding import find_shard
from tocsin.broker.users_redis import own_errors
from tocsin.core.ports.online import Stage
from tocsin.redis_access.commands import run_many, run_whole

_AT_ONCE = 1000
"""Users in one command, so that Redis serves others in between."""
_MARKERS = (f"s:{Stage.DECIDED}", f"s:{Stage.PUBLISHED}")


class RedisReached:
    """`ReachedStore` in Redis; clients belong to whoever opened them."""

    def __init__(
        self, clients: Collection[Redis], *, prefix: str = "centrifugo"
    ) -> None:
        self._clients = tuple(clients)
        self._prefix = f"{prefix}.reached."

    async def add(
        self, push_id: str, users: Collection[str], stage: Stage, *, ttl_s: int
    ) -> None:
        """See the port."""
        key = self._prefix + push_id
        commands: list[tuple[Any, ...]] = [
            ("SADD", key, *(f"u:{user}" for user in some)) for some in _slices(users)
        ]
        commands += [("SADD", key, f"s:{stage}"), ("EXPIRE", key, ttl_s)]
        await self._run(push_id, commands, whole=True)

    async def fetch_stage(self, push_id: str, *, ttl_s: int) -> Stage:
        """See the port."""
        key = self._prefix + push_id
        commands = [("SMISMEMBER", key, *_MARKERS), ("EXPIRE", key, ttl_s)]
        (decided, published), _ = await self._run(push_id, commands)
        if decided:
            return Stage.DECIDED
        return Stage.PUBLISHED if published else Stage.UNKNOWN

    async def find(
        self, push_id: str, users: Collection[str], *, ttl_s: int
    ) -> frozenset[str]:
        """See the port."""
        key = self._prefix + push_id
        asked = list(_slices(users))
        commands: list[tuple[Any, ...]] = [
            ("SMISMEMBER", key, *(f"u:{user}" for user in some)) for some in asked
        ]
        answers = await self._run(push_id, [*commands, ("EXPIRE", key, ttl_s)])
        return frozenset(
            user
            for some, found in zip(asked, answers[:-1], strict=True)
            for user, is_member in zip(some, found, strict=True)
            if is_member
        )

    async def _run(
        self,
        push_id: str,
        commands: Sequence[tuple[Any, ...]],
        *,
        whole: bool = False,
    ) -> Any:
        """Answers in one round; with `whole` all is done, or nothing."""
        client = self._clients[find_shard(push_id, len(self._clients))]
        with own_errors():
            if whole:
                return await run_whole(client, self._prefix + push_id, commands)
            return await run_many(client, commands)


def _slices(users: Collection[str]) -> Iterator[list[str]]:
    rest = iter(users)
    while some := list(islice(rest, _AT_ONCE)):
        yield some
