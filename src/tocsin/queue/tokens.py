"""Where workers agree on the tokens that they present to a push service.

Part of the queue room, for the queue is what all workers have in common. It must not
know what a token is for; it never logs one.
"""

from __future__ import annotations

from redis.asyncio import Redis
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from tocsin.core.ports.clock import Clock
from tocsin.core.ports.providers import TOKEN_AHEAD_MS, SharedToken
from tocsin.queue.redis_connection import QueueScript, own_errors
from tocsin.queue.sql_connection import QueueDatabase
from tocsin.queue.sql_tables import build_tables


class RedisTokenStore:
    """`TokenStore` on Redis; the client belongs to whoever opened it."""

    def __init__(self, client: Redis, *, prefix: str = "tocsin") -> None:
        self._client = client
        self._prefix = prefix
        self._agree = QueueScript("agree_token")

    async def agree(
        self, name: str, offered: SharedToken, *, made_after_ms: int, ttl_s: float
    ) -> SharedToken:
        """See the port."""
        with own_errors():
            value, made_at_ms = await self._agree(
                self._client,
                # No hash tag: each of these keys stands alone in its
                # script.
                [f"{self._prefix}:token:{name}"],
                [
                    offered.value,
                    offered.made_at_ms,
                    made_after_ms,
                    max(1, int(ttl_s * 1000)),
                    TOKEN_AHEAD_MS,
                ],
            )
        return SharedToken(value.decode(), int(made_at_ms))


class SqlTokenStore:
    """`TokenStore` beside a `SqlJobQueue`, whose `start` makes the table."""

    def __init__(
        self, engine: AsyncEngine, *, prefix: str = "", clock: Clock | None = None
    ) -> None:
        self._database = QueueDatabase(engine, clock)
        self._table = build_tables(prefix).tokens

    async def agree(
        self, name: str, offered: SharedToken, *, made_after_ms: int, ttl_s: float
    ) -> SharedToken:
        """See the port."""
        table, now_ms = self._table.c, self._database.clock.now_ms()
        latest_ms = now_ms + TOKEN_AHEAD_MS
        offer = self._database.inserting(self._table).values(
            name=name,
            value=offered.value,
            made_at_ms=offered.made_at_ms,
            expires_ms=now_ms + int(ttl_s * 1000),
        )
        taken = offer.on_conflict_do_update(
            index_elements=["name"],
            set_={key: offer.excluded[key] for key in _CONTENT},
            where=(table.made_at_ms <= made_after_ms)
            | (table.made_at_ms > latest_ms)
            | (table.expires_ms <= now_ms),
        )
        is_ahead = offered.made_at_ms > latest_ms
        standing = select(table.value, table.made_at_ms).where(table.name == name)
        async with self._database.writing() as connection:
            if not is_ahead:
                await connection.execute(taken)
            # A row that won over the offer is committed, so it is seen here.
            row = (await connection.execute(standing)).one_or_none()
        if row is None or (
            is_ahead and not made_after_ms < row.made_at_ms <= latest_ms
        ):
            return offered
        return SharedToken(row.value, row.made_at_ms)


_CONTENT = ("value", "made_at_ms", "expires_ms")
