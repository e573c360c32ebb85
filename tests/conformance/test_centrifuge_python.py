"""The official Python SDK against a running node, in JSON and in Protobuf."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from tests.support.centrifuge_sdk import centrifuge
from tests.support.realtime import (
    OPEN_CHANNEL,
    RunningNode,
    build_context,
    running_node,
)
from tests.support.sessions import make_token

from tocsin.core.channel import PublishOptions, StreamPosition
from tocsin.core.client_codes import FORCE_RECONNECT, Disconnect
from tocsin.core.control import (
    DisconnectCommand,
    RefreshCommand,
    SubscribeCommand,
    Target,
    UnsubscribeCommand,
)
from tocsin.sessions.settings import SessionSettings

STORED = PublishOptions(history_size=100, history_ttl_s=300)
QUIET = replace(OPEN_CHANNEL, join_leave=False)
OPEN = SessionSettings(
    allow_anonymous_connect_without_token=True,
    ping_interval_s=1,
    pong_timeout_s=0.5,
    presence_update_interval_s=0.2,
    expired_close_delay_s=0.1,
    expired_sub_close_delay_s=0.1,
)


class Events(centrifuge.ClientEventHandler, centrifuge.SubscriptionEventHandler):  # type: ignore[misc] # untyped
    """Writes down what the SDK tells, and lets a test wait for it."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, Any]] = []
        self._changed = asyncio.Event()

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("on_"):
            return object.__getattribute__(self, name)

        async def handler(context: Any) -> None:
            self.seen.append((name, context))
            self._changed.set()

        return handler

    def of(self, name: str) -> list[Any]:
        return [context for seen, context in self.seen if seen == name]

    async def wait(self, name: str, number: int = 1) -> list[Any]:
        """The contexts of an event, once there are `number` of them."""
        async with asyncio.timeout(5):
            while len(self.of(name)) < number:
                self._changed.clear()
                await self._changed.wait()
        return self.of(name)

    async def data(self, number: int, form: Sdk) -> list[Any]:
        publications = await self.wait("on_publication", number)
        return [form.read(context.pub.data) for context in publications]


class Sdk:
    """How an encoding's clients are made, and how they write data."""

    def __init__(self, *, is_protobuf: bool) -> None:
        self.is_protobuf = is_protobuf

    def write(self, value: Any) -> Any:
        return json.dumps(value).encode() if self.is_protobuf else value

    def read(self, data: Any) -> Any:
        return json.loads(data) if self.is_protobuf else data

    @asynccontextmanager
    async def client(
        self, node: RunningNode, **options: Any
    ) -> AsyncIterator[tuple[centrifuge.Client, Events]]:
        events = Events()
        client = centrifuge.Client(
            node.url,
            events=events,
            use_protobuf=self.is_protobuf,
            min_reconnect_delay=0.01,
            max_reconnect_delay=0.02,
            proxy=None,
            **options,
        )
        await client.connect()
        try:
            yield client, events
        finally:
            await client.disconnect()


@pytest.fixture(params=["json", "protobuf"])
def sdk(request: pytest.FixtureRequest) -> Sdk:
    return Sdk(is_protobuf=request.param == "protobuf")


@asynccontextmanager
async def serving(
    settings: SessionSettings = OPEN, **parts: Any
) -> AsyncIterator[RunningNode]:
    parts.setdefault("options", OPEN_CHANNEL)
    async with running_node(build_context(settings, **parts)) as node:
        yield node


async def publish(
    node: RunningNode, channel: str, *values: Any, **options: Any
) -> None:
    for value in values:
        data = json.dumps(value).encode()
        await node.context.broker.publish(channel, data, replace(STORED, **options))


async def test_connect_and_disconnect(sdk: Sdk) -> None:
    """The SDK connects, learns version and client id, answers pings, and goes."""
    async with serving() as node, sdk.client(node) as (client, events):
        await client.ready()
        (connected,) = await events.wait("on_connected")
        assert connected.version == "0.0.0 OSS"
        assert node.context.hub.find_client(connected.client) is not None
        await asyncio.sleep(1.8)  # a ping must have come, and its pong in time
        assert client.state is centrifuge.ClientState.CONNECTED
        await client.disconnect()
        assert len(await events.wait("on_disconnected")) == 1


