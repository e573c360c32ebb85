"""Who is in a channel, shared by all nodes through Redis.

Part of the broker room. Entries end by themselves when nobody renews them, so a
node that dies leaves nobody behind for longer than the ttl.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from tocsin.broker.messages import encode_info, parse_info
from tocsin.broker.redis_shard import load_script
from tocsin.broker.sharding import find_shard
from tocsin.core.channel import ClientInfo, PresenceStats
from tocsin.core.errors import BrokerUnavailable
from tocsin.redis_access.commands import is_cluster, tagged
from tocsin.redis_access.scripts import Script

DEFAULT_TTL_S = 60


class RedisPresence:
    """`PresenceStore` in Redis; clients belong to whoever opened them."""

    def __init__(
        self,
        clients: Sequence[Redis],
        *,
        prefix: str = "centrifugo",
        ttl_s: int = DEFAULT_TTL_S,
    ) -> None:
        self._clients = clients
        self._prefix = prefix
        self._ttl_s = ttl_s
        self._add = load_script("presence_add")
        self._fetch = load_script("presence_fetch")

    async def add(self, channel: str, info: ClientInfo) -> None:
        """See the port."""
        arguments = [info.client, encode_info(info), self._ttl_s]
        await self._run(self._add, channel, arguments)

    async def remove(self, channel: str, client: str, user: str) -> None:  # noqa: ARG002 - the port's
        """See the port."""
        redis = self._client(channel)
        data, expiry = self._keys(redis, channel)
        try:
            await redis.hdel(data, client)
            await redis.zrem(expiry, client)
        except (RedisError, OSError) as error:
            raise BrokerUnavailable(str(error)) from error

    async def fetch(self, channel: str) -> Mapping[str, ClientInfo]:
        """See the port."""
        flat = await self._run(self._fetch, channel, [])
        return {
            client.decode(): parse_info(info)
            for client, info in zip(flat[::2], flat[1::2], strict=True)
        }

    async def fetch_stats(self, channel: str) -> PresenceStats:
        """See the port."""
        clients = await self.fetch(channel)
        return PresenceStats(len(clients), len({i.user for i in clients.values()}))

    async def _run(self, script: Script, channel: str, arguments: Sequence[Any]) -> Any:
        redis = self._client(channel)
        try:
            return await script(redis, self._keys(redis, channel), arguments)
        except (RedisError, OSError) as error:
            raise BrokerUnavailable(str(error)) from error

    def _client(self, channel: str) -> Redis:
        return self._clients[find_shard(channel, len(self._clients))]

    def _keys(self, redis: Redis, channel: str) -> list[str]:
        name = tagged(channel) if is_cluster(redis) else channel
        return [
            f"{self._prefix}.presence.data.{name}",
            f"{self._prefix}.presence.expire.{name}",
        ]
