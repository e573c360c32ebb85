"""One address, two servers: the one it leads to changes, the old one stays there.

As behind a DNS name or a virtual address: connections to the demoted server live on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis import exceptions as foreign
from redis.asyncio import Redis
from tests.support.brokers import (
    Heard,
    Listening,
    open_presence,
    running_broker,
    running_bus,
    until,
)
from tests.support.cut_line import Line, open_line
from tests.support.job_queues import SEND, payload_for, send_job
from tests.support.ports import free_port
from tests.support.redis_cluster import ask
from tests.support.redis_server import RedisServer, start_redis

from tocsin.core.channel import ClientInfo, PublishOptions
from tocsin.core.control import DisconnectCommand, Target
from tocsin.core.errors import BrokerUnavailable, DependencyLost, QueueUnavailable
from tocsin.core.ports.channels import Broker
from tocsin.queue.redis_connection import connect, run_confirmed
from tocsin.queue.redis_stream import RedisStreamJobQueue
from tocsin.redis_access.commands import (
    run,
    run_at,
    run_each,
    run_many,
    run_whole,
    tell_changes,
)
from tocsin.redis_access.connecting import ConnectionLimits, open_client

LIMITS = ConnectionLimits(connect_timeout_s=5, io_timeout_s=10)
KEPT = PublishOptions(history_size=10, history_ttl_s=60)


@dataclass
class Address:
    """A line to a primary, and the replica that may become one."""

    line: Line
    primary: RedisServer
    replica: RedisServer

    @property
    def text(self) -> str:
        return f"redis://127.0.0.1:{self.line.port}"

    async def in_step(self) -> None:
        """Wait until the replica has what the primary has."""
        async with asyncio.timeout(20):
            while _offset(self.primary) != _offset(self.replica):  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    def promote(self) -> None:
        """The replica is primary; the address still leads to the old one."""
        ask(self.replica, "REPLICAOF", "NO", "ONE")

    def demote(self, *, to_nobody: bool = False) -> None:
        """The old one follows the new, or a server that does not exist."""
        port = free_port() if to_nobody else self.replica.port
        ask(self.primary, "REPLICAOF", "127.0.0.1", port)

    def fail_over(self, *, to_nobody: bool = False) -> None:
        """All of it."""
        self.promote()
        self.line.lead_to(self.replica.port)
        self.demote(to_nobody=to_nobody)


def _offset(server: RedisServer) -> object:
    role = ask(server, "ROLE")
    return role[1] if role[0] == "master" else role[4]


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[RedisServer, RedisServer]]:
    at_once = ("--repl-diskless-sync-delay", "0")
    primary = start_redis(tmp_path / "primary", options=at_once)
    link = ("--replicaof", f"127.0.0.1 {primary.port}")
    replica = start_redis(tmp_path / "replica", options=(*link, *at_once))
    yield primary, replica
    primary.kill()
    replica.kill()


@pytest.fixture
async def address(
    servers: tuple[RedisServer, RedisServer],
) -> AsyncIterator[Address]:
    async with open_line(servers[0].port) as line:
        found = Address(line, *servers)
        await found.in_step()
        yield found


@pytest.fixture
async def client(address: Address) -> AsyncIterator[Redis]:
    client = open_client(address.text, LIMITS)
    yield client
    await client.aclose()


async def _add_in_script(client: Redis) -> object:
    script = "redis.call('INCR', KEYS[1]) return redis.call('GET', KEYS[1])"
    return int(await run(client, "EVAL", script, 1, "n"))


async def _add_among_others(client: Redis) -> object:
    return (await run_many(client, [("GET", "n"), ("INCR", "n"), ("GET", "x")]))[1]


async def _add_with_errors_in_place(client: Redis) -> object:
    found = await run_each(client, [("LPUSH", "n", "x"), ("INCR", "n")])
    assert isinstance(found[0], foreign.ResponseError)
    return found[1]


async def _add_as_a_whole(client: Redis) -> object:
    return (await run_whole(client, "n", [("INCR", "n"), ("EXPIRE", "n", 60)]))[0]


async def _add_alone(client: Redis) -> object:
    async def add(one: Redis) -> object:
        return await run(one, "INCR", "n")

    return await run_at(client, "n", add, alone=True)


async def _add(client: Redis) -> object:
    return await run(client, "INCR", "n")


WAYS = [
    _add,
    _add_in_script,
    _add_among_others,
    _add_with_errors_in_place,
    _add_as_a_whole,
    _add_alone,
]


@pytest.mark.parametrize("add", WAYS)
async def test_a_refused_call_is_done_by_the_new_primary(
    add: Callable[[Redis], Awaitable[object]], address: Address, client: Redis
) -> None:
    """Once, whatever kind of call it is; the caller sees no error."""
    await asyncio.gather(*(_add(client) for _ in range(5)))  # as many connections
    assert await add(client) == 6
    await address.in_step()
    told: list[None] = []
    tell_changes(client, lambda: told.append(None))
    address.fail_over()
    assert await add(client) == 7
    found = await asyncio.gather(*(_add(client) for _ in range(3)))
    assert sorted(map(str, found)) == ["10", "8", "9"]
    assert int(ask(address.replica, "GET", "n")) == 10
    assert told == [None]


async def test_what_needs_no_write_is_not_asked_of_a_replica_for_long(
    address: Address, client: Redis
) -> None:
    """A message that a replica takes is heard by nobody, and what it knows is old."""
    await run(client, "SET", "n", "old")
    await address.in_step()
    address.fail_over(to_nobody=True)
    ask(address.replica, "SET", "n", "new")
    async with asyncio.timeout(10):
        while await run(client, "GET", "n") != b"new":  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_replica_alone_is_refused_soon(address: Address) -> None:
    """Nothing waits for ever, and the error says what to do."""
    address.line.lead_to(address.replica.port)
    client = open_client(address.text, LIMITS)
    with pytest.raises(foreign.ReadOnlyError, match="replica"):
        await run(client, "GET", "n")
    await client.aclose()


@asynccontextmanager
async def opened_queue(address: Address) -> AsyncIterator[RedisStreamJobQueue]:
    client = connect(address.text)
    queue = RedisStreamJobQueue(client, consumer="w")
    await queue.start()
    yield queue
    await queue.close()
    await client.aclose()


async def test_the_queue_goes_on(address: Address) -> None:
    """Who sends, who has work and who waits for work: nobody sees an error."""
    async with opened_queue(address) as queue, opened_queue(address) as other:
        await queue.enqueue(payload_for("p1"), [send_job("p1")], once_ttl_s=60)
        (held,) = await queue.receive([SEND], limit=1, wait_s=1)
        waiting = asyncio.ensure_future(other.receive(["send:hms"], limit=1, wait_s=20))
        async with asyncio.timeout(10):
            while "flags=b" not in ask(address.primary, "CLIENT", "LIST"):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await address.in_step()
        address.fail_over()
        assert await queue.keep_alive([held]) == []
        job = send_job("p2", provider="hms")
        assert await queue.enqueue(payload_for("p2"), [job], once_ttl_s=60)
        assert await queue.settle(held)
        async with asyncio.timeout(20):
            assert [each.job.id for each in await waiting] == [job.id]
        await queue.check()


async def test_a_send_is_not_confirmed_by_a_server_that_was_replaced(
    address: Address,
) -> None:
    """A replica has no replicas: that nobody is to be waited for says nothing then."""
    client = connect(address.text)

    async def write_and_be_replaced(one: Redis) -> int:
        answer = int(await run(one, "INCR", "n"))
        address.fail_over()
        # Another call that is refused must not take this connection away.
        await run(client, "INCR", "n")
        return answer

    with pytest.raises(QueueUnavailable) as caught:
        await run_confirmed(client, "confirm", write_and_be_replaced)
    assert "no replica" in caught.value.reason
    await client.aclose()


async def test_readiness_follows_the_writes(address: Address) -> None:
    """The old one answers PING all the time; it is what it refuses that counts."""
    async with (
        opened_queue(address) as queue,
        running_broker([address.text], Heard()) as broker,
    ):
        await queue.check()
        await broker.check()
        address.promote()
        address.demote()
        for check in (queue.check, broker.check):
            with pytest.raises(DependencyLost) as caught:
                await check()
            assert "read-only replica" in caught.value.detail
        with pytest.raises(QueueUnavailable) as refused:
            await queue.enqueue(payload_for("p1"), [send_job("p1")])
        assert "read-only replica" in refused.value.reason
        address.line.lead_to(address.replica.port)
        await queue.check()
        await broker.check()
    assert ask(address.replica, "DBSIZE") <= 2
    await asyncio.sleep(1.2)  # the ttl of what the checks wrote
    assert ask(address.replica, "KEYS", "*") == []


def _published(server: RedisServer) -> int:
    return int(ask(server, "INFO", "commandstats")["cmdstat_publish"]["calls"])


async def hear_again(broker: Broker, heard: Heard) -> None:
    """Wait until what is published is heard, and forget it."""
    async with asyncio.timeout(20):
        while b"again" not in heard.data():
            with suppress(BrokerUnavailable):
                await broker.subscribe("other")
                await broker.publish("other", b"again", PublishOptions())
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.1)
    heard.publications = [
        each for each in heard.publications if each[1].data != b"again"
    ]


@pytest.mark.parametrize("to_nobody", [False, True])
@pytest.mark.parametrize("protocol", ["", "?force_resp2=true"])
async def test_subscribers_leave_a_demoted_server(
    protocol: str, to_nobody: bool, address: Address
) -> None:
    """They hear no error: the server is well, others publish elsewhere."""
    heard = Heard()
    async with running_broker([address.text + protocol], heard) as broker:
        await broker.subscribe("c")
        await broker.publish("c", b"1", KEPT)
        await until(lambda: heard.data() == [b"1"])
        await address.in_step()
        address.fail_over(to_nobody=to_nobody)
        await until(lambda: heard.gaps, deadline_s=20)
        async with asyncio.timeout(20):
            while ask(address.primary, "PUBSUB", "CHANNELS", "*"):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await hear_again(broker, heard)
        assert (await broker.publish("c", b"2", KEPT)).position.offset == 2
        await broker.publish("c", b"3", PublishOptions())
        await until(lambda: heard.data() == [b"1", b"2", b"3"])
        told = heard.gaps
        assert told
        await asyncio.sleep(2.5)  # two more comparisons
        assert heard.gaps == told


async def test_subscribers_follow_though_the_old_server_knows_of_nothing(
    address: Address,
) -> None:
    """It still takes itself for the primary; commands are dialled anew by chance."""
    heard = Heard()
    async with running_broker([address.text], heard) as broker:
        await broker.subscribe("c")
        await broker.publish("c", b"1", KEPT)
        async with asyncio.timeout(20):  # until somebody has compared once
            while _published(address.primary) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await address.in_step()
        address.promote()
        address.line.lead_to(address.replica.port)
        ask(address.primary, "CLIENT", "KILL", "TYPE", "normal")
        await hear_again(broker, heard)
        await broker.publish("c", b"2", KEPT)
        await until(lambda: b"2" in heard.data())
        assert heard.gaps


async def test_presence_and_the_control_bus_go_on(address: Address) -> None:
    """Nodes find each other again, and who is in a channel stays known."""
    here, there = Listening("here"), Listening("there")
    async with (
        open_presence([address.text]) as presence,
        running_bus([address.text], here) as bus,
        running_bus([address.text], there),
    ):
        await presence.add("c", ClientInfo("u", "one"))
        await until(lambda: there.commands == [])
        await address.in_step()
        address.fail_over(to_nobody=True)
        await presence.add("c", ClientInfo("u", "two"))
        await presence.remove("c", "one", "u")
        assert set(await presence.fetch("c")) == {"two"}

        async def is_heard() -> bool:
            await bus.broadcast(DisconnectCommand(Target(user="u")))
            await asyncio.sleep(0.05)
            return bool(there.commands)

        async with asyncio.timeout(20):
            while not await is_heard():
                pass
        assert [node.uid for node in await bus.fetch_nodes()] == ["here", "there"]


async def test_a_primary_cut_off_from_its_replicas_is_left(address: Address) -> None:
    """It refuses writes (NOREPLICAS) and may be the one that was replaced."""
    client = open_client(address.text, LIMITS)
    await _add(client)
    await address.in_step()
    ask(address.primary, "CONFIG", "SET", "min-replicas-to-write", "5")
    with pytest.raises(foreign.ResponseError, match="NOREPLICAS"):
        await _add(client)
    address.promote()
    address.line.lead_to(address.replica.port)
    for add in WAYS:
        await add(client)
    assert int(ask(address.replica, "GET", "n")) == 1 + len(WAYS)
    await client.aclose()


async def test_a_server_that_refuses_for_long_costs_others_little(
    address: Address, client: Redis
) -> None:
    """Reads go on, on connections that live, and changes are not told all the time."""
    told: list[None] = []
    tell_changes(client, lambda: told.append(None))
    ask(address.primary, "CONFIG", "SET", "min-replicas-to-write", 5)
    for _ in range(5):
        with pytest.raises(foreign.ResponseError, match="NOREPLICAS"):
            await _add(client)
        await run(client, "GET", "n")
    dialled = int(ask(address.primary, "INFO", "stats")["total_connections_received"])
    with pytest.raises(foreign.ResponseError, match="NOREPLICAS"):
        await _add(client)
    await run(client, "GET", "n")
    now = int(ask(address.primary, "INFO", "stats")["total_connections_received"])
    assert now - dialled <= 3  # one of them is who asks here
    assert told == [None]


@pytest.mark.parametrize("answer", ["LOADING Redis is loading", "MASTERDOWN Link is"])
async def test_a_server_that_is_not_there_yet_is_asked_again(answer: str) -> None:
    """On a connection of its own each time: behind the address may be another."""
    asked: list[int] = []
    dialled = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal dialled
        dialled += 1
        mine = dialled
        while data := await reader.read(1000):
            for _ in range(data.count(b"HELLO")):
                writer.write(b"-ERR unknown command 'HELLO'\r\n")
            for _ in range(data.count(b"SETINFO")):
                writer.write(b"+OK\r\n")
            if b"INCR" in data:
                asked.append(mine)
                writer.write(f"-{answer}\r\n".encode() if len(asked) < 3 else b":1\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = open_client(f"redis://127.0.0.1:{port}?force_resp2=true", LIMITS)
    assert await _add(client) == 1
    assert asked == [1, 2, 3]
    await client.aclose()
    server.close()


async def test_an_error_of_the_command_itself_is_not_tried_again(
    address: Address, client: Redis
) -> None:
    """Nor one that only quotes a refusal: a name may be anything."""
    await run(client, "SET", "READONLY ", "1")
    told: list[None] = []
    tell_changes(client, lambda: told.append(None))
    with pytest.raises(foreign.ResponseError, match="WRONGTYPE"):
        await run(client, "LPUSH", "READONLY ", "x")
    with pytest.raises(foreign.ResponseError):
        await run(client, "EVAL", "return redis.error_reply('my READONLY x')", 0)
    assert told == []
