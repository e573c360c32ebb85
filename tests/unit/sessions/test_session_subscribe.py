from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.support.realtime import OPEN_CHANNEL
from tests.support.sessions import (
    ManualWheel,
    SessionClient,
    exposed,
    make_token,
)

from tocsin.broker.memory import MemoryBroker
from tocsin.channels.namespaces import Namespaces, NamespaceSettings
from tocsin.core.channel import ChannelOptions, PublishOptions, StreamPosition
from tocsin.core.control import SubscribeCommand, Target, UnsubscribeCommand
from tocsin.core.errors import InternalError
from tocsin.sessions.context import Context
from tocsin.sessions.settings import SessionSettings

NOW_S = 1_800_000_000
Node = Callable[..., Context]
CLOSED = SessionSettings()
STORED = PublishOptions(history_size=100, history_ttl_s=300)
OPEN = ChannelOptions(
    allow_subscribe_for_client=True, allow_subscribe_for_anonymous=True
)


def sub_token(channel: str, user: str = "u", **claims: Any) -> str:
    return make_token(sub=user, channel=channel, **claims)


# --- the decision, in the published order ---

BAD = (3501, "bad request")
OTHERS = (3500, "invalid token: it is for another channel, user or client")

DECISIONS: list[tuple[str, ChannelOptions, dict[str, Any], Any]] = [
    ("empty channel", OPEN, {"channel": ""}, BAD),
    ("unknown delta", OPEN, {"channel": "a", "delta": "xdelta"}, BAD),
    ("too long", OPEN, {"channel": "a" * 256}, 107),
    ("as long as may be", OPEN, {"channel": "a" * 255}, None),
    ("unknown namespace", OPEN, {"channel": "nope:a"}, 102),
    ("not ASCII", OPEN, {"channel": "grün"}, 107),
    (
        "not ASCII but by pattern",
        replace(OPEN, channel_regex="^gr.n$"),
        {"channel": "grün"},
        None,
    ),
    ("not by pattern", replace(OPEN, channel_regex="^x$"), {"channel": "y"}, 107),
    ("map type", OPEN, {"channel": "a", "type": 1}, 103),
    ("map channel", replace(OPEN, subscription_type="map"), {"channel": "a"}, 108),
    ("private without token", OPEN, {"channel": "$a"}, 103),
    ("private with token", OPEN, {"channel": "$a", "token": sub_token("$a")}, None),
    (
        "token expired",
        OPEN,
        {"channel": "a", "token": sub_token("a", exp=NOW_S - 1)},
        109,
    ),
    ("token invalid", OPEN, {"channel": "a", "token": "x"}, 103),
    (
        "token of another channel",
        OPEN,
        {"channel": "a", "token": sub_token("b")},
        OTHERS,
    ),
    (
        "token of another user",
        OPEN,
        {"channel": "a", "token": sub_token("a", user="v")},
        OTHERS,
    ),
    (
        "token of another client",
        OPEN,
        {"channel": "a", "token": sub_token("a", client="v")},
        OTHERS,
    ),
    ("closed namespace", ChannelOptions(), {"channel": "a"}, 103),
    (
        "closed namespace with token",
        ChannelOptions(),
        {"channel": "a", "token": sub_token("a")},
        None,
    ),
    (
        "user is listed",
        ChannelOptions(allow_user_limited_channels=True),
        {"channel": "d#u,v"},
        None,
    ),
    (
        "user is not listed",
        replace(OPEN, allow_user_limited_channels=True),
        {"channel": "d#v,w"},
        103,
    ),
    (
        "filter not allowed",
        OPEN,
        {"channel": "a", "tf": {"key": "k", "cmp": "ex"}},
        107,
    ),
    (
        "filter is nonsense",
        replace(OPEN, allow_tags_filter=True),
        {"channel": "a", "tf": {"key": "k", "cmp": "like"}},
        107,
    ),
    (
        "expiry is past",
        OPEN,
        {"channel": "a", "token": sub_token("a", expire_at=NOW_S - 1)},
        110,
    ),
    (
        "unrecoverable and refused",
        replace(OPEN, history_size=9, history_ttl=9, allow_recovery=True),
        {
            "channel": "a",
            "recoverable": True,
            "recover": True,
            "epoch": "gone",
            "flag": 3,
        },
        112,
    ),
    ("compaction flag is ignored", OPEN, {"channel": "a", "flag": 1}, None),
]


