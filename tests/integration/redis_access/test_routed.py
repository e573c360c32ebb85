"""Commands find the server in charge, whoever says that another one is."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from pathlib import Path

import pytest
from redis import exceptions as foreign
from redis.asyncio import Redis
from tests.support.ports import free_port
from tests.support.redis_cluster import RedisCluster, ask
from tests.support.redis_server import RedisServer, start_redis

from tocsin.config.redis_addresses import Node
from tocsin.redis_access.commands import check, run, run_at, run_many, run_whole
from tocsin.redis_access.connecting import ConnectionLimits, open_client
from tocsin.redis_access.routed import RoutedRedis
from tocsin.redis_access.slots import key_slot
from tocsin.redis_access.topology import Owners

LIMITS = ConnectionLimits(connect_timeout_s=5, io_timeout_s=10)
NAMES = [f"k{n}" for n in range(60)]


@pytest.fixture
async def client(redis_cluster_address: str) -> AsyncIterator[Redis]:
    client = open_client(redis_cluster_address, LIMITS)
    yield client
    await client.aclose()


async def test_many_commands_are_answered_in_order(
    client: Redis, redis_cluster: RedisCluster
) -> None:
    """Though each server has some of the keys."""
    await run_many(client, [("SET", name, name) for name in NAMES])
    found = await run_many(client, [("GET", name) for name in NAMES])
    assert found == [name.encode() for name in NAMES]
    sizes = [ask(server, "DBSIZE") for server in redis_cluster.primaries]
    assert sum(sizes) == len(NAMES)
    assert all(sizes)
    with pytest.raises(foreign.ResponseError, match="WRONGTYPE"):
        await run_many(client, [("GET", "k1"), ("LPUSH", "k2", "x")])


@pytest.fixture
def moving(redis_cluster: RedisCluster) -> Iterator[tuple[str, RedisServer]]:
    """A key whose slot is on its way, and where it goes."""
    key = redis_cluster.channel_at(1)
    slot = key_slot(key)
    source, target = redis_cluster.primaries[1:]
    redis_cluster.begin_move(slot, source, target)
    yield key, target
    redis_cluster.flush()
    for server in (source, target):
        ask(server, "CLUSTER", "SETSLOT", slot, "STABLE")


async def test_what_is_asked_elsewhere_is_done_there(
    client: Redis, moving: tuple[str, RedisServer]
) -> None:
    """Alone, among others, and on a connection of its own; a whole has to wait."""
    key, target = moving
    await run(client, "SADD", key, "a")
    assert await run_many(client, [("SADD", key, "b"), ("SCARD", key)]) == [1, 2]
    with pytest.raises(foreign.AskError):
        await run_whole(client, key, [("SADD", key, "c"), ("EXPIRE", key, 60)])

    async def add(one: Redis) -> int:
        return int(await run(one, "SADD", key, "d"))

    assert await run_at(client, key, add, alone=True) == 1
    assert await run(client, "SCARD", key) == 3
    assert ask(target, "DBSIZE") == 1


class Named:
    """A topology that tells what the test says, and counts how often it is asked."""

    max_age_s = 3600.0

    def __init__(self, *owners: Node) -> None:
        self.owners = list(owners)
        self.asked = 0

    async def fetch(
        self, known: Mapping[Node, Redis], lost: Collection[Node]
    ) -> Owners:
        self.asked += 1
        return [self.owners.pop(0) if len(self.owners) > 1 else self.owners[0]]

    async def close(self) -> None:
        pass


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[RedisServer, RedisServer]]:
    """A primary and its replica."""
    primary = start_redis(tmp_path / "primary")
    link = ("--replicaof", f"127.0.0.1 {primary.port}")
    replica = start_redis(tmp_path / "replica", options=link)
    yield primary, replica
    primary.kill()
    replica.kill()


def connect(node: Node) -> Redis:
    return open_client(f"{node[0]}:{node[1]}", LIMITS)


def node_of(server: RedisServer) -> Node:
    return "127.0.0.1", server.port


async def test_a_read_only_server_is_left(
    pair: tuple[RedisServer, RedisServer],
) -> None:
    """It did nothing, so the command goes to the one that is named next."""
    primary, replica = pair
    topology = Named(node_of(replica), node_of(replica), node_of(primary))
    client = RoutedRedis(topology, connect, is_cluster=False)
    told: list[None] = []
    client.on_change.append(lambda: told.append(None))
    script = "redis.call('INCR', KEYS[1]) return redis.call('GET', KEYS[1])"
    assert await run(client, "EVAL", script, 1, "n") == b"1"
    assert topology.asked == 3
    assert len(told) == 1
    await client.aclose()


async def test_a_primary_without_its_replicas_is_left(
    pair: tuple[RedisServer, RedisServer],
) -> None:
    """It refuses (NOREPLICAS) and may be the one that was cut off and replaced."""
    primary, replica = pair
    ask(replica, "REPLICAOF", "NO", "ONE")
    ask(primary, "CONFIG", "SET", "min-replicas-to-write", 5)
    topology = Named(node_of(primary), node_of(primary), node_of(replica))
    client = RoutedRedis(topology, connect, is_cluster=False)
    assert await run(client, "INCR", "n") == 1
    assert await run_many(client, [("INCR", "n"), ("GET", "n")]) == [2, b"2"]
    assert int(ask(replica, "GET", "n")) == 2
    await client.aclose()


async def test_when_all_are_read_only_it_is_told_soon(
    pair: tuple[RedisServer, RedisServer],
) -> None:
    """By the error of the server; nothing waits for ever."""
    client = RoutedRedis(Named(node_of(pair[1])), connect, is_cluster=False)
    with pytest.raises(foreign.ReadOnlyError):
        await run(client, "INCR", "n")
    await client.aclose()


async def test_a_lost_answer_is_not_asked_for_again(
    pair: tuple[RedisServer, RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command may have been done: the caller hears of it and decides."""
    primary, _ = pair
    client = RoutedRedis(Named(node_of(primary)), connect, is_cluster=False)
    await run(client, "SET", "n", 0)
    calls: list[tuple[object, ...]] = []

    async def lose(server: Redis, *args: object, **_: object) -> None:
        calls.append(args)
        raise foreign.ConnectionError("gone")

    monkeypatch.setattr(Redis, "execute_command", lose)
    with pytest.raises(foreign.ConnectionError):
        await run(client, "INCR", "n")
    assert calls == [("INCR", "n")]
    await client.aclose()


