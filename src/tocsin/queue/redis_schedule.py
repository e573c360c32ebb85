"""Takes back jobs of the Redis queue that wait for a moment set by the caller.

Part of the queue room; it must not touch work that is due or in somebody's hands.
"""

from __future__ import annotations

from redis.asyncio import Redis

from tocsin.core.push import Job
from tocsin.queue.codec import parse_cancelled
from tocsin.queue.redis_connection import Script, run
from tocsin.queue.redis_keys import Keys

SCHEDULE_KEPT_MS = 7 * 86_400_000
"""How long after its moment a send that no worker took can still be cancelled."""


class Schedule:
    """The places of scheduled jobs, by uid. They are written when jobs come in."""

    def __init__(self, client: Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._cancel = Script("cancel")

    async def cancel(self, uid: str) -> list[Job]:
        """Remove what is not due yet; returns the jobs."""
        place = self._keys.scheduled(uid)
        found = await run(self._client, "LRANGE", place, 0, -1)
        by_push: dict[str, list[tuple[str, str]]] = {}
        for entry in found:
            queue, _, member = entry.decode().partition("|")
            push_id = member.partition(":")[2]
            by_push.setdefault(push_id, []).append((queue, member))
        taken: list[bytes] = []
        for push_id, members in by_push.items():
            taken += await self._take_back(push_id, members)
        if found:
            await run(self._client, "DEL", place)
        return parse_cancelled(taken, uid)

    async def _take_back(
        self, push_id: str, members: list[tuple[str, str]]
    ) -> list[bytes]:
        numbers: dict[str, int] = {}
        args: list[str | int] = []
        for queue, member in members:
            args += (numbers.setdefault(queue, len(numbers)), member)
        keys = [self._keys.payload(push_id)]
        for queue in numbers:
            keys += self._keys.all_of(queue)[1:]
        taken: list[bytes] = await self._cancel(self._client, keys, args)
        return taken
