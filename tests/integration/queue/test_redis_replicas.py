"""A reliable request and the replicas of Redis."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from redis.asyncio import Redis
from tests.support.job_queues import SEND, payload_for, send_job
from tests.support.redis_server import RedisServer, start_redis

from tocsin.core.errors import QueueUnavailable
from tocsin.queue.redis_connection import connect
from tocsin.queue.redis_stream import RedisStreamJobQueue

RELIABLE = replace(payload_for("p1"), reliable=True)


@pytest.fixture
def replica(tmp_path: Path) -> Iterator[RedisServer]:
    server = start_redis(tmp_path / "replica")
    yield server
    server.kill()


@pytest.fixture
async def client(redis_address: str) -> AsyncIterator[Redis]:
    client = connect(redis_address)
    yield client
    await client.aclose()


async def follow(replica: RedisServer, primary: Redis, port: int) -> None:
    """Let the replica follow and wait until it is in step."""
    follower = Redis(port=replica.port)
    await follower.execute_command("REPLICAOF", "127.0.0.1", port)
    await follower.aclose()
    deadline = time.monotonic() + 20
    while True:
        about = await primary.info("replication")
        if about["connected_slaves"] and about["slave0"]["state"] == "online":
            return
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_without_replicas_there_is_nobody_to_wait_for(client: Redis) -> None:
    """A single server takes the request as it takes any."""
    queue = RedisStreamJobQueue(client, consumer="w")
    assert await queue.enqueue(RELIABLE, [send_job("p1")])


async def test_a_replica_has_it_before_the_answer(
    client: Redis, redis_server: RedisServer, replica: RedisServer
) -> None:
    """A stalled replica holds the answer up; the repeat is safe and waits too."""
    await follow(replica, client, redis_server.port)
    queue = RedisStreamJobQueue(client, consumer="w")
    job = send_job("p1")
    os.kill(replica.pid, signal.SIGSTOP)
    try:
        for _ in range(2):
            with pytest.raises(QueueUnavailable) as caught:
                await queue.enqueue(RELIABLE, [job], once_ttl_s=60)
            assert "no replica" in caught.value.reason
        plain = await queue.enqueue(payload_for("p2"), [send_job("p2")])
        assert plain  # who did not ask for it does not wait
    finally:
        os.kill(replica.pid, signal.SIGCONT)
    assert not await queue.enqueue(RELIABLE, [job], once_ttl_s=60)
    assert await queue.waiting([SEND]) == {SEND: 2}
    assert await queue.enqueue(replace(RELIABLE, push_id="p3"), [send_job("p3")])
    follower = Redis(port=replica.port)
    assert await follower.xlen("{tocsin}:stream:send:fcm") == 3
    await follower.aclose()
