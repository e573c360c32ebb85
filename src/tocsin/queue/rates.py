"""Token buckets in Redis, or in PostgreSQL or SQLite, shared by all workers.

Part of the queue room; it must not know what a key stands for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tocsin.core.ports.clock import Clock
from tocsin.core.rates import US_PER_MS, RateLimit, buckets_name, take_token
from tocsin.queue.redis_connection import Keys, QueueScript, own_errors
from tocsin.queue.sql_connection import QueueDatabase
from tocsin.queue.sql_tables import build_tables

# The rows are locked in the order of their names, so that two workers never wait
# for each other; a missing one is made on the way, since nothing could be locked.
_LOCK = {
    "postgresql": """
        INSERT INTO {table} AS kept (name, states, expires_ms)
        SELECT name, '', 0 FROM unnest(CAST(:names AS text[])) AS wanted (name)
        ON CONFLICT (name) DO UPDATE SET states = kept.states
        RETURNING name, states
        """,
    "sqlite": """
        SELECT name, states FROM {table}
        WHERE name IN (SELECT value FROM json_each(:names))
        """,
}
_STORE = """
    INSERT INTO {table} (name, states, expires_ms)
    VALUES (:name, :states, :expires_ms)
    ON CONFLICT (name) DO UPDATE
    SET states = excluded.states, expires_ms = excluded.expires_ms
    """


class SqlRateLimiter:
    """`RateLimiter` in the queue's database; the engine stays its opener's.

    The queue makes the table and clears out full buckets. They are judged by
    `clock`, which has to be one that all workers share.
    """

    def __init__(
        self, engine: AsyncEngine, *, prefix: str = "", clock: Clock | None = None
    ) -> None:
        self._database = QueueDatabase(engine, clock)
        table = build_tables(prefix).rates.name
        self._lock = text(_LOCK[engine.dialect.name].format(table=table))
        self._store = text(_STORE.format(table=table))

    async def take(self, keys: Sequence[str], limits: Sequence[RateLimit]) -> list[int]:
        """Take a token for each key in turn; see the port."""
        if not keys:
            return []
        names = [buckets_name(key, limits) for key in keys]
        now_us = self._database.clock.now_ms() * US_PER_MS
        answers: list[int] = []
        changed: dict[str, list[int]] = {}
        async with self._database.writing(lasting=False) as connection:
            states = await self._fetch(connection, names)
            unused = [0] * len(limits)
            for name in names:
                before = states.get(name, unused)
                allowed_us, after = take_token(before, limits, now_us)
                # Rounded up: a millisecond earlier it would be refused
                # again.
                answers.append(-(-allowed_us // US_PER_MS))
                if not allowed_us:
                    states[name] = changed[name] = after
            await self._write(connection, changed)
        return answers

    async def _fetch(
        self, connection: AsyncConnection, names: Sequence[str]
    ) -> dict[str, list[int]]:
        # The order in which `_LOCK` takes the rows.
        wanted = sorted(set(names))
        given = json.dumps(wanted) if self._database.is_sqlite else wanted
        rows = await connection.execute(self._lock, {"names": given})
        return {
            row.name: [int(state) for state in row.states.split(",")]
            for row in rows
            if row.states
        }

    async def _write(
        self, connection: AsyncConnection, changed: Mapping[str, Sequence[int]]
    ) -> None:
        rows = [
            {
                "name": name,
                "states": ",".join(map(str, states)),
                "expires_ms": -(-max(states) // US_PER_MS),
            }
            for name, states in sorted(changed.items())
        ]
        if rows:
            await connection.execute(self._store, rows)


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
        self._take = QueueScript("take_tokens")

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