@pytest.mark.parametrize(
    "address",
    [
        "redis+cluster://127.0.0.1:{port}",
        "redis+sentinel://127.0.0.1:{port}?sentinel_master_name=m",
    ],
)
async def test_nobody_to_ask_is_an_error(address: str) -> None:
    """At every command anew, and soon."""
    client = open_client(address.format(port=free_port()), LIMITS)
    started = time.monotonic()
    for _ in range(2):
        with pytest.raises(foreign.ConnectionError):
            await run(client, "GET", "k")
        with pytest.raises(foreign.ConnectionError):
            await check(client, "ready")
    assert time.monotonic() - started < 30
    await client.aclose()


async def test_a_single_server_is_no_cluster(redis_address: str) -> None:
    """The error of the server names what is wrong."""
    client = open_client(f"redis+cluster://{redis_address}", LIMITS)
    with pytest.raises(foreign.ResponseError, match="cluster support disabled"):
        await run(client, "GET", "k")
    await client.aclose()


async def test_nodes_that_learn_of_each_other_are_found(
    client: Redis, redis_cluster: RedisCluster
) -> None:
    """From one address of three all are reached."""
    one = open_client(f"redis+cluster://{redis_cluster.primaries[2].address}", LIMITS)
    await run_many(one, [("SET", name, 1) for name in NAMES])
    assert await run_many(client, [("EXISTS", name) for name in NAMES]) == [1] * 60
    await check(one, "ready")
    await one.aclose()
