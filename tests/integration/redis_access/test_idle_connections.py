"""Connections that ended while nobody used them: the first call after it succeeds.

A server closes who is idle (`timeout`), an operator kills clients, and a balancer in
between forgets connections, with a word or without one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis
from tests.support.brokers import Heard, Listening, open_presence, running_bus
from tests.support.cut_line import Line, open_line
from tests.support.job_queues import SEND, payload_for, send_job
from tests.support.redis_cluster import ask
from tests.support.redis_server import RedisServer

from tocsin.broker.redis import RedisBroker
from tocsin.broker.redis_clients import open_clients
from tocsin.broker.users_redis import RedisUserStatuses
from tocsin.core.channel import ClientInfo, HistoryFilter, PublishOptions
from tocsin.core.control import DisconnectCommand, Target
from tocsin.core.rates import RateLimit
from tocsin.queue.rates import RedisRateLimiter
from tocsin.queue.redis_connection import connect
from tocsin.queue.redis_stream import RedisStreamJobQueue
from tocsin.queue.uids import RedisUidStore

KEPT = PublishOptions(history_size=10, history_ttl_s=60)

Call = Callable[[], Awaitable[object]]
End = Callable[[RedisServer, Line], Awaitable[None]]


async def by_timeout(server: RedisServer, _line: Line) -> None:
    """The server's own `timeout`; those that subscribe are left alone."""
    ask(server, "CONFIG", "SET", "timeout", 1)
    async with asyncio.timeout(20):
        # Two are in use all the time: a node tells others that it is there.
        while len(_clients(server)) > 2:  # noqa: ASYNC110 - the server decides when
            await asyncio.sleep(0.05)
    ask(server, "CONFIG", "SET", "timeout", 0)


async def by_kill(server: RedisServer, _line: Line) -> None:
    """So soon before the call that this program may not know it yet."""
    ask(server, "CLIENT", "KILL", "TYPE", "normal")


async def by_reset(_server: RedisServer, line: Line) -> None:
    """A balancer that says so when it is asked to carry more."""
    line.cut()
    line.mend()
    await asyncio.sleep(0)


async def by_silence(_server: RedisServer, line: Line) -> None:
    """A balancer that has forgotten them and says nothing, ever."""
    line.forget()
    await asyncio.sleep(1.1)  # as long as one is trusted unasked


def _clients(server: RedisServer) -> list[str]:
    lines = ask(server, "CLIENT", "LIST", "TYPE", "normal")
    found = lines if isinstance(lines, list) else str(lines).splitlines()
    return [str(each) for each in found if "cmd=client" not in str(each)]


ENDS = [by_timeout, by_kill, by_reset, by_silence]


@asynccontextmanager
async def queue_calls(address: str) -> AsyncIterator[list[Call]]:
    client = connect(address)
    queue = RedisStreamJobQueue(client, consumer="w")
    await queue.start()
    uids, limiter = RedisUidStore(client), RedisRateLimiter(client)

    async def send() -> None:
        assert await queue.enqueue(payload_for("p1"), [send_job("p1")])

    async def work() -> None:
        for delivery in await queue.receive([SEND], limit=5, wait_s=0.05):
            assert await queue.settle(delivery)

    yield [
        send,
        work,
        lambda: uids.claim("u", fingerprint=b"f", push_id="p", ttl_s=60),
        lambda: limiter.take(["k"], [RateLimit(1000, 60_000)]),
        lambda: queue.waiting([SEND]),
        lambda: queue.list_dead(limit=1),
        queue.check,
    ]
    await queue.close()
    await client.aclose()


@asynccontextmanager
async def channel_calls(address: str) -> AsyncIterator[list[Call]]:
    clients: list[Redis] = open_clients([address])
    broker = RedisBroker(clients)
    broker.listen(Heard())
    await broker.start()
    statuses = RedisUserStatuses(clients)
    everything = HistoryFilter(limit=-1)
    here = Listening("here")
    async with (
        open_presence([address]) as presence,
        running_bus([address], here) as bus,
    ):
        yield [
            lambda: broker.publish("c", b"1", KEPT),
            lambda: broker.publish("c", b"1", PublishOptions()),
            lambda: broker.publish_join("c", ClientInfo("u", "one")),
            lambda: broker.fetch_history("c", everything, meta_ttl_s=60),
            lambda: presence.add("c", ClientInfo("u", "one")),
            lambda: presence.remove("c", "one", "u"),
            lambda: presence.fetch("c"),
            lambda: statuses.set_online(["u"], now_s=1, ttl_s=60),
            lambda: bus.broadcast(DisconnectCommand(Target(user="u"))),
            broker.check,
        ]
    await broker.close()
    for client in clients:
        await client.aclose()


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("opened", [queue_calls, channel_calls])
async def test_the_first_call_succeeds(
    opened: Callable[[str], object], end: End, redis_server: RedisServer
) -> None:
    """Every kind of call, each as the first one after the connections ended."""
    async with open_line(redis_server.port) as line:
        # The line is in this program: it would carry the end of a connection late.
        port = redis_server.port if end is by_kill else line.port
        async with opened(f"redis://127.0.0.1:{port}") as calls:  # type: ignore[attr-defined]
            # One after the other on one connection, and on several at once.
            for call in calls:
                await call()
            await asyncio.gather(*(call() for call in calls))
            slow = end in (by_timeout, by_silence)
            for call in calls[: 2 if slow else None]:
                await end(redis_server, line)
                await call()
            await end(redis_server, line)
            await asyncio.gather(*(call() for call in calls))


async def test_a_publish_after_a_silence_is_done_once(
    redis_server: RedisServer,
) -> None:
    """It is the connection that is tried, never the call."""
    async with (
        open_line(redis_server.port) as line,
        channel_calls(f"redis://127.0.0.1:{line.port}") as calls,
    ):
        first = await calls[0]()
        for number, end in enumerate((by_silence, by_reset), 1):
            await end(redis_server, line)
            result = await calls[0]()
            at = first.position.offset  # type: ignore[attr-defined]
            assert result.position.offset == at + number  # type: ignore[attr-defined]
