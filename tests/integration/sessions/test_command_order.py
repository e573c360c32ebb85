"""Under `client.concurrency`, commands about one channel take effect in their order.

On every engine: in memory each is one straight run, over Redis they meet on the way.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from tests.support.brokers import empty_engine, open_presence, open_redis
from tests.support.realtime import build_context
from tests.support.sessions import SessionClient, run_until

from tocsin.broker.memory import MemoryBroker
from tocsin.broker.redis import RedisBroker
from tocsin.core.control import (
    DisconnectCommand,
    SubscribeCommand,
    Target,
    UnsubscribeCommand,
)
from tocsin.sessions.settings import SessionSettings

CONCURRENT = SessionSettings(insecure=True, concurrency=8)
Command = tuple[str, dict[str, Any]]


@pytest.fixture(params=["memory", "redis"])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[SessionClient]:
    """A connected client of a node over that engine."""
    async with connected(empty_engine(request, request.param)) as found:
        yield found


@asynccontextmanager
async def connected(urls: list[str]) -> AsyncIterator[SessionClient]:
    async with AsyncExitStack() as stack:
        broker: Any = RedisBroker(open_redis(urls, stack)) if urls else MemoryBroker()
        presence = await stack.enter_async_context(open_presence(urls))
        context = build_context(CONCURRENT, broker=broker, presence=presence)
        stack.callback(context.wheel.close)
        await broker.start()
        stack.push_async_callback(broker.close)
        client = SessionClient(context)
        await client.connect()
        stack.push_async_callback(context.hub.close)
        yield client


def send(client: SessionClient, *commands: Command) -> None:
    """All of them in one frame, with ids from 1 on."""
    client.session.receive(
        b"\n".join(
            json.dumps({"id": number, name: request}).encode()
            for number, (name, request) in enumerate(commands, 1)
        )
    )


async def replies(client: SessionClient, number: int) -> list[dict[str, Any]]:
    """So many replies, in the order they came."""
    found: list[dict[str, Any]] = []

    def is_complete() -> bool:
        found[:] = [
            message
            for line in b"".join(client.link.written).split(b"\n")
            if line and "id" in (message := json.loads(line))
        ]
        return len(found) >= number

    await run_until(is_complete, timeout_s=10)
    client.link.written.clear()
    return found


def subscribe(channel: str = "a", **more: Any) -> Command:
    return "subscribe", {"channel": channel, **more}


def unsubscribe(channel: str = "a") -> Command:
    return "unsubscribe", {"channel": channel}


async def test_subscribe_unsubscribe_subscribe(client: SessionClient) -> None:
    """The client ends subscribed: in the hub, in presence, and to what is published."""
    for _ in range(10):
        send(client, subscribe(), unsubscribe(), subscribe())
        found = await replies(client, 3)
        assert [each["id"] for each in found] == [1, 2, 3]
        assert not any("error" in each for each in found), found
        assert client.session.is_subscribed("a")
        assert client.context.hub.subscribers() == {"a": 1}
        assert client.session.client in await client.context.presence.fetch("a")
        send(client, unsubscribe())
        await replies(client, 1)
        assert await client.context.presence.fetch("a") == {}


async def test_what_comes_in_between(client: SessionClient) -> None:
    """A publish after a subscribe is let in and seen, and read by a later history."""
    send(
        client,
        subscribe(),
        ("publish", {"channel": "a", "data": 1}),
        ("publish", {"channel": "a", "data": 2}),
        ("history", {"channel": "a", "limit": -1}),
        ("presence_stats", {"channel": "a"}),
        unsubscribe(),
        ("presence_stats", {"channel": "a"}),
        ("publish", {"channel": "a", "data": 3}),
        ("history", {"channel": "a", "limit": -1}),
    )
    found = {each["id"]: each for each in await replies(client, 9)}
    assert not any("error" in each for each in found.values()), found
    assert [p["data"] for p in found[4]["history"]["publications"]] == [1, 2]
    assert found[5]["presence_stats"] == {"num_clients": 1, "num_users": 1}
    assert found[7]["presence_stats"] == {"num_clients": 0, "num_users": 0}
    assert [p["data"] for p in found[9]["history"]["publications"]] == [1, 2, 3]


async def test_publications_keep_their_order(client: SessionClient) -> None:
    """However many are under way together, and behind what they had to wait for."""
    numbers = list(range(100))
    publishes = [("publish", {"channel": "a", "data": n}) for n in numbers]
    send(client, subscribe(), *publishes)
    found = await replies(client, 1 + len(numbers))
    assert not any("error" in each for each in found)
    send(client, ("history", {"channel": "a", "limit": -1}))
    (history,) = await replies(client, 1)
    assert [p["data"] for p in history["history"]["publications"]] == numbers


async def test_errors_in_the_middle(client: SessionClient) -> None:
    """What fails ends alone: those behind it are carried out."""
    send(
        client,
        subscribe(),
        subscribe(),
        ("sub_refresh", {"channel": "a", "token": ""}),
        unsubscribe(),
        ("sub_refresh", {"channel": "a", "token": "x"}),
        subscribe(delta="fossil"),
    )
    found = await replies(client, 6)
    assert [each["id"] for each in found] == [1, 2, 3, 4, 5, 6]
    codes = [each.get("error", {}).get("code") for each in found]
    assert codes == [None, 105, 107, None, 103, None]
    assert client.session.is_subscribed("a")


async def test_orders_of_the_server_stand_in_the_same_line(
    client: SessionClient,
) -> None:
    """An unsubscribe that comes while a subscribe is under way ends it afterwards."""
    hub, target = client.context.hub, Target(client=client.session.client)
    send(client, subscribe())
    hub.run(UnsubscribeCommand(target, "a"))
    hub.run(SubscribeCommand(target, "a"))
    hub.run(UnsubscribeCommand(target, "a"))
    await run_until(lambda: len(client.link.written) >= 4)
    messages = await client.take()
    told = [
        kind
        for message in messages
        for kind in message.get("push", message)
        if kind in {"subscribe", "unsubscribe"}
    ]
    assert told == ["subscribe", "unsubscribe"] * 2
    assert hub.num_subs == 0
    assert await client.context.presence.fetch("a") == {}


async def test_a_disconnect_in_the_middle(client: SessionClient) -> None:
    """Nothing of what waited is done, and nothing is left behind."""
    hub = client.context.hub
    send(client, *(each for _ in range(20) for each in (subscribe(), unsubscribe())))
    await asyncio.sleep(0)
    hub.run(DisconnectCommand(Target(client=client.session.client)))
    await hub.settle()
    assert client.closed is not None
    assert hub.num_subs == 0
    assert hub._feeds == {}
    assert await client.context.presence.fetch("a") == {}


async def test_a_wrong_command_in_the_middle(client: SessionClient) -> None:
    """No channel: the connection ends with 3501, whatever else was under way."""
    send(client, subscribe(), unsubscribe(), ("unsubscribe", {}), subscribe())
    await run_until(lambda: client.closed is not None)
    assert client.closed == (3501, "bad request")
    await client.context.hub.settle()
    assert client.context.hub._feeds == {}
    assert await client.context.presence.fetch("a") == {}