@pytest.mark.parametrize(
    ("options", "request_", "expected"),
    [row[1:] for row in DECISIONS],
    ids=[row[0] for row in DECISIONS],
)
async def test_decisions(
    node: Node, options: ChannelOptions, request_: dict[str, Any], expected: Any
) -> None:
    """Every reason not to subscribe has its code; the connection stays or ends."""
    client = SessionClient(node(CLOSED, options=options))
    await client.connect(token=make_token(sub="u"))
    messages = await client.ask(subscribe=request_)
    if isinstance(expected, tuple):
        assert client.closed == expected
        return
    assert client.closed is None
    if expected is None:
        assert "subscribe" in messages[0]
        assert client.context.hub.num_subs == 1
    else:
        assert messages[0]["error"]["code"] == expected
        assert client.context.hub.num_subs == 0
        assert client.context.hub.num_channels == 0
        assert not client.session.subscriptions


async def test_twice_is_refused(connected: SessionClient) -> None:
    """A second subscribe to a channel is answered with 105."""
    await connected.subscribe("a")
    reply = await connected.reply(subscribe={"channel": "a"})
    assert reply["error"] == {"code": 105, "message": "already subscribed"}


async def test_channel_limit(node: Node) -> None:
    """The channel limit counts what is subscribed and frees on unsubscribe."""
    client = SessionClient(node(SessionSettings(insecure=True, channel_limit=2)))
    await client.connect()
    await client.subscribe("a")
    await client.subscribe("b")
    reply = await client.reply(subscribe={"channel": "c"})
    assert reply["error"] == {"code": 106, "message": "limit exceeded"}
    await client.reply(unsubscribe={"channel": "a"})
    await client.subscribe("c")


async def test_anonymous_needs_its_own_flag(node: Node) -> None:
    """Nobody may subscribe only where that is said as well."""
    settings = SessionSettings(allow_anonymous_connect_without_token=True)
    options = ChannelOptions(allow_subscribe_for_client=True)
    client = SessionClient(node(settings, options=options))
    await client.connect()
    reply = await client.reply(subscribe={"channel": "a"})
    assert reply["error"]["code"] == 103


class BrokenBroker(MemoryBroker):
    """A broker that is away."""

    async def subscribe(self, channel: str) -> None:
        raise InternalError("away")

    async def publish(self, *args: Any) -> Any:
        raise InternalError("away")


async def test_a_broker_that_is_away_disconnects(node: Node) -> None:
    """Without the broker nobody can be subscribed truthfully."""
    client = SessionClient(node(broker=BrokenBroker()))
    await client.connect()
    await client.ask(subscribe={"channel": "a"})
    assert client.closed == (3004, "internal server error")
    assert client.context.hub.num_channels == 0


# --- the result ---


async def test_token_gives_data_info_and_expiry(node: Node) -> None:
    """A subscription token's data, info and expiry reach client and presence."""
    client = SessionClient(node(CLOSED, options=ChannelOptions(presence=True)))
    await client.connect(token=make_token(sub="u", info={"n": 1}))
    token = sub_token("a", info={"r": 2}, data={"d": 3}, exp=NOW_S + 50)
    result = await client.subscribe("a", token=token)
    assert result == {"expires": True, "ttl": 50, "data": {"d": 3}}
    (info,) = (await client.context.presence.fetch("a")).values()
    assert (info.user, info.conn_info, info.chan_info) == (
        "u",
        b'{"n": 1}',
        b'{"r": 2}',
    )


GRANTS: list[tuple[ChannelOptions, dict[str, Any], dict[str, bool]]] = [
    (OPEN, {"positioned": True, "recoverable": True}, {}),
    (replace(OPEN, force_positioning=True), {}, {"positioned": True}),
    (
        replace(OPEN, allow_positioning=True),
        {"positioned": True},
        {"positioned": True},
    ),
    (replace(OPEN, allow_positioning=True), {}, {}),
    (
        replace(OPEN, force_recovery=True),
        {},
        {"positioned": True, "recoverable": True},
    ),
    (
        replace(OPEN, allow_recovery=True),
        {"recoverable": True},
        {"positioned": True, "recoverable": True},
    ),
    (
        replace(OPEN, allow_history_for_subscriber=True),
        {"recoverable": True, "positioned": True},
        {"positioned": True, "recoverable": True},
    ),
    (
        replace(OPEN, allowed_delta_types=("fossil",)),
        {"delta": "fossil"},
        {"delta": True},
    ),
    (OPEN, {"delta": "fossil"}, {}),
    (
        replace(OPEN, allowed_delta_types=("fossil",), allow_tags_filter=True),
        {"delta": "fossil", "tf": {"key": "k", "cmp": "ex"}},
        {},
    ),
]


