"""Two things at once on one connection: whoever comes second finds the truth."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.support.clock import MovedClock
from tests.support.realtime import OPEN_CHANNEL
from tests.support.sessions import ManualWheel, SessionClient, make_token, run_until

from tocsin.broker.memory import MemoryBroker
from tocsin.broker.presence_memory import MemoryPresence
from tocsin.core.channel import ChannelOptions, PublishOptions, StreamPosition
from tocsin.core.control import (
    DisconnectCommand,
    SubscribeCommand,
    Target,
    UnsubscribeCommand,
)
from tocsin.core.errors import InternalError
from tocsin.core.ports.channels import Broker
from tocsin.sessions.context import Context
from tocsin.sessions.settings import SessionSettings

Node = Callable[..., Context]
OPEN = SessionSettings(insecure=True)


STORED = PublishOptions(history_size=9, history_ttl_s=60, history_meta_ttl_s=60)


async def lose_one(broker: Broker, channel: str) -> None:
    """Publish twice; the first does not reach the node."""
    await broker.unsubscribe(channel)
    await broker.publish(channel, b"1", STORED)
    await broker.subscribe(channel)
    await broker.publish(channel, b"2", STORED)


class Held:
    """Lets who waits go on when the test says so."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self._has_begun = asyncio.Event()

    async def wait(self) -> None:
        self._has_begun.set()
        await self.go_on.wait()

    async def begun(self) -> None:
        """Somebody waits now."""
        async with asyncio.timeout(10):
            await self._has_begun.wait()


class HeldVerifier:
    """A `Verifier` whose keys take their time."""

    def __init__(self, inner: Any, held: Held) -> None:
        self._inner = inner
        self._held = held

    async def verify_connection(self, token: str) -> Any:
        await self._held.wait()
        return await self._inner.verify_connection(token)

    async def verify_subscription(self, token: str) -> Any:
        await self._held.wait()
        return await self._inner.verify_subscription(token)


def held_verifier(context: Context) -> Held:
    """From now on tokens of the node wait."""
    held = Held()
    authorizer = context.channels.authorizer
    authorizer.verifier = HeldVerifier(authorizer.verifier, held)
    return held


async def begin_connect(client: SessionClient, held: Held) -> None:
    """Send a connect and wait until its token is being verified."""
    token = make_token(sub="u")
    client.session.receive(json.dumps({"id": 1, "connect": {"token": token}}).encode())
    await held.begun()


async def test_a_client_that_goes_while_its_token_is_verified(node: Node) -> None:
    """It was never there: not counted, not online, not in its user's limit."""
    context = node(SessionSettings(user_connection_limit=1))
    held = held_verifier(context)
    client = SessionClient(context)
    await begin_connect(client, held)
    client.session.lost()
    held.go_on.set()
    await context.hub.settle()
    assert context.hub.num_clients == 0
    assert context.hub.users() == []
    other = SessionClient(context)
    assert (await other.connect(token=make_token(sub="u")))["client"]


async def test_a_shutdown_while_a_token_is_verified(node: Node) -> None:
    """Who was on the way in is sent elsewhere, as everybody who was in."""
    context = node(SessionSettings())
    held = held_verifier(context)
    client = SessionClient(context)
    await begin_connect(client, held)
    closing = asyncio.create_task(context.hub.close())
    await run_until(lambda: context.hub.is_closing)
    held.go_on.set()
    await closing
    assert client.closed == (3001, "shutdown")
    assert context.hub.num_clients == 0


async def test_a_subscription_that_is_lost_while_it_is_made(node: Node) -> None:
    """The hub may end it during a wait: the subscribe fails, the connection stays."""
    held = Held()

    class SlowBroker(MemoryBroker):
        async def fetch_history(self, *args: Any, **kwargs: Any) -> Any:
            await held.wait()
            return await super().fetch_history(*args, **kwargs)

    context = node(OPEN, broker=SlowBroker())
    client = SessionClient(context)
    await client.connect()
    command = b'{"id":7,"subscribe":{"channel":"a","positioned":true}}'
    client.session.receive(command)
    await held.begun()
    client.session.lose_position("a")
    held.go_on.set()
    (reply,) = [each for each in await client.take() if "id" in each]
    assert reply["error"]["code"] == 100
    assert client.closed is None
    assert context.hub.num_subs == 0
    assert await client.subscribe("a") == {}