async def test_publish_and_receive(sdk: Sdk) -> None:
    """What one client publishes reaches the other, with who published it."""
    async with (
        serving() as node,
        sdk.client(node, token=make_token(sub="ann", info={"n": 1})) as (ann, _),
        sdk.client(node) as (bob, _),
    ):
        events = Events()
        subscription = bob.new_subscription("news", events)
        await subscription.subscribe()
        await subscription.ready()
        await ann.publish("news", sdk.write({"text": "héllo\n"}))
        await subscription.publish(sdk.write([1, 2.5, None]))
        assert await events.data(2, sdk) == [{"text": "héllo\n"}, [1, 2.5, None]]
        info = events.of("on_publication")[0].pub.info
        assert info.user == "ann"
        assert sdk.read(info.conn_info) == {"n": 1}


async def test_presence_and_history(sdk: Sdk) -> None:
    """Presence, its numbers and history pages as the SDK asks for them."""
    async with serving() as node, sdk.client(node) as (client, _):
        subscription = client.new_subscription("news")
        await subscription.subscribe()
        await subscription.ready()
        await publish(node, "news", 1, 2, 3)
        own = next(iter((await subscription.presence()).clients))
        assert node.context.hub.find_client(own) is not None
        stats = await subscription.presence_stats()
        assert (stats.num_clients, stats.num_users) == (1, 1)
        page = await subscription.history(limit=2)
        assert [sdk.read(each.data) for each in page.publications] == [1, 2]
        assert page.offset == 3
        page = await subscription.history(limit=1, reverse=True)
        assert [sdk.read(each.data) for each in page.publications] == [3]
        with pytest.raises(centrifuge.CentrifugeError, match="not available"):
            await client.rpc("nothing", sdk.write(1))


async def test_join_and_leave(sdk: Sdk) -> None:
    """A subscriber sees itself and others come and go."""
    async with serving() as node, sdk.client(node) as (client, _):
        events = Events()
        subscription = client.new_subscription("room", events, join_leave=True)
        await subscription.subscribe()
        await events.wait("on_join")
        async with sdk.client(node) as (other, _):
            theirs = other.new_subscription("room")
            await theirs.subscribe()
            await theirs.ready()
            joins = await events.wait("on_join", 2)
        leaves = await events.wait("on_leave")
        assert joins[1].info.client == leaves[0].info.client


async def test_unsubscribe(sdk: Sdk) -> None:
    """After unsubscribe nothing comes; the subscription can begin again."""
    async with serving() as node, sdk.client(node) as (client, _):
        events = Events()
        subscription = client.new_subscription("news", events)
        await subscription.subscribe()
        await subscription.ready()
        await subscription.unsubscribe()
        await client.presence_stats("news")  # the unsubscribe has been carried out
        await publish(node, "news", "unheard")
        await subscription.subscribe()
        await subscription.ready()
        await publish(node, "news", "heard")
        assert await events.data(1, sdk) == ["heard"]


async def test_recovery_after_a_lost_connection(sdk: Sdk) -> None:
    """What was published while a client was away comes when it is back."""
    async with serving(options=QUIET) as node, sdk.client(node) as (client, _):
        events = Events()
        subscription = client.new_subscription("news", events, recoverable=True)
        await subscription.subscribe()
        await subscription.ready()
        await publish(node, "news", 1)
        await events.data(1, sdk)
        node.context.hub.run(DisconnectCommand(Target(), FORCE_RECONNECT))
        await publish(node, "news", 2, 3)
        assert await events.data(3, sdk) == [1, 2, 3]
        subscribed = await events.wait("on_subscribed", 2)
        assert (subscribed[1].was_recovering, subscribed[1].recovered) == (True, True)
        await publish(node, "news", 4)
        assert await events.data(4, sdk) == [1, 2, 3, 4]


async def test_recovery_that_fails(sdk: Sdk) -> None:
    """Who missed more than is kept is told so, and goes on from the top."""
    async with serving(options=QUIET) as node, sdk.client(node) as (client, _):
        events = Events()
        subscription = client.new_subscription("news", events, recoverable=True)
        await subscription.subscribe()
        await subscription.ready()
        node.context.hub.run(DisconnectCommand(Target(), FORCE_RECONNECT))
        await publish(node, "news", *range(5), history_size=2)
        subscribed = await events.wait("on_subscribed", 2)
        assert (subscribed[1].was_recovering, subscribed[1].recovered) == (True, False)
        await publish(node, "news", "after")
        assert await events.data(1, sdk) == ["after"]