@pytest.mark.parametrize(("options", "request_", "granted"), GRANTS)
async def test_grants(
    node: Node,
    options: ChannelOptions,
    request_: dict[str, Any],
    granted: dict[str, bool],
) -> None:
    """Positioning, recovery and deltas are given as asked for and allowed."""
    options = replace(options, history_size=10, history_ttl=60)
    client = SessionClient(node(CLOSED, options=options))
    await client.connect(token=make_token(sub="u"))
    result = await client.subscribe("a", **request_)
    epoch = result.pop("epoch", "")
    assert result == granted
    assert bool(epoch) == ("positioned" in granted)


async def test_position_without_history_yet(connected: SessionClient) -> None:
    """The first subscriber learns the epoch, so that it can recover later."""
    first = await connected.subscribe("a", recoverable=True)
    assert first["epoch"]
    assert "offset" not in first


# --- what a subscriber hears ---


async def test_publication_fields(connected: SessionClient) -> None:
    """Offset, tags, version, and the epoch with the first of a stream."""
    broker = connected.context.broker
    result = await connected.subscribe("a", positioned=True)
    options = replace(STORED, tags={"k": "v"}, version=7)
    await broker.publish("a", b'{"x": "y"}', options)
    await broker.publish("a", b"2", STORED)
    await broker.publish("a", b"3", PublishOptions())
    assert await connected.pushes() == [
        {
            "channel": "a",
            "pub": {
                "data": {"x": "y"},
                "offset": 1,
                "tags": {"k": "v"},
                "epoch": result["epoch"],
                "version": 7,
            },
        },
        {"channel": "a", "pub": {"data": 2, "offset": 2}},
        {"channel": "a", "pub": {"data": 3}},
    ]


async def test_raw_payload_is_kept_but_for_line_breaks(
    connected: SessionClient,
) -> None:
    """Payload bytes are embedded as they are; only raw line breaks go."""
    await connected.subscribe("a")
    await connected.context.broker.publish("a", b'{"a" :\n 1.50}', PublishOptions())
    await connected.context.hub.settle()
    assert b'"data":{"a" : 1.50}' in connected.link.written[-1]


async def test_foreign_data_ends_json_clients(connected: SessionClient) -> None:
    """Who reads JSON cannot be sent anything else."""
    await connected.subscribe("a")
    await connected.context.broker.publish("a", b"\xff", PublishOptions())
    await connected.take()
    assert connected.closed == (3506, "inappropriate protocol")


async def test_join_and_leave(node: Node) -> None:
    """Joins follow the subscriber's own reply; leaves come at every kind of end."""
    context = node(options=OPEN_CHANNEL)
    watcher, other = SessionClient(context), SessionClient(context)
    await watcher.connect()
    messages = await watcher.ask(subscribe={"channel": "a", "join_leave": True})
    own = {"client": watcher.session.client, "user": ""}
    assert "subscribe" in messages[0]
    assert messages[1]["push"] == {"channel": "a", "join": {"info": own}}
    await other.connect()
    await other.subscribe("a")
    theirs = {"client": other.session.client, "user": ""}
    await other.reply(unsubscribe={"channel": "a"})
    await other.subscribe("a")
    other.session.lost()
    assert await watcher.pushes() == [
        {"channel": "a", "join": {"info": theirs}},
        {"channel": "a", "leave": {"info": theirs}},
        {"channel": "a", "join": {"info": theirs}},
        {"channel": "a", "leave": {"info": theirs}},
    ]
    assert await other.pushes() == []


async def test_unsubscribe(connected: SessionClient) -> None:
    """After the reply nothing of the channel comes; doing it twice is fine."""
    context = connected.context
    await connected.subscribe("a")
    assert await connected.reply(unsubscribe={"channel": "a"}) == {"unsubscribe": {}}
    assert await connected.reply(unsubscribe={"channel": "a"}) == {"unsubscribe": {}}
    await context.broker.publish("a", b"1", PublishOptions())
    assert await connected.pushes() == []
    assert context.hub.num_channels == 0
    assert await context.presence.fetch("a") == {}
    await connected.ask(unsubscribe={"channel": ""})
    assert connected.closed == BAD


async def test_closing_cleans_up(node: Node) -> None:
    """A connection that ends leaves hub, presence and channels behind."""
    context = node()
    client = SessionClient(context)
    await client.connect()
    await client.subscribe("a")
    client.session.lost()
    await context.hub.settle()
    assert (context.hub.num_clients, context.hub.num_channels) == (0, 0)
    assert await context.presence.fetch("a") == {}