async def test_two_unsubscribes_wait_for_one_subscribe(node: Node) -> None:
    """With concurrency both are answered when the subscribe is through."""
    held = Held()

    class SlowBroker(MemoryBroker):
        async def subscribe(self, channel: str) -> None:
            await held.wait()
            await super().subscribe(channel)

    settings = SessionSettings(insecure=True, concurrency=8)
    context = node(settings, broker=SlowBroker())
    client = SessionClient(context)
    await client.connect()
    client.session.receive(b'{"id":7,"subscribe":{"channel":"a"}}')
    await held.begun()
    for number in (8, 9):
        client.session.receive(b'{"id":%d,"unsubscribe":{"channel":"a"}}' % number)
    await asyncio.sleep(0)
    held.go_on.set()
    replies = [each for each in await client.take() if "id" in each]
    assert sorted(each["id"] for each in replies) == [7, 8, 9]
    assert not any("error" in each for each in replies)
    assert client.closed is None
    assert context.hub.num_subs == 0


async def test_a_flood_about_one_channel(node: Node) -> None:
    """What waits behind a slow subscribe is bounded; other channels go on meanwhile."""
    held = Held()

    class SlowBroker(MemoryBroker):
        async def subscribe(self, channel: str) -> None:
            if channel == "a":
                await held.wait()
            await super().subscribe(channel)

    context = node(SessionSettings(insecure=True, concurrency=4), broker=SlowBroker())
    client = SessionClient(context)
    await client.connect()
    client.session.receive(b'{"id":1,"subscribe":{"channel":"a"}}')
    await held.begun()
    client.session.receive(b'{"id":2,"subscribe":{"channel":"b"}}')
    await run_until(lambda: client.session.is_subscribed("b"))
    client.link.written.clear()
    told = 0
    for told in range(1, 1000):
        frame = b'{"id":%d,"publish":{"channel":"a","data":1}}' % (told + 2)
        client.session.receive(frame)
        await asyncio.sleep(0)
        if client.link.is_paused:
            break
    assert 120 < told < 150
    held.go_on.set()
    replies = [each for each in await client.take() if "id" in each]
    assert [each["id"] for each in replies] == [1, *range(3, told + 3)]
    assert not any("error" in each for each in replies)
    assert not client.link.is_paused
    assert client.session._inbox is None
    assert client.session._ordered is None


async def test_two_subscribes_to_a_channel_at_once(node: Node) -> None:
    """With concurrency the second is refused, and does not undo the first."""
    settings = SessionSettings(insecure=True, concurrency=8)
    context = node(settings)
    client = SessionClient(context)
    await client.connect()
    client.session.receive(
        b'{"id":7,"subscribe":{"channel":"a"}}\n{"id":8,"subscribe":{"channel":"a"}}'
    )
    replies = {each["id"]: each for each in await client.take() if "id" in each}
    assert "subscribe" in replies[7]
    assert replies[8]["error"]["code"] == 105
    assert context.hub.num_subs == 1
    assert len(await context.presence.fetch("a")) == 1


async def test_the_server_unsubscribes_and_subscribes_at_once(node: Node) -> None:
    """Others see leave, then join; the client stays in presence."""
    context = node(OPEN)
    client, witness = SessionClient(context), SessionClient(context)
    await client.connect()
    await witness.connect()
    await client.subscribe("a")
    await witness.subscribe("a", join_leave=True)
    await witness.take()
    target = Target(client=client.session.client)
    context.hub.run(UnsubscribeCommand(target, "a"))
    context.hub.run(SubscribeCommand(target, "a"))
    kinds = [kind for push in await client.pushes() for kind in push if kind[0] != "c"]
    assert kinds == ["unsubscribe", "subscribe"]
    assert client.session.client in await context.presence.fetch("a")
    seen = [kind for push in await witness.pushes() for kind in push]
    assert [kind for kind in seen if kind != "channel"] == ["leave", "join"]


