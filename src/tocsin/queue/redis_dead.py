"""The dead letters of the Redis queue: one stream, listed, replayed and purged.

Part of the queue room; it must not decide what dies, only keep what did.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from redis.asyncio import Redis

from tocsin.core.errors import BadRequest
from tocsin.core.push import DeadLetter
from tocsin.queue.codec import encode_job, parse_dead_job, parse_letter, refresh
from tocsin.queue.redis_connection import Script, run
from tocsin.queue.redis_keys import Keys

Found = list[tuple[bytes, Mapping[bytes, bytes]]]

_ID = re.compile(r"\d{1,20}-\d{1,20}")


class DeadStream:
    """Letters with the job, the reason and a copy of the payload."""

    def __init__(self, client: Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._replay = Script("replay")

    async def fetch_page(self, *, limit: int, after: str) -> list[DeadLetter]:
        """Oldest first; raises `BadRequest` for an `after` that is no id."""
        if after and not _ID.fullmatch(after):
            raise BadRequest("after", "is not the id of a dead letter")
        start = f"({after}" if after else "-"
        found = await self._range(start, "+", max(1, limit))
        return [_letter(id, fields) for id, fields in found]

    async def replay(self, ids: Sequence[str]) -> int:
        """Each letter in one atomic step; unknown ids count nothing."""
        replayed = 0
        for id in _known_form(ids):
            found = await self._range(id, id, 1)
            if found:
                replayed += await self._replay_one(id, found[0][1])
        return replayed

    async def purge(self, ids: Sequence[str]) -> int:
        """Delete these letters; returns how many there were."""
        known = _known_form(ids)
        if not known:
            return 0
        return int(await run(self._client, "XDEL", self._keys.dead, *known))

    async def _range(self, start: str, end: str, count: int) -> Found:
        found: Found = await run(
            self._client, "XRANGE", self._keys.dead, start, end, "COUNT", count
        )
        return found

    async def _replay_one(self, id: str, fields: Mapping[bytes, bytes]) -> int:
        job = parse_dead_job(fields[b"letter"])
        # What could not be read goes back as it came: this release may read it.
        encoded = fields[b"raw"] if job is None else encode_job(refresh(job))
        push_id, queue = fields[b"push"].decode(), fields[b"queue"].decode()
        keys = [self._keys.dead, self._keys.payload(push_id), self._keys.stream(queue)]
        args = [id, push_id, encoded, fields[b"payload"]]
        return int(await self._replay(self._client, keys, args))


def _known_form(ids: Sequence[str]) -> list[str]:
    return [id for id in ids if _ID.fullmatch(id)]


def _letter(id: bytes, fields: Mapping[bytes, bytes]) -> DeadLetter:
    return parse_letter(
        fields[b"letter"],
        id=id.decode(),
        queue=fields[b"queue"].decode(),
        push_id=fields[b"push"].decode(),
        payload=fields[b"payload"],
    )
