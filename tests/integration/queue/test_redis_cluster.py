"""A cluster changes under the queue, which lies on one of its servers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.job_queues import (
    SEND,
    QueueBackend,
    enqueue_surely,
    payload_for,
    receive_pushes,
    receive_soon,
    send_job,
)
from tests.support.redis_cluster import RedisCluster, ask, start_cluster, wait_for
from tests.support.redis_server import RedisServer

from tocsin.core.errors import QueueUnavailable
from tocsin.core.ports.queue import JobQueue
from tocsin.queue.redis_connection import Keys
from tocsin.redis_access.slots import SLOTS, key_slot

OWNER = key_slot(Keys("tocsin").dead) * 3 // SLOTS
"""The number of the primary that has the queue."""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RedisCluster]:
    """A cluster of this test's own, with a replica of the queue's server."""
    cluster = start_cluster(tmp_path, replicas_of=[OWNER], timeout_ms=3000)
    yield cluster
    cluster.stop()


async def test_the_replica_goes_on_with_what_it_has(cluster: RedisCluster) -> None:
    """What a reliable send put in, what a worker held, what was recorded of it."""
    backend = QueueBackend("redis", cluster.address)
    api, worker = await backend.open("api"), await backend.open("worker", takeover_s=1)
    reliable = replace(payload_for("p1"), reliable=True)
    jobs = [send_job("p1"), send_job("p1")]
    assert await api.enqueue(reliable, jobs, once_ttl_s=600)
    held = await receive_soon(worker)
    await worker.record_progress({held.receipt: b"\x03"})
    primary, replica = cluster.primaries[OWNER], cluster.replicas[0]
    progress = Keys("tocsin").progress
    wait_for(lambda: _offset(replica) >= _offset(primary))
    primary.kill()
    with pytest.raises(QueueUnavailable):
        await api.check()
    await enqueue_surely(api, "p2")
    assert not await api.enqueue(reliable, jobs, once_ttl_s=600)
    await api.check()
    assert ask(replica, "HGET", progress, held.receipt) is not None
    taker = await backend.open("taker", takeover_s=1)
    found = await _receive_all(taker, 3)
    assert found[held.job.id] == (2, b"\x03")
    assert {count for count, _ in found.values()} == {1, 2}
    await backend.close()


def _offset(server: RedisServer) -> int:
    return int(ask(server, "INFO", "replication")["master_repl_offset"])


async def _receive_all(queue: JobQueue, count: int) -> dict[str, tuple[int, bytes]]:
    found: dict[str, tuple[int, bytes]] = {}
    async with asyncio.timeout(60):
        while len(found) < count:
            for each in await queue.receive([SEND], limit=9, wait_s=0.5):
                found[each.job.id] = (each.count, each.done)
    return found


async def test_a_planned_change_loses_and_doubles_nothing(
    cluster: RedisCluster,
) -> None:
    """Jobs go in and out all the while."""
    backend = QueueBackend("redis", cluster.address)
    api, worker = await backend.open("api"), await backend.open("worker")
    names = [f"p{n}" for n in range(60)]
    working = asyncio.create_task(receive_pushes(worker, len(names)))
    for number, name in enumerate(names):
        if number == 20:
            ask(cluster.replicas[0], "CLUSTER", "FAILOVER")
        await enqueue_surely(api, name)
        await asyncio.sleep(0.01)  # so that the change falls in between
    assert await working == sorted(names)
    assert ask(cluster.replicas[0], "ROLE")[0] == "master"
    assert await worker.waiting([SEND]) == {SEND: 0}
    await backend.close()