# --- tags filter ---


async def test_tags_filter(connected: SessionClient) -> None:
    """Only matching publications come; the position moves on silently."""
    await connected.subscribe(
        "a", positioned=True, tf={"key": "k", "cmp": "eq", "val": "x"}
    )
    broker = connected.context.broker
    for number, tag in enumerate(("x", "y", "x")):
        await broker.publish("a", b"%d" % number, replace(STORED, tags={"k": tag}))
    assert await connected.publications() == [0, 2]
    assert connected.closed is None
    lines = exposed(connected.context.hub.meter)
    assert lines["node_tags_filter_dropped_publications{channel_namespace=}"] == 1


# --- orders of the server ---


async def test_subscribe_by_the_server(node: Node) -> None:
    """The server API subscribes connections of a user and tells them."""
    context = node(CLOSED, options=ChannelOptions(presence=True))
    client = SessionClient(context)
    await client.connect(token=make_token(sub="u"))
    target = Target(user="u")
    context.hub.run(SubscribeCommand(target, "a", b'{"i":1}', b'{"d":1}'))
    assert await client.pushes() == [{"channel": "a", "subscribe": {"data": {"d": 1}}}]
    (info,) = (await context.presence.fetch("a")).values()
    assert info.chan_info == b'{"i":1}'
    await context.broker.publish("a", b"1", PublishOptions())
    assert await client.publications() == [1]
    context.hub.run(UnsubscribeCommand(target, "a"))
    assert await client.pushes() == [
        {
            "channel": "a",
            "unsubscribe": {"code": 2000, "reason": "server unsubscribe"},
        }
    ]
    assert await context.presence.fetch("a") == {}


async def test_unsubscribe_by_the_server_is_told_in_any_case(
    connected: SessionClient,
) -> None:
    """Even who is not subscribed gets the push, also for no channel."""
    connected.context.hub.run(UnsubscribeCommand(Target(), "zzz"))
    connected.context.hub.run(UnsubscribeCommand(Target(), ""))
    pushes = await connected.pushes()
    assert [push["unsubscribe"]["code"] for push in pushes] == [2000, 2000]


async def test_subscribe_by_the_server_with_recovery(node: Node) -> None:
    """`recover_since` brings what was missed, as pushes after the subscribe."""
    context = node(options=replace(OPEN_CHANNEL, join_leave=False))
    client = SessionClient(context)
    await client.connect()
    for number in range(3):
        await context.broker.publish("a", b"%d" % number, STORED)
    since = StreamPosition(1, "")
    command = SubscribeCommand(
        Target(), "a", recover_since=since, overrides={"force_recovery": True}
    )
    context.hub.run(command)
    pushes = await client.pushes()
    assert pushes[0]["subscribe"]["offset"] == 1
    assert [push["pub"]["data"] for push in pushes[1:]] == [1, 2]
    context.hub.run(command)
    assert len(await client.pushes()) == 3  # it replaces the subscription
    assert context.hub.num_subs == 1


async def test_subscribe_by_the_server_beyond_the_channel_limit(node: Node) -> None:
    """A connection that is full is closed."""
    context = node(SessionSettings(insecure=True, channel_limit=1))
    client = SessionClient(context)
    await client.connect()
    await client.subscribe("a")
    context.hub.run(SubscribeCommand(Target(), "b"))
    await client.take()
    assert client.closed == (3505, "channel limit")


async def test_subscribe_by_the_server_in_the_past(connected: SessionClient) -> None:
    """A subscription that has expired already does not come about."""
    command = SubscribeCommand(Target(), "a", expire_at=NOW_S - 1)
    connected.context.hub.run(command)
    assert await connected.pushes() == []


# --- expiry ---


async def test_client_side_expiry(node: Node, wheel: ManualWheel) -> None:
    """An expired subscription ends by push, after its grace time and a tick."""
    client = SessionClient(node(SessionSettings(ping_interval_s=0)))
    await client.connect(token=make_token(sub="u"))
    await client.subscribe("a", token=sub_token("a", exp=NOW_S + 10))
    wheel.move_s(30)
    assert await client.pushes() == []
    wheel.move_s(60)
    assert await client.pushes() == [
        {
            "channel": "a",
            "unsubscribe": {"code": 2501, "reason": "subscription expired"},
        }
    ]
    assert client.closed is None


