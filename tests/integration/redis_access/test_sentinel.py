"""A Sentinel's failover, under the channel engine and under the queue."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from redis.exceptions import AuthenticationError
from tests.support.brokers import Heard, running_broker, until
from tests.support.job_queues import (
    SEND,
    QueueBackend,
    enqueue_surely,
    payload_for,
    receive_pushes,
    send_job,
)
from tests.support.redis_cluster import Guarded, ask, running_sentinel, wait_for

from tocsin.core.channel import HistoryFilter, PublishOptions
from tocsin.core.errors import BrokerUnavailable
from tocsin.core.ports.channels import Broker
from tocsin.redis_access.commands import run
from tocsin.redis_access.connecting import ConnectionLimits, open_client

LIMITS = ConnectionLimits(connect_timeout_s=5, io_timeout_s=10)
KEEP = PublishOptions(history_size=10, history_ttl_s=60, history_meta_ttl_s=600)


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    """A primary, a replica and a Sentinel of this test's own."""
    with running_sentinel(tmp_path) as guarded:
        yield guarded


async def test_all_goes_on_with_the_other_server(guarded: Guarded) -> None:
    """A gap is told, the history is the replica's, and no accepted job is lost.

    The old primary still takes writes for a while: nobody of ours uses it.
    """
    heard = Heard()
    backend = QueueBackend("redis", guarded.address)
    queue = await backend.open()
    reliable = replace(payload_for("p1"), reliable=True)
    async with running_broker([guarded.address], heard) as broker:
        await broker.subscribe("c")
        assert (await broker.publish("c", b"1", KEEP)).position.offset == 1
        await until(lambda: heard.data() == [b"1"])
        assert await queue.enqueue(reliable, [send_job("p1")], once_ttl_s=60)
        wait_for(lambda: _size(guarded, "replica") == _size(guarded, "primary"))
        gaps, reading = heard.gaps, asyncio.create_task(receive_pushes(queue, 2))
        guarded.fail_over()
        await _let_it_move(guarded, broker)
        await until(lambda: heard.gaps > gaps, deadline_s=30)
        position = (await broker.publish("c", b"2", KEEP)).position
        await until(lambda: b"2" in heard.data(), deadline_s=30)
        history = await broker.fetch_history("c", HistoryFilter(-1), meta_ttl_s=60)
        assert [each.data for each in history.publications] == [b"1", b"2"]
        assert (position.offset, history.top) == (2, position)
        await enqueue_surely(queue, "p2")
        assert await reading == ["p1", "p2"]
        assert not await enqueue_surely(queue, "p1", reliable=True)
        assert ask(guarded.primary, "XLEN", f"{{tocsin}}:stream:{SEND}") <= 1
    await backend.close()


def _size(guarded: Guarded, name: str) -> int:
    return int(ask(getattr(guarded, name), "DBSIZE"))


async def test_servers_and_sentinels_have_their_own_logins(guarded: Guarded) -> None:
    """The URL's is for the servers; a wrong one of either is an error that says so."""
    for server in (guarded.primary, guarded.replica):
        ask(server, "CONFIG", "SET", "requirepass", "s1")
    ask(guarded.sentinel, "ACL", "SETUSER", "default", "resetpass", ">s2")

    def address(password: str, sentinel_password: str) -> str:
        whole = guarded.address.replace("://", f"://:{password}@")
        return f"{whole}&sentinel_password={sentinel_password}"

    client = open_client(address("s1", "s2"), LIMITS)
    await run(client, "SET", "k", "v")
    assert await run(client, "GET", "k") == b"v"
    await client.aclose()
    for wrong in (address("s1", "x"), address("x", "s2")):
        client = open_client(wrong, LIMITS)
        with pytest.raises(AuthenticationError, match=r"WRONGPASS|invalid"):
            await run(client, "GET", "k")
        await client.aclose()


async def _let_it_move(guarded: Guarded, broker: Broker) -> None:
    """Wait until the broker listens at the new primary."""
    question = ("PUBSUB", "NUMSUB", "centrifugo.client.c")
    async with asyncio.timeout(60):
        while ask(guarded.replica, *question)[1] < 1:
            with suppress(BrokerUnavailable):
                await broker.check()
            await asyncio.sleep(0.05)
