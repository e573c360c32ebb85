"""Token buckets in Redis, shared by all workers.

Part of the queue room; it must not know what a key stands for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis

from tocsin.core.ports.clock import Clock
from tocsin.core.rates import US_PER_MS, RateLimit, buckets_name
from tocsin.queue.redis_connection import Script, own_errors
from tocsin.queue.redis_keys import Keys

_KEYS_PER_CALL = 500
"""Bounds how long a script holds up the server."""


class RedisRateLimiter:
    """`RateLimiter` on Redis; the client belongs to whoever opened it.

    Buckets are judged by the clock of Redis, as due times are, for which a `clock`
    stands in tests. They end by themselves when they are full.
    """

    def __init__(
        self, client: Redis, *, prefix: str = "tocsin", clock: Clock | None = None
    ) -> None:
        self._client = client
        self._keys = Keys(prefix)
        self._clock = clock
        self._take = Script("take_tokens")

    async def take(self, keys: Sequence[str], limits: Sequence[RateLimit]) -> list[int]:
        """Take a token for each key in turn; see the port."""
        clock = self._clock
        args: list[Any] = ["" if clock is None else clock.now_ms() * US_PER_MS]
        for limit in limits:
            args += (limit.spacing_us, limit.fill_us)
        names = [self._keys.rate(buckets_name(key, limits)) for key in keys]
        answers: list[int] = []
        with own_errors():
            for start in range(0, len(names), _KEYS_PER_CALL):
                some = names[start : start + _KEYS_PER_CALL]
                answers += await self._take(self._client, some, args)
        return answers
