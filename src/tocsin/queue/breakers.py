"""`BreakerStore` in the queue's Redis, for set-ups without a database.

Part of the queue room; it must not know what a breaker stops.
"""

from __future__ import annotations

from collections.abc import Mapping

from redis.asyncio import Redis

from tocsin.queue.redis_connection import QueueScript, own_errors, run


class RedisBreakerStore:
    """One hash, a field for each name; the client belongs to whoever opened it."""

    def __init__(self, client: Redis, *, prefix: str = "tocsin") -> None:
        self._client = client
        self._key = f"{prefix}:breakers"
        self._swap = QueueScript("swap_breaker")

    async def fetch(self) -> Mapping[str, str]:
        """See the port."""
        with own_errors():
            found = await run(self._client, "HGETALL", self._key)
        # Answers of RESP2 are one list of names and texts in turn.
        if not isinstance(found, dict):
            found = dict(zip(found[::2], found[1::2], strict=True))
        return {name.decode(): text.decode() for name, text in found.items()}

    async def swap(self, name: str, before: str | None, after: str | None) -> bool:
        """See the port."""
        with own_errors():
            done = await self._swap(
                self._client, [self._key], [name, before or "", after or ""]
            )
        return bool(done)
