"""The stores of a life in databases and in Redis."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack

from sqlalchemy.ext.asyncio import create_async_engine

from tocsin.core.clock import SystemClock
from tocsin.core.lanes import queue_names
from tocsin.core.ports.queue import JobQueue
from tocsin.core.ports.send_log import SendQuery
from tocsin.core.push import SendJob
from tocsin.core.send_log import SendRecord
from tocsin.queue.redis_connection import connect
from tocsin.queue.redis_stream import RedisStreamJobQueue
from tocsin.queue.sql import SqlJobQueue
from tocsin.storage.devices import SqlDeviceStore
from tocsin.storage.engine import Database
from tocsin.storage.queue_marks import SqlQueueMarkStore
from tocsin.storage.send_log import SqlSendLog
from tocsin.storage.uids import SqlUidStore
from tocsin.storage.verdicts import SqlVerdictStore


class RealStores:
    """See `Stores`. The queue is at an address of Redis or of a database.

    Lives beside each other in one Redis have each a `prefix` of their own.
    """

    def __init__(
        self,
        database: Database,
        queue_address: str,
        *,
        prefix: str,
        lease_s: float,
        stack: AsyncExitStack,
    ) -> None:
        self._clock = SystemClock()
        self._database = database
        self._address = queue_address
        self._prefix = prefix
        self._lease_s = lease_s
        self._stack = stack
        self._queue: JobQueue | None = None

    async def queue(self, owner: str) -> JobQueue:
        if not self._address.startswith(("sqlite", "postgresql")):
            client = connect(self._address)
            self._stack.push_async_callback(client.aclose)
            redis = RedisStreamJobQueue(
                client,
                consumer=owner,
                prefix=self._prefix,
                takeover_s=self._lease_s,
            )
            await redis.start()
            self._queue = redis
            return redis
        engine = create_async_engine(self._address)
        self._stack.push_async_callback(engine.dispose)
        sql = SqlJobQueue(engine, owner=owner, takeover_s=self._lease_s)
        await sql.start()
        self._queue = sql
        return sql

    def log(self) -> SqlSendLog:
        return SqlSendLog(self._database, clock=self._clock)

    def uids(self) -> SqlUidStore:
        return SqlUidStore(self._database, clock=self._clock)

    def devices(self) -> SqlDeviceStore:
        return SqlDeviceStore(self._database, clock=self._clock)

    def verdicts(self) -> SqlVerdictStore:
        return SqlVerdictStore(self._database, clock=self._clock)

    def marks(self) -> SqlQueueMarkStore:
        return SqlQueueMarkStore(self._database)

    async def lose_queue(self) -> None:
        raise NotImplementedError("what a real queue loses is tried in tests/system")

    async def left(self) -> list[str]:
        queue = self._queue
        assert queue is not None
        waiting = await queue.waiting(queue_names("fcm"))
        entries = [f"{name} has {n} entries" for name, n in waiting.items() if n]
        push_ids = [record.push_id for record in await self.records()]
        found = await queue.accounts.find(push_ids)
        return entries + [f"the queue has an account of {id}" for id in found]

    async def letters(self) -> list[tuple[str, Sequence[str]]]:
        assert self._queue is not None
        return [
            (letter.reason, letter.job.work.recipients.targets)
            for letter in await self._queue.list_dead(limit=1000)
            if isinstance(letter.job, SendJob)
        ]

    async def records(self) -> list[SendRecord]:
        return await self.log().list_sends(SendQuery(limit=1000))
