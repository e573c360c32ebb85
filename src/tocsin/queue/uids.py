"""Remembers uids of accepted sends in Redis, for set-ups without a database.

Part of the queue room; it must not know what a send is.
"""

from __future__ import annotations

from redis.asyncio import Redis

from tocsin.core.errors import Conflict
from tocsin.core.ports.sends import UID_TAKEN, UidClaim
from tocsin.queue.redis_connection import QueueScript, own_errors


class RedisUidStore:
    """`UidStore` on Redis; entries end by themselves.

    The client belongs to whoever opened it. Every key stands alone, so that a
    cluster could spread them.
    """

    def __init__(self, client: Redis, *, prefix: str = "tocsin") -> None:
        self._client = client
        self._prefix = prefix
        self._claim = QueueScript("claim_uid")
        self._confirm = QueueScript("confirm_uid")

    async def claim(
        self, uid: str, *, fingerprint: bytes, push_id: str, ttl_s: float
    ) -> UidClaim:
        """Take the uid, or return the claim that stands; see the port."""
        with own_errors():
            stored, owner, accepted, epoch = await self._claim(
                self._client,
                [self._key(uid)],
                [fingerprint, push_id, max(1, int(ttl_s * 1000))],
            )
        if stored != fingerprint:
            raise Conflict(UID_TAKEN)
        return UidClaim(
            push_id=owner.decode(),
            accepted=accepted == b"1",
            epoch=(epoch or b"").decode(),
        )

    async def confirm(self, uid: str, *, epoch: str = "") -> None:
        """Mark the claim as accepted; see the port."""
        with own_errors():
            await self._confirm(self._client, [self._key(uid)], [epoch])

    async def purge_expired(self, *, limit: int) -> int:  # noqa: ARG002 - Redis does it
        """Nothing to do: Redis forgets by ttl."""
        return 0

    def _key(self, uid: str) -> str:
        return f"{self._prefix}:uid:{uid}"