async def test_insufficient_state_recovers(sdk: Sdk) -> None:
    """A client that missed something in between subscribes again and has it all."""
    async with serving(options=QUIET) as node, sdk.client(node) as (client, _):
        events = Events()
        subscription = client.new_subscription("news", events, recoverable=True)
        await subscription.subscribe()
        await subscription.ready()
        await publish(node, "news", 1)
        broker = node.context.broker
        await broker.unsubscribe("news")
        await publish(node, "news", 2)
        await broker.subscribe("news")
        await publish(node, "news", 3)
        assert await events.data(3, sdk) == [1, 2, 3]
        assert [context.code for context in events.of("on_subscribing")][1:] == [2500]


async def test_deltas(sdk: Sdk) -> None:
    """The SDK puts together what comes as changes, live and recovered."""
    texts = [{"text": "a long enough text to be worth it", "n": n} for n in range(8)]
    async with serving(options=QUIET) as node, sdk.client(node) as (client, _):
        events = Events()
        subscription = client.new_subscription(
            "news", events, delta=centrifuge.DeltaType.FOSSIL, recoverable=True
        )
        await subscription.subscribe()
        await subscription.ready()
        await publish(node, "news", *texts[:3], delta=True)
        await events.data(3, sdk)
        node.context.hub.run(DisconnectCommand(Target(), FORCE_RECONNECT))
        await publish(node, "news", *texts[3:6], delta=True)
        await events.data(6, sdk)
        await publish(node, "news", *texts[6:], delta=True)
        assert await events.data(8, sdk) == texts
        flags = [context.pub.delta for context in events.of("on_publication")]
        assert flags == [False, True, True, False, True, True, True, True]


async def test_tags_filter(sdk: Sdk) -> None:
    """The SDK's filters let through what matches."""
    async with serving(options=QUIET) as node, sdk.client(node) as (client, _):
        events = Events()
        subscription = client.new_subscription(
            "news",
            events,
            tags_filter=centrifuge.Filter.all(
                centrifuge.Filter.eq("kind", "x"), centrifuge.Filter.gt("price", "10")
            ),
        )
        await subscription.subscribe()
        await subscription.ready()
        for number, (kind, price) in enumerate((("x", "9"), ("y", "11"), ("x", "11"))):
            await publish(node, "news", number, tags={"kind": kind, "price": price})
        assert await events.data(1, sdk) == [2]


async def test_server_side_subscriptions(sdk: Sdk) -> None:
    """Channels of the token and of the server API, with recovery at reconnect."""
    options = replace(QUIET, force_recovery=True)
    token = make_token(sub="ann", channels=["mine"])
    async with (
        serving(options=options) as node,
        sdk.client(node, token=token) as (_, events),
    ):
        await events.wait("on_subscribed")
        await publish(node, "mine", 1)
        await events.data(1, sdk)
        hub = node.context.hub
        hub.run(DisconnectCommand(Target(user="ann"), FORCE_RECONNECT))
        await publish(node, "mine", 2)
        assert await events.data(2, sdk) == [1, 2]
        hub.run(SubscribeCommand(Target(user="ann"), "extra"))
        subscribed = await events.wait("on_subscribed", 3)
        assert subscribed[2].channel == "extra"
        await publish(node, "extra", 3)
        assert await events.data(3, sdk) == [1, 2, 3]
        hub.run(UnsubscribeCommand(Target(user="ann"), "extra"))
        (gone,) = await events.wait("on_unsubscribed")
        assert gone.channel == "extra"


async def test_subscription_tokens(sdk: Sdk) -> None:
    """A private channel needs its token; a bad one ends the subscription only."""
    token = make_token(sub="", channel="$own", data={"welcome": True})
    async with serving() as node, sdk.client(node) as (client, _):
        events = Events()
        subscription = client.new_subscription("$own", events, token=token)
        await subscription.subscribe()
        (subscribed,) = await events.wait("on_subscribed")
        assert sdk.read(subscribed.data) == {"welcome": True}
        refused = Events()
        other = client.new_subscription("$other", refused, token="broken")
        await other.subscribe()
        (unsubscribed,) = await refused.wait("on_unsubscribed")
        assert unsubscribed.code == 103
        assert other.state is centrifuge.SubscriptionState.UNSUBSCRIBED
        assert client.state is centrifuge.ClientState.CONNECTED


