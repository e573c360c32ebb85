"""The queue engines and the one in memory behind one opener, and small jobs."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.memory_queue import MemoryJobQueue, MemoryQueueData

from tocsin.core.device import DeviceFilter
from tocsin.core.errors import QueueUnavailable
from tocsin.core.ports.clock import Clock
from tocsin.core.ports.queue import Delivery, JobQueue
from tocsin.core.push import (
    Body,
    Expand,
    ExpandJob,
    Job,
    Payload,
    Recipients,
    RecipientType,
    Send,
    SendJob,
    TargetKind,
)

# Processes that tests start load the library of their engine only.
if TYPE_CHECKING:
    import pytest
    from redis.asyncio import Redis
    from sqlalchemy.ext.asyncio import AsyncEngine

ENGINES = ("redis", "postgresql", "sqlite")
PLACES = (*ENGINES, "redis-cluster")
"""The engines, and the places where one of them is another thing."""
MEMORY = "memory"
"""The queue that unit tests use; it is held to the contract of the engines."""


class Ability(StrEnum):
    """What not every place can do; a contract test asks for it by name."""

    FOREIGN_BYTES = "holds what another release wrote, also what cannot be read"
    OWN_CLOCK = "has a clock that is not this machine's"


_LACKS: dict[str, set[Ability]] = {
    "sqlite": {Ability.OWN_CLOCK},
    # It keeps jobs, no bytes, and nothing of it is outside of this process.
    MEMORY: {Ability.FOREIGN_BYTES, Ability.OWN_CLOCK},
}


def places(
    *, able_to: Ability | None = None, not_to: Ability | None = None
) -> list[str]:
    """All places of the contract, or those that have an ability, or lack one."""
    return [
        place
        for place in (*PLACES, MEMORY)
        if able_to not in _LACKS.get(place, ())
        and (not_to is None or not_to in _LACKS.get(place, ()))
    ]


EXPAND, SEND = "expand:fcm", "send:fcm"
RETRY = "send:fcm:retry"
"""Where batches wait that were tried before."""

_numbers = itertools.count(1)


def payload_for(push_id: str) -> Payload:
    """A payload with a body that no encoding leaves alone by chance."""
    body = Body(b'{"notification":{"title":"\xc3\xa4"}}', {"apns-priority": "5"})
    return Payload(push_id, "uid-1", "campaign", {"fcm": body})


def send_job(push_id: str, *, provider: str = "fcm", **changes: Any) -> Job:
    """A batch of three recipients with an id of its own."""
    fields: dict[str, Any] = {
        **_fields(push_id, provider),
        "work": Send(
            TargetKind.TOKEN,
            Recipients(
                ("token-a", "token-b", "token-c"),
                ("id-a", "id-b", "id-c"),
                ("android", "ios", "web"),
            ),
        ),
    }
    return SendJob(**{**fields, **changes})


def expand_job(push_id: str, **changes: Any) -> Job:
    """The first page of a walk over one topic."""
    work = Expand(DeviceFilter(topics=("news",)))
    return ExpandJob(**{**_fields(push_id, "fcm"), "work": work, **changes})


def _fields(push_id: str, provider: str) -> dict[str, Any]:
    return {
        "id": f"{push_id}-{next(_numbers)}",
        "push_id": push_id,
        "provider": provider,
        "recipient_type": RecipientType.FILTER,
        "accepted_at_ms": 1_790_000_000_000,
    }


@dataclass
class QueueBackend:
    """One engine with its data; opens any number of queues ("workers") on it."""

    engine: str
    address: str
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    _memory: MemoryQueueData = field(default_factory=MemoryQueueData)

    async def open(
        self,
        name: str = "worker-1",
        *,
        takeover_s: float = 15,
        limit: int = 1000,
        clock: Clock | None = None,
    ) -> JobQueue:
        """A started queue with connections of its own, as another process has."""
        if self.engine == MEMORY:
            return MemoryJobQueue(
                clock,
                data=self._memory,
                owner=name,
                limit=limit,
                takeover_s=takeover_s,
            )
        if self.engine == "redis":
            from tocsin.queue.redis_stream import RedisStreamJobQueue

            redis_queue = RedisStreamJobQueue(
                self.redis(),
                consumer=name,
                max_stream_length=limit,
                takeover_s=takeover_s,
                clock=clock,
            )
            await redis_queue.start()
            return redis_queue
        from tocsin.queue.sql import SqlJobQueue

        sql_queue = SqlJobQueue(
            self.sql(),
            owner=name,
            max_pending=limit,
            takeover_s=takeover_s,
            clock=clock,
        )
        await sql_queue.start()
        return sql_queue

    def redis(self) -> Redis:
        """A client of its own."""
        from tocsin.queue.redis_connection import connect

        client = connect(self.address)
        self._stack.push_async_callback(client.aclose)
        return client

    def sql(self) -> AsyncEngine:
        """An engine of its own."""
        from sqlalchemy.ext.asyncio import create_async_engine

        engine = create_async_engine(self.address)
        self._stack.push_async_callback(engine.dispose)
        return engine

    async def plant(self, queue: str, push_id: str, raw: bytes) -> None:
        """Put bytes into a queue as a process of another release might."""
        if self.engine == "redis":
            await self.redis().xadd(
                f"{{tocsin}}:stream:{queue}", {"push": push_id, "job": raw}
            )
            return
        from sqlalchemy import text

        async with self.sql().begin() as connection:
            added = await connection.execute(
                text(
                    "INSERT INTO queue_jobs (queue, push_id, run_at_ms)"
                    " VALUES (:queue, :push_id, 0) RETURNING id"
                ),
                {"queue": queue, "push_id": push_id},
            )
            await connection.execute(
                text("INSERT INTO queue_bodies (job_id, body) VALUES (:id, :raw)"),
                {"id": added.scalar_one(), "raw": raw},
            )

    async def spoil_payload(self, push_id: str) -> None:
        """Overwrite a stored payload with bytes that are none."""
        if self.engine == "redis":
            await self.redis().hset(f"{{tocsin}}:payload:{push_id}", "body", b"\xff")
            return
        from sqlalchemy import text

        async with self.sql().begin() as connection:
            await connection.execute(
                text("UPDATE queue_payloads SET body = :body WHERE push_id = :id"),
                {"body": b"\xff", "id": push_id},
            )

    async def close(self) -> None:
        """Close every connection that was opened."""
        await self._stack.aclose()


async def backend_for(
    request: pytest.FixtureRequest, engine: str, directory: Path
) -> AsyncIterator[QueueBackend]:
    """The life of one engine without data; the body of a fixture."""
    if engine == MEMORY:
        address = ""
    elif engine == "redis":
        address = request.getfixturevalue("redis_address")
    elif engine == "redis-cluster":
        engine, address = "redis", request.getfixturevalue("redis_cluster_address")
    elif engine == "postgresql":
        address = sql_address(request.getfixturevalue("postgres_dsn"))
    else:
        address = f"sqlite+aiosqlite:///{directory / 'queue.db'}"
    backend = QueueBackend(engine, address)
    yield backend
    await backend.close()


def sql_address(dsn: str) -> str:
    """The engine URL for a PostgreSQL dsn."""
    return dsn.replace("postgresql://", "postgresql+psycopg://", 1)


async def drain(
    queue: JobQueue, queues: Sequence[str] = (EXPAND, SEND, RETRY), *, limit: int = 50
) -> list[Delivery]:
    """Everything that is due now."""
    deliveries: list[Delivery] = []
    while found := await queue.receive(queues, limit=limit, wait_s=0):
        deliveries += found
    return deliveries


async def receive_soon(
    queue: JobQueue, queues: Sequence[str] = (SEND, RETRY), *, within_s: float = 5
) -> Delivery:
    """The next entry, for which a while may be waited."""
    found = await queue.receive(queues, limit=1, wait_s=within_s)
    assert found, f"nothing came within {within_s} s"
    return found[0]


async def enqueue_surely(
    queue: JobQueue, push_id: str, *, reliable: bool = False, within_s: float = 60
) -> bool:
    """One job, as an API puts it in: the same again until there is an answer.

    That answer: whether this call stored it, as `JobQueue.enqueue` says.
    """
    job = send_job(push_id)
    payload = replace(payload_for(push_id), reliable=reliable)
    async with asyncio.timeout(within_s):
        while True:
            with suppress(QueueUnavailable):
                return await queue.enqueue(payload, [job], once_ttl_s=600)
            await asyncio.sleep(0.05)


async def receive_pushes(
    queue: JobQueue, count: int, *, within_s: float = 60
) -> list[str]:
    """Settle jobs through whatever happens to the servers; returns their pushes."""
    found: dict[str, str] = {}
    async with asyncio.timeout(within_s):
        while len(found) < count:
            with suppress(QueueUnavailable):
                for each in await queue.receive([SEND], limit=5, wait_s=0.5):
                    found[each.job.id] = each.job.push_id
                    await queue.settle(each)
    return sorted(found.values())