async def test_a_lost_position_and_a_new_subscribe(node: Node) -> None:
    """The late goodbye of the old subscription leaves the new one's presence."""
    held = Held()

    class SlowPresence(MemoryPresence):
        async def remove(self, channel: str, client: str, user: str) -> None:
            await held.wait()
            await super().remove(channel, client, user)

    context = node(OPEN, presence=SlowPresence())
    client = SessionClient(context)
    await client.connect()
    await client.subscribe("a", positioned=True)
    await lose_one(context.broker, "a")
    await held.begun()
    client.session.receive(b'{"id":50,"subscribe":{"channel":"a","positioned":true}}')
    await run_until(lambda: client.session.is_subscribed("a"))
    held.go_on.set()
    await context.hub.settle()
    assert client.session.client in await context.presence.fetch("a")


async def test_a_subscription_replaced_by_one_without_presence(node: Node) -> None:
    """What the old one put into presence goes with it."""
    context = node(OPEN)
    client = SessionClient(context)
    await client.connect()
    await client.subscribe("a")
    target = Target(client=client.session.client)
    context.hub.run(SubscribeCommand(target, "a", overrides={"presence": False}))
    await client.take()
    assert client.session.is_subscribed("a")
    assert await context.presence.fetch("a") == {}


async def test_a_replacement_that_fails(node: Node) -> None:
    """The broker is away: the connection ends, and what the old one left is gone."""

    class Away(MemoryBroker):
        is_away = False

        async def fetch_history(self, *args: Any, **kwargs: Any) -> Any:
            if self.is_away:
                raise InternalError("away")
            return await super().fetch_history(*args, **kwargs)

    broker = Away()
    context = node(OPEN, broker=broker)
    client, witness = SessionClient(context), SessionClient(context)
    await client.connect()
    await witness.connect()
    await client.subscribe("a")
    await witness.subscribe("a", join_leave=True)
    await witness.take()
    broker.is_away = True
    target = Target(client=client.session.client)
    overrides = {"force_positioning": True}
    context.hub.run(SubscribeCommand(target, "a", overrides=overrides))
    await context.hub.settle()
    assert client.closed == (3004, "internal server error")
    assert client.session.client not in await context.presence.fetch("a")
    assert [list(push)[-1] for push in await witness.pushes()] == ["leave"]


async def test_messages_lost_while_others_are_closed_at_connect(node: Node) -> None:
    """With one connection per user a gap is seen however late it comes."""
    options = ChannelOptions(force_positioning=True, history_size=9, history_ttl=60)
    settings = SessionSettings(single_connection=True)
    context = node(settings, options=options, personal=True)
    inner, held = context.control, Held()

    class SlowBus:
        async def broadcast(self, command: DisconnectCommand) -> None:
            await held.wait()
            assert inner is not None
            await inner.broadcast(command)

    context.control = SlowBus()  # type: ignore[assignment] # only this is asked
    client = SessionClient(context)
    token = make_token(sub="u")
    client.session.receive(json.dumps({"id": 1, "connect": {"token": token}}).encode())
    await held.begun()
    await lose_one(context.broker, "#u")
    held.go_on.set()
    await context.hub.settle()
    assert client.closed == (3010, "insufficient state")


async def test_others_that_cannot_be_closed_at_connect(node: Node) -> None:
    """The client is to come again, and nothing of this attempt stays meanwhile."""
    context = node(SessionSettings(single_connection=True), personal=True)

    class AwayBus:
        async def broadcast(self, command: DisconnectCommand) -> None:
            raise InternalError("away")

    context.control = AwayBus()  # type: ignore[assignment] # only this is asked
    client = SessionClient(context)
    reply = await client.reply(connect={"token": make_token(sub="u")})
    assert reply["error"]["code"] == 100
    assert await context.presence.fetch("#u") == {}
    assert context.hub._feeds == {}
    assert context.hub.num_clients == 0