async def test_tokens_are_refreshed(sdk: Sdk) -> None:
    """The SDK fetches new tokens for connection and subscription in time."""
    fetched: list[str] = []

    def fetcher(kind: str, **claims: Any) -> Callable[..., Any]:
        async def fetch(*_: Any) -> str:
            fetched.append(kind)
            return make_token(**claims, exp=int(time.time()) + 2)

        return fetch

    async with (
        serving() as node,
        sdk.client(node, get_token=fetcher("connection", sub="ann")) as (client, _),
    ):
        subscription = client.new_subscription(
            "$own", get_token=fetcher("subscription", sub="ann", channel="$own")
        )
        await subscription.subscribe()
        await subscription.ready()

        def is_refreshed() -> bool:
            return (
                min(map(fetched.count, ("connection", "subscription"))) >= 2
                and client.state is centrifuge.ClientState.CONNECTED
                # Where the new token comes late it subscribes once more.
                and subscription.state is centrifuge.SubscriptionState.SUBSCRIBED
            )

        async with asyncio.timeout(20):
            while not is_refreshed():  # noqa: ASYNC110 - no event says it
                await asyncio.sleep(0.02)


async def test_refresh_by_the_server(sdk: Sdk) -> None:
    """A connection that the server calls expired comes back with a new token."""

    async def fetch() -> str:
        return make_token(sub="ann")

    async with (
        serving() as node,
        sdk.client(node, get_token=fetch) as (_, events),
    ):
        await events.wait("on_connected")
        node.context.hub.run(RefreshCommand(Target(user="ann"), expired=True))
        await events.wait("on_connected", 2)
        assert events.of("on_connecting")[1].code == 3005


DISCONNECTS: list[tuple[Disconnect, bool]] = [
    (Disconnect(3000, "connection closed"), True),
    (Disconnect(3001, "shutdown"), True),
    (Disconnect(3008, "slow"), True),
    (Disconnect(3010, "insufficient state"), True),
    (Disconnect(3500, "invalid token"), False),
    (Disconnect(3503, "force disconnect"), False),
    (Disconnect(4001, "come back"), True),
    (Disconnect(4501, "stay away"), False),
]


@pytest.mark.parametrize(
    ("disconnect", "comes_back"),
    DISCONNECTS,
    ids=[str(each.code) for each, _ in DISCONNECTS],
)
async def test_disconnect_codes(
    sdk: Sdk, disconnect: Disconnect, comes_back: bool
) -> None:
    """The SDK reads code and reason, and comes back or stays away by them."""
    async with serving() as node, sdk.client(node) as (_, events):
        await events.wait("on_connected")
        node.context.hub.run(DisconnectCommand(Target(), disconnect))
        if comes_back:
            await events.wait("on_connected", 2)
            context = events.of("on_connecting")[1]
        else:
            (context,) = await events.wait("on_disconnected")
        assert (context.code, context.reason) == (disconnect.code, disconnect.reason)


async def test_bad_token(sdk: Sdk) -> None:
    """A bad connection token is final."""
    async with serving() as node, sdk.client(node, token="broken") as (_, events):
        (context,) = await events.wait("on_disconnected")
        assert (context.code, context.reason) == (3500, "invalid token")


async def test_get_state(sdk: Sdk) -> None:
    """A client with its own state subscribes from the position it has read."""
    async with serving(options=QUIET) as node, sdk.client(node) as (client, _):
        await publish(node, "news", 1, 2, 3)

        async def position(channel: str) -> Any:
            page = await client.history(channel, limit=0)
            return centrifuge.StreamPosition(offset=2, epoch=page.epoch)

        events = Events()
        subscription = client.new_subscription(
            "news", events, recoverable=True, get_state=position
        )
        await subscription.subscribe()
        assert await events.data(1, sdk) == [3]


async def test_recover_since_by_the_server(sdk: Sdk) -> None:
    """What a server-side subscription missed comes as publications."""
    options = replace(QUIET, force_recovery=True)
    async with (
        serving(options=options) as node,
        sdk.client(node, token=make_token(sub="ann")) as (_, events),
    ):
        await events.wait("on_connected")
        await publish(node, "late", 1, 2, 3)
        since = StreamPosition(1, "")
        command = SubscribeCommand(Target(user="ann"), "late", recover_since=since)
        node.context.hub.run(command)
        assert await events.data(2, sdk) == [2, 3]
