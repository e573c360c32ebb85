"""A cluster changes: nodes die, hang, hand slots on; listeners hear of it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.support.brokers import Heard, running_broker, until
from tests.support.redis_cluster import RedisCluster, ask, start_cluster, wait_for
from tests.support.redis_server import RedisServer

from tocsin.broker import redis_shard
from tocsin.core.channel import HistoryFilter, PublishOptions
from tocsin.core.errors import BrokerUnavailable
from tocsin.core.ports.channels import Broker
from tocsin.redis_access.slots import key_slot

KEEP = PublishOptions(history_size=10, history_ttl_s=60, history_meta_ttl_s=600)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RedisCluster]:
    """A cluster of this test's own; its first primary has a replica."""
    cluster = start_cluster(tmp_path, replicas_of=[0], timeout_ms=3000)
    yield cluster
    cluster.stop()


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
async def broker(cluster: RedisCluster, heard: Heard) -> AsyncIterator[Broker]:
    async with running_broker([cluster.address], heard) as broker:
        yield broker


def listened_to(cluster: RedisCluster) -> RedisServer:
    """The node that the broker has its subscriptions at."""
    (found,) = (
        server
        for server in cluster.primaries
        if ask(server, "CLIENT LIST", "TYPE", "PUBSUB")
    )
    return found


async def publish_when_back(broker: Broker, channel: str, data: bytes) -> int:
    """Publish as soon as it works; returns the offset."""
    async with asyncio.timeout(60):
        while True:
            with suppress(BrokerUnavailable):
                result = await broker.publish(channel, data, KEEP)
                return result.position.offset
            await asyncio.sleep(0.05)


async def hear_again(broker: Broker, channel: str, heard: Heard) -> None:
    """Publish until it is heard: what falls into a gap is only told as such."""
    data = f"again in {channel}".encode()
    async with asyncio.timeout(60):
        while data not in heard.data():
            await publish_when_back(broker, channel, data)
            await asyncio.sleep(0.1)


async def test_a_primary_dies_and_its_replica_goes_on(
    cluster: RedisCluster, broker: Broker, heard: Heard
) -> None:
    """Meanwhile an error, then the history as the replica has it, and a gap told."""
    here, there = cluster.channel_at(0), cluster.channel_at(1)
    for channel in (here, there):
        await broker.subscribe(channel)
    before = await broker.publish(here, b"1", KEEP)
    await until(lambda: heard.data() == [b"1"])
    replica, primary = cluster.replicas[0], cluster.primaries[0]
    wait_for(lambda: ask(replica, "DBSIZE") == ask(primary, "DBSIZE"))
    gaps = heard.gaps
    primary.kill()
    with pytest.raises(BrokerUnavailable):
        await broker.publish(here, b"lost", KEEP)
    with pytest.raises(BrokerUnavailable):
        await broker.check()
    assert await publish_when_back(broker, here, b"2") == 2
    await until(lambda: heard.gaps > gaps, deadline_s=30)
    history = await broker.fetch_history(here, HistoryFilter(limit=-1), meta_ttl_s=60)
    assert [each.data for each in history.publications] == [b"1", b"2"]
    assert history.top.epoch == before.position.epoch
    await broker.check()
    for channel in (here, there):
        await hear_again(broker, channel, heard)


@pytest.mark.parametrize("how", ["killed", "hanging"])
async def test_the_node_listened_to_goes_and_another_is_heard(
    cluster: RedisCluster,
    broker: Broker,
    heard: Heard,
    how: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A gap is told, and what is published afterwards arrives, though it is away."""
    monkeypatch.setattr(redis_shard, "SILENCE_S", 0.3)
    node = listened_to(cluster)
    number = next(n for n in range(1, 3) if cluster.primaries[n] is not node)
    channel = cluster.channel_at(number)
    await broker.subscribe(channel)
    os.kill(node.pid, signal.SIGKILL if how == "killed" else signal.SIGSTOP)
    await until(lambda: heard.gaps >= 1, deadline_s=60)
    assert listened_to_any_but(cluster, node)
    await hear_again(broker, channel, heard)
    if how == "killed":
        await come_late(cluster, channel)


async def come_late(cluster: RedisCluster, channel: str) -> None:
    """Who comes now finds a node that is left, and is told at once when none is."""
    async with running_broker([cluster.address], Heard()) as late:
        assert await publish_when_back(late, channel, b"late") > 1
    cluster.stop()
    with pytest.raises(BrokerUnavailable):
        async with running_broker([cluster.address], Heard()):
            pass


def listened_to_any_but(cluster: RedisCluster, away: RedisServer) -> bool:
    others = [server for server in cluster.primaries if server is not away]
    return any(ask(server, "CLIENT LIST", "TYPE", "PUBSUB") for server in others)


async def test_a_planned_change_of_the_primary_is_not_noticed_by_publishers(
    cluster: RedisCluster, broker: Broker, heard: Heard
) -> None:
    """The old one sends everybody on, so nothing fails; positions are looked at."""
    channel = cluster.channel_at(0)
    await broker.subscribe(channel)
    results = [await broker.publish(channel, b"0", KEEP)]
    ask(cluster.replicas[0], "CLUSTER", "FAILOVER")
    for n in range(1, 200):
        results.append(await broker.publish(channel, b"%d" % n, KEEP))
        if ask(cluster.primaries[0], "ROLE")[0] == "slave":
            break
        await asyncio.sleep(0.05)
    results.append(await broker.publish(channel, b"last", KEEP))
    assert ask(cluster.primaries[0], "ROLE")[0] == "slave"
    offsets = [result.position.offset for result in results]
    assert offsets == list(range(1, len(results) + 1))
    assert len({result.position.epoch for result in results}) == 1
    await until(lambda: heard.gaps >= 1, deadline_s=30)
    await hear_again(broker, channel, heard)


async def test_a_slot_on_its_way_is_followed(
    redis_cluster: RedisCluster, redis_cluster_address: str
) -> None:
    """While it moves a channel may have to wait, and nothing is published twice."""
    channel = redis_cluster.channel_at(1)
    slot = key_slot(channel)
    source, target = redis_cluster.primaries[1:]
    async with running_broker([redis_cluster_address], Heard()) as broker:
        await broker.publish(channel, b"no history", PublishOptions())
        redis_cluster.begin_move(slot, source, target)
        publishing = asyncio.create_task(publish_when_back(broker, channel, b"1"))
        await asyncio.sleep(0.05)  # until it is refused; any later it works as well
        redis_cluster.end_move(slot, source, target)
        assert await publishing == 1
        assert await publish_when_back(broker, channel, b"2") == 2
        history = await broker.fetch_history(channel, HistoryFilter(-1), meta_ttl_s=60)
        assert [each.data for each in history.publications] == [b"1", b"2"]
        assert ask(target, "CLUSTER", "COUNTKEYSINSLOT", slot) == 2
    redis_cluster.flush()
    redis_cluster.begin_move(slot, target, source)
    redis_cluster.end_move(slot, target, source)