@pytest.mark.parametrize("mode", ["stream", "cache"])
async def test_a_disconnect_while_recovering(node: Node, mode: str) -> None:
    """An order to go ends it at once; what was read later goes nowhere."""
    held = Held()

    class SlowHistory(MemoryBroker):
        async def fetch_history(self, *args: Any, **kwargs: Any) -> Any:
            found = await super().fetch_history(*args, **kwargs)
            await held.wait()
            return found

    options = ChannelOptions(
        **{
            name: getattr(OPEN_CHANNEL, name)
            for name in ("presence", "history_size", "history_ttl")
        },
        force_recovery=True,
        force_recovery_mode=mode,
    )
    context = node(OPEN, options=options, broker=SlowHistory())
    client = SessionClient(context)
    await client.connect()
    client.session.receive(b'{"id":7,"subscribe":{"channel":"a","recover":true}}')
    await held.begun()
    client.link.written.clear()
    context.hub.run(DisconnectCommand(Target(client=client.session.client)))
    assert client.closed is not None
    held.go_on.set()
    assert await client.take() == []
    assert context.hub.num_subs == context.hub.num_clients == 0
    assert await context.presence.fetch("a") == {}


async def test_a_publication_between_reading_and_the_reply(node: Node) -> None:
    """It comes once, after the reply; positions go on from there."""
    held = Held()

    class SlowHistory(MemoryBroker):
        async def fetch_history(self, *args: Any, **kwargs: Any) -> Any:
            found = await super().fetch_history(*args, **kwargs)
            await held.wait()
            return found

    context = node(OPEN, broker=SlowHistory())
    client = SessionClient(context)
    await client.connect()
    await context.broker.publish("a", b"1", STORED)
    client.session.receive(b'{"id":7,"subscribe":{"channel":"a","recoverable":true}}')
    await held.begun()
    result = await context.broker.publish("a", b"2", STORED)
    held.go_on.set()
    reply, *pushes = await client.take()
    assert reply["subscribe"]["offset"] == 1
    published = [each["push"]["pub"] for each in pushes if "pub" in each["push"]]
    assert [each["offset"] for each in published] == [2]
    assert result.position == StreamPosition(2, reply["subscribe"]["epoch"])
    await context.broker.publish("a", b"3", STORED)
    assert await client.publications() == [3]


@pytest.mark.parametrize("is_in_time", [True, False])
async def test_a_refresh_on_its_way_at_the_end_of_the_grace_time(
    node: Node, wheel: ManualWheel, clock: MovedClock, is_in_time: bool
) -> None:
    """What counts is when the new token is known to be good."""
    now_s = clock.now_ms() // 1000
    context = node(SessionSettings(expired_close_delay_s=5, ping_interval_s=0))
    client = SessionClient(context)
    await client.connect(token=make_token(sub="u", exp=now_s + 10))
    wheel.move_s(14)
    held = held_verifier(context)
    token = make_token(sub="u", exp=now_s + 100)
    command = {"id": 7, "refresh": {"token": token}}
    client.session.receive(json.dumps(command).encode())
    await held.begun()
    if not is_in_time:
        wheel.move_s(2)
    held.go_on.set()
    replies = [each for each in await client.take() if each.get("id") == 7]
    wheel.move_s(2)
    if is_in_time:
        assert replies == [{"id": 7, "refresh": {"expires": True, "ttl": 86}}]
        assert client.closed is None
    else:
        assert replies == []
        assert client.closed == (3005, "connection expired")


async def test_a_subscription_that_expires_while_it_is_refreshed(
    node: Node, wheel: ManualWheel, clock: MovedClock
) -> None:
    """It has ended; the late token brings no dead subscription back."""
    now_s = clock.now_ms() // 1000
    settings = SessionSettings(
        insecure=True,
        ping_interval_s=0,
        presence_update_interval_s=4,
        expired_sub_close_delay_s=1,
    )
    context = node(settings)
    client = SessionClient(context)
    await client.connect()
    await client.subscribe("a", token=make_token(channel="a", exp=now_s + 5))
    held = held_verifier(context)
    token = make_token(channel="a", exp=now_s + 100)
    command = {"id": 7, "sub_refresh": {"channel": "a", "token": token}}
    client.session.receive(json.dumps(command).encode())
    await held.begun()
    wheel.move_s(12)
    held.go_on.set()
    pushes = await client.pushes()
    codes = [each["unsubscribe"]["code"] for each in pushes if "unsubscribe" in each]
    assert codes == [2501]
    assert not client.session.subscriptions
    assert context.hub.num_subs == 0
    assert await context.presence.fetch("a") == {}
    assert await client.subscribe("a") is not None
