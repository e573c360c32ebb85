"""A Redis that answers and takes no writes is not ready, and says why."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from tests.support.brokers import Heard, running_broker
from tests.support.redis_cluster import RedisCluster, ask
from tests.support.redis_server import RedisServer, start_redis

from tocsin.core.errors import DependencyLost, QueueUnavailable
from tocsin.queue.redis_connection import connect
from tocsin.queue.redis_stream import RedisStreamJobQueue

Checks = list[Callable[[], Awaitable[None]]]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = start_redis(tmp_path)
    yield server
    server.kill()


@pytest.fixture
async def checks(server: RedisServer) -> AsyncIterator[Checks]:
    """Those of the queue and of the broker."""
    client = connect(server.address)
    queue = RedisStreamJobQueue(client, consumer="w")
    async with running_broker([server.address], Heard()) as broker:
        yield [queue.check, broker.check]
    await client.aclose()


async def refusals(checks: Checks) -> str:
    found = set()
    for check in checks:
        with pytest.raises(DependencyLost) as caught:
            await check()
        found.add(caught.value.detail)
    (words,) = found
    return words


async def test_a_disk_that_it_cannot_save_to(
    server: RedisServer, checks: Checks
) -> None:
    """Redis refuses every write then (MISCONF), and answers PING."""
    for check in checks:
        await check()
    server_dir = str(server.directory)
    ask(server, "CONFIG", "SET", "save", "3600 1")
    ask(server, "SET", "k", "v")
    for path in server.directory.glob("*.rdb"):
        path.unlink()
    (server.directory / "dump.rdb").mkdir()  # where its snapshot should go
    ask(server, "BGSAVE")
    about = ask(server, "INFO", "persistence")
    while about["rdb_bgsave_in_progress"]:
        about = ask(server, "INFO", "persistence")
    assert about["rdb_last_bgsave_status"] == "err", server_dir
    assert "cannot save to its own disk" in await refusals(checks)
    ask(server, "CONFIG", "SET", "stop-writes-on-bgsave-error", "no")
    for check in checks:
        await check()


async def test_a_full_memory(server: RedisServer, checks: Checks) -> None:
    """Under the policy that loses nothing."""
    ask(server, "CONFIG", "SET", "maxmemory", 1)
    assert "maxmemory" in await refusals(checks)
    ask(server, "CONFIG", "SET", "maxmemory", 0)
    for check in checks:
        await check()


async def test_too_few_replicas(server: RedisServer, checks: Checks) -> None:
    """A primary that is cut off refuses, so that nothing is lost."""
    ask(server, "CONFIG", "SET", "min-replicas-to-write", 1)
    assert "too few replicas" in await refusals(checks)


async def test_every_server_of_a_cluster_is_written_to(
    redis_cluster: RedisCluster, redis_cluster_address: str
) -> None:
    """Each has channels that depend on it; nothing is left of the check."""
    async with running_broker([redis_cluster_address], Heard()) as broker:
        await broker.check()
        for server in redis_cluster.primaries:
            ask(server, "CONFIG", "SET", "min-replicas-to-write", 5)
            try:
                with pytest.raises(DependencyLost):
                    await broker.check()
            finally:
                ask(server, "CONFIG", "SET", "min-replicas-to-write", 0)
            await broker.check()
        for server in redis_cluster.primaries:
            for key in ask(server, "KEYS", "*"):
                assert 0 < ask(server, "PTTL", key) <= 1000


async def test_one_that_is_away(server: RedisServer, checks: Checks) -> None:
    """Whoever asks is not told where it is; the log is."""
    server.kill()
    with pytest.raises(QueueUnavailable) as caught:
        await checks[0]()
    assert server.address not in caught.value.message