async def test_server_side_expiry(node: Node, wheel: ManualWheel) -> None:
    """An expired server-side subscription ends the connection."""
    client = SessionClient(node(SessionSettings(ping_interval_s=0, insecure=True)))
    await client.connect()
    client.context.hub.run(SubscribeCommand(Target(), "a", expire_at=NOW_S + 10))
    await client.take()
    wheel.move_s(90)
    assert client.closed == (3006, "subscription expired")


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({"channel": "a", "token": sub_token("a", exp=NOW_S + 99)}, 99),
        ({"channel": "a", "token": sub_token("a")}, 0),
        ({"channel": "a", "token": sub_token("a", exp=NOW_S - 1)}, 0),
        ({"channel": "b", "token": sub_token("b")}, 103),
        ({"channel": "a", "token": ""}, 107),
        ({"channel": "a", "token": "x"}, (3500, "invalid token")),
        ({"channel": "a", "token": sub_token("b")}, OTHERS),
        ({"channel": "", "token": sub_token("b")}, BAD),
    ],
)
async def test_sub_refresh(node: Node, request_: dict[str, Any], expected: Any) -> None:
    """A newer subscription token moves the expiry; a wrong one has its code."""
    client = SessionClient(node(CLOSED))
    await client.connect(token=make_token(sub="u"))
    await client.subscribe("a", token=sub_token("a", exp=NOW_S + 10))
    messages = await client.ask(sub_refresh=request_)
    if isinstance(expected, tuple):
        assert client.closed == expected
    elif expected > 100:
        assert messages[0]["error"]["code"] == expected
    elif expected:
        assert messages[0]["sub_refresh"] == {"expires": True, "ttl": expected}
        assert client.session.subscriptions["a"].expire_at == NOW_S + expected
    else:
        assert messages[0]["sub_refresh"] == {}


# --- presence ---


async def test_presence_is_renewed(node: Node, wheel: ManualWheel) -> None:
    """Each tick puts the connection back into presence."""
    context = node(SessionSettings(insecure=True, ping_interval_s=0))
    client = SessionClient(context)
    await client.connect()
    await client.subscribe("a")
    await context.presence.remove("a", client.session.client, "")
    wheel.move_s(27.1)
    await context.hub.settle()
    assert list(await context.presence.fetch("a")) == [client.session.client]


async def test_presence_is_there_before_the_reply(node: Node) -> None:
    """Who reads presence after the reply finds itself."""
    client = SessionClient(node())
    await client.connect()
    await client.feed(
        b'{"id":8,"subscribe":{"channel":"a"}}\n{"id":9,"presence":{"channel":"a"}}'
    )
    reply = await client.reply(presence={"channel": "a"})
    assert list(reply["presence"]["presence"]) == [client.session.client]


# --- several at once ---


async def test_unsubscribe_waits_for_a_subscribe_on_its_way(node: Node) -> None:
    """With concurrency, an unsubscribe comes after the subscribe it ends."""
    gate = asyncio.Event()

    class SlowBroker(MemoryBroker):
        async def subscribe(self, channel: str) -> None:
            await gate.wait()
            await super().subscribe(channel)

    context = node(SessionSettings(insecure=True, concurrency=4), broker=SlowBroker())
    client = SessionClient(context)
    await client.connect()
    client.session.receive(b'{"id":7,"subscribe":{"channel":"a"}}')
    client.session.receive(b'{"id":8,"unsubscribe":{"channel":"a"}}')
    client.session.receive(b'{"id":9,"rpc":{}}')
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    gate.set()
    replies = [each["id"] for each in await client.take() if "id" in each]
    assert sorted(replies) == [7, 8, 9]
    assert replies.index(7) < replies.index(8)
    assert not client.session.subscriptions
    assert context.hub.num_channels == 0


async def test_a_connection_that_ends_while_subscribing_leaves_nothing(
    node: Node,
) -> None:
    """An end in the middle of a subscribe undoes what was done."""
    gate = asyncio.Event()

    class SlowHistory(MemoryBroker):
        async def fetch_history(self, *args: Any, **kwargs: Any) -> Any:
            await gate.wait()
            return await super().fetch_history(*args, **kwargs)

    context = node(broker=SlowHistory())
    client = SessionClient(context)
    await client.connect()
    client.session.receive(b'{"id":7,"subscribe":{"channel":"a","positioned":true}}')
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert await context.presence.fetch("a")
    client.session.lost()
    gate.set()
    await context.hub.settle()
    assert await context.presence.fetch("a") == {}
    assert context.hub.num_channels == 0


def test_rules_default() -> None:
    """The memory rules of these tests are the real ones."""
    assert Namespaces(NamespaceSettings()).options_of("a") == ChannelOptions(
        history_meta_ttl=2_592_000, force_recovery_mode="stream"
    )
