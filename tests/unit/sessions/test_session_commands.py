from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.support.realtime import OPEN_CHANNEL
from tests.support.sessions import (
    EMULATED,
    TWO_WAY,
    TWO_WAY_PROTOBUF,
    SessionClient,
    make_token,
    run_until,
)

from tocsin.broker.memory import MemoryBroker
from tocsin.core.channel import ChannelOptions, PublishOptions
from tocsin.core.client_codes import METHOD_NOT_FOUND, ClientFault, Disconnect
from tocsin.core.control import DisconnectCommand, Target
from tocsin.core.errors import InternalError
from tocsin.sessions.context import Context, answer_ping
from tocsin.sessions.link import Traits
from tocsin.sessions.session import COMMANDS_AT_ONCE
from tocsin.sessions.settings import SessionSettings

Node = Callable[..., Context]
BAD = (3501, "bad request")
STORED = PublishOptions(history_size=100, history_ttl_s=300)
CLOSED = SessionSettings()


# --- frames and envelopes ---

WRONG_FRAMES: list[tuple[str, bytes]] = [
    ("empty", b""),
    ("only a line break", b"\n"),
    ("not JSON", b"hello"),
    ("cut off", b'{"id":5,"rpc":{}'),
    ("an array", b"[]"),
    ("not UTF-8", b'{"id":5,"rpc":{"method":"\xff"}}'),
    ("id is text", b'{"id":"5","rpc":{}}'),
    ("id is negative", b'{"id":-5,"rpc":{}}'),
    ("id is too big", b'{"id":4294967296,"rpc":{}}'),
    ("channel is a number", b'{"id":5,"history":{"channel":5}}'),
    ("NaN", b'{"id":5,"publish":{"channel":"a","data":NaN}}'),
    ("no request", b'{"id":5}'),
    ("unknown request", b'{"id":5,"dance":{}}'),
    ("ping", b'{"id":5,"ping":{}}'),
    ("second connect", b'{"id":5,"connect":{}}'),
    ("deep", b'{"id":5,"subscribe":{"channel":"a","tf":' + b'{"nodes":[' * 5000),
]


@pytest.mark.parametrize(
    "frame", [row[1] for row in WRONG_FRAMES], ids=[row[0] for row in WRONG_FRAMES]
)
async def test_wrong_frames(connected: SessionClient, frame: bytes) -> None:
    """Whatever is no command ends the connection with 3501."""
    await connected.feed(frame)
    assert connected.closed == BAD


async def test_commands_before_a_wrong_one_are_carried_out(
    connected: SessionClient,
) -> None:
    """A frame is read in order: what stands before the mistake is answered."""
    messages = await connected.feed(b'{"id":5,"rpc":{}}\n{"id":6')
    assert messages[0]["id"] == 5
    assert connected.closed == BAD


async def test_tolerated_frames(connected: SessionClient) -> None:
    """Unknown fields, nulls, spaces and one line break at the end do no harm."""
    frame = b' {"id" : 5, "x": [1, {"y": null}], "rpc": {"method": null, "z": 1}} \n'
    (reply,) = await connected.feed(frame)
    assert reply == {"id": 5, "error": {"code": 108, "message": "not available"}}


@pytest.mark.parametrize(
    "request_", ["subscribe", "publish", "history", "rpc", "refresh", "send"]
)
async def test_commands_before_connect(node: Node, request_: str) -> None:
    """Only connect may come first."""
    client = SessionClient(node())
    await client.ask(**{request_: {}})
    assert client.closed == BAD


def _names(messages: list[dict[str, Any]]) -> list[str]:
    return [
        next(name for name in each.get("push", each) if name not in {"id", "channel"})
        for each in messages
    ]


async def test_the_own_publication_comes_before_the_reply(
    connected: SessionClient,
) -> None:
    """As from the published server; who is not subscribed gets the reply alone."""
    await connected.subscribe("news")
    await connected.take()
    told = await connected.ask(publish={"channel": "news", "data": 1})
    assert _names(told) == ["pub", "publish"]
    lines = [b'{"id":%d,"publish":{"channel":"news","data":1}}' % n for n in (7, 8, 9)]
    told = await connected.feed(b"\n".join(lines))
    assert _names(told) == ["pub", "publish"] * 3
    assert [each["id"] for each in told if "id" in each] == [7, 8, 9]
    told = await connected.ask(publish={"channel": "other", "data": 1})
    assert _names(told) == ["publish"]


async def test_the_own_join_comes_behind_the_reply(connected: SessionClient) -> None:
    """And before what the subscriber publishes there right away."""
    told = await connected.feed(
        b'{"id":7,"subscribe":{"channel":"news","join_leave":true}}\n'
        b'{"id":8,"publish":{"channel":"news","data":1}}\n'
        b'{"id":9,"unsubscribe":{"channel":"news"}}'
    )
    assert _names(told) == ["subscribe", "join", "pub", "publish", "unsubscribe"]


async def test_others_get_publications_in_order(connected: SessionClient) -> None:
    """Also those of a subscriber, which are handed on at once."""
    other = SessionClient(connected.context)
    await other.connect()
    await other.subscribe("news")
    await connected.subscribe("news")
    await connected.take()
    await other.take()
    broker = connected.context.broker
    await broker.publish("news", b"1", PublishOptions())
    await connected.ask(publish={"channel": "news", "data": 2})
    await broker.publish("news", b"3", PublishOptions())
    assert await other.publications() == [1, 2, 3]


async def test_send_is_not_available(connected: SessionClient) -> None:
    """Nobody takes one-way messages here."""
    await connected.feed(b'{"send":{"data":{}}}')
    assert connected.closed == (3508, "not available")


async def test_first_of_several_requests(connected: SessionClient) -> None:
    """Of several requests in one command the first in order counts."""
    reply = await connected.reply(rpc={}, publish={"channel": "a", "data": 1})
    assert reply == {"publish": {}}


async def test_a_flood_stops_reading(connected: SessionClient) -> None:
    """Commands that wait are bounded: the client's bytes stay in the socket."""
    for _ in range(200):
        connected.session.receive(b'{"id":5,"rpc":{}}')
    assert connected.link.is_paused
    assert len(await _take(connected, 200)) == 200
    assert not connected.link.is_paused


async def _take(client: SessionClient, most: int) -> list[Any]:
    """What comes until so much has come; in as many turns as it takes."""
    found: list[Any] = []
    async with asyncio.timeout(10):
        while len(found) < most:
            found += await client.take()
            await asyncio.sleep(0.001)
    return found


FRAMES_OF_MANY = {
    "json": (TWO_WAY, b'{"id":5,"rpc":{}}\n' * 3000, 3000),
    "protobuf": (TWO_WAY_PROTOBUF, b"\x04\x08\x05\x6a\x00" * 3000, 3000),
}


@pytest.mark.parametrize(
    ("traits", "frame", "count"), FRAMES_OF_MANY.values(), ids=FRAMES_OF_MANY
)
async def test_a_frame_of_many_commands(
    node: Node, traits: Traits, frame: bytes, count: int
) -> None:
    """It is read share by share, with the socket left alone, and wholly."""
    client = SessionClient(node(), traits)
    await client.feed(
        b'{"id":1,"connect":{}}' if traits is TWO_WAY else b"\x04\x08\x01\x22\x00"
    )
    client.session.receive(frame)
    assert client.link.is_paused
    assert client.session._inbox is not None
    assert len(client.session._inbox) == COMMANDS_AT_ONCE
    assert len(await _take(client, count)) == count
    await run_until(lambda: not client.link.is_paused)


@pytest.mark.parametrize("traits", [TWO_WAY, EMULATED])
async def test_a_bad_frame_of_many_commands(node: Node, traits: Traits) -> None:
    """The first one that is wrong ends the connection; the rest is not read."""
    client = SessionClient(node(), traits)
    await client.connect()
    client.session.receive(b"{}\n" * 20_000)
    await client.context.hub.settle()
    assert client.closed == BAD
    await run_until(lambda: client.session._unread is None)


async def test_a_flood_leaves_turns_to_the_others(node: Node) -> None:
    """Commands that need no wait are many: the loop goes round between them."""

    async def busy(user: str, data: bytes) -> bytes:
        end_s = time.perf_counter() + 0.001
        while time.perf_counter() < end_s:
            pass
        return b""

    client = SessionClient(node(rpc={"busy": busy}))
    await client.connect()
    turns = 0
    client.session.receive(b'{"id":5,"rpc":{"method":"busy"}}\n' * 100)
    while len(client.link.written) < 100:
        await asyncio.sleep(0)
        turns += 1
    assert turns > 5


async def test_a_flood_by_emulation(node: Node) -> None:
    """It comes over other sockets, which cannot be paused: who floods is ended."""
    held = asyncio.Event()

    async def slow(user: str, data: bytes) -> bytes:
        await held.wait()
        return b""

    context = node(rpc={"slow": slow})
    client, other = SessionClient(context, EMULATED), SessionClient(context, EMULATED)
    await client.connect()
    await other.connect()
    command = b'{"id":5,"rpc":{"method":"slow"}}'
    for each in (client, other):
        # However many in one request: a client subscribes to all it had at once.
        each.session.take_emulated(b"\n".join([command] * 5000))
    client.session.take_emulated(command)
    assert client.closed == (3013, "too many requests")
    held.set()
    assert len(await _take(other, 5000)) == 5000
    other.session.take_emulated(command)
    assert len(await other.take()) == 1


async def test_a_flood_of_small_requests_by_emulation(node: Node) -> None:
    """Those that were read count as much as those that were not yet."""
    client = SessionClient(node(rpc={}), EMULATED)
    await client.connect()
    command = b'{"id":5,"rpc":{"method":"slow"}}'
    count = 0
    while client.closed is None:
        client.session.take_emulated(command)
        count += 1
    assert 4096 <= count <= 4098


async def test_a_bug_in_one_command_is_an_error_reply(node: Node) -> None:
    """What nobody foresaw is answered with 100, and the connection stays."""

    async def broken(user: str, data: bytes) -> bytes:
        raise RuntimeError("a bug")

    client = SessionClient(node(rpc={"broken": broken}))
    await client.connect()
    reply = await client.reply(rpc={"method": "broken"})
    assert reply["error"] == {
        "code": 100,
        "message": "internal server error",
        "temporary": True,
    }
    assert client.closed is None


# --- publish ---


async def test_publish_carries_the_publisher(node: Node) -> None:
    """A client's publication is stored with who published it."""
    client = SessionClient(node())
    await client.connect(token=make_token(sub="u", info={"n": 1}))
    await client.subscribe("a")
    messages = await client.ask(publish={"channel": "a", "data": {"x": 1}})
    assert {"id": 3, "publish": {}} in messages
    (push,) = [each["push"] for each in messages if "push" in each]
    info = {"user": "u", "client": client.session.client, "conn_info": {"n": 1}}
    assert push["pub"]["info"] == info
    history = await client.reply(history={"channel": "a", "limit": 5})
    assert history["history"]["publications"] == [push["pub"]]


PUBLISHES: list[tuple[str, ChannelOptions, dict[str, Any], Any]] = [
    ("empty channel", OPEN_CHANNEL, {"channel": "", "data": 1}, BAD),
    ("unknown namespace", OPEN_CHANNEL, {"channel": "x:y", "data": 1}, 102),
    ("bad name", OPEN_CHANNEL, {"channel": "ü", "data": 1}, 107),
    ("no data", OPEN_CHANNEL, {"channel": "a"}, 107),
    ("null is data", OPEN_CHANNEL, {"channel": "a", "data": None}, 0),
    (
        "not an object",
        replace(OPEN_CHANNEL, publication_data_format="json_object"),
        {"channel": "a", "data": [1]},
        107,
    ),
    (
        "an object",
        replace(OPEN_CHANNEL, publication_data_format="json_object"),
        {"channel": "a", "data": {"x": 1}},
        0,
    ),
    ("not allowed", ChannelOptions(), {"channel": "a", "data": 1}, 103),
    (
        "subscribers only",
        ChannelOptions(
            allow_publish_for_subscriber=True, allow_publish_for_anonymous=True
        ),
        {"channel": "a", "data": 1},
        103,
    ),
    (
        "known users only",
        ChannelOptions(allow_publish_for_client=True),
        {"channel": "a", "data": 1},
        103,
    ),
]
ANONYMOUS = SessionSettings(allow_anonymous_connect_without_token=True)


@pytest.mark.parametrize(
    ("options", "request_", "expected"),
    [row[1:] for row in PUBLISHES],
    ids=[row[0] for row in PUBLISHES],
)
async def test_publish_checks(
    node: Node, options: ChannelOptions, request_: dict[str, Any], expected: Any
) -> None:
    """Every reason not to publish has its code."""
    client = SessionClient(node(ANONYMOUS, options=options))
    await client.connect()
    messages = await client.ask(publish=request_)
    if isinstance(expected, tuple):
        assert client.closed == expected
    elif expected:
        assert messages[0]["error"]["code"] == expected
    else:
        assert messages[0]["publish"] == {}


async def test_subscribers_may_publish(node: Node) -> None:
    """Where subscribers may publish, subscribing opens the door."""
    options = ChannelOptions(
        allow_subscribe_for_client=True, allow_publish_for_subscriber=True
    )
    client = SessionClient(node(CLOSED, options=options))
    await client.connect(token=make_token(sub="u"))
    await client.subscribe("a")
    assert "error" not in await client.reply(publish={"channel": "a", "data": 1})


async def test_publish_without_broker(node: Node) -> None:
    """A broker that is away is a temporary error."""

    class Away(MemoryBroker):
        async def publish(self, *args: Any) -> Any:
            raise InternalError("away")

    client = SessionClient(node(broker=Away()))
    await client.connect()
    reply = await client.reply(publish={"channel": "a", "data": 1})
    assert reply["error"]["code"] == 100


# --- history ---


async def _client_with_history(node: Node, **settings: Any) -> SessionClient:
    context = node(SessionSettings(insecure=True, **settings))
    client = SessionClient(context)
    await client.connect()
    for number in range(1, 6):
        await context.broker.publish("a", b"%d" % number, STORED)
    return client


HISTORY: list[tuple[dict[str, Any], Any]] = [
    ({}, []),
    ({"limit": 2}, [1, 2]),
    ({"limit": -1}, [1, 2, 3, 4]),
    ({"limit": 100}, [1, 2, 3, 4]),
    ({"limit": 2, "since": {"offset": 3}}, [4, 5]),
    ({"limit": 2, "reverse": True}, [5, 4]),
    ({"limit": 2, "since": {"offset": 3}, "reverse": True}, [2, 1]),
    ({"limit": 2, "since": {"offset": 3, "epoch": "gone"}}, 112),
    ({"limit": 2, "since": {"offset": 0}, "reverse": True}, 107),
]


@pytest.mark.parametrize(("request_", "expected"), HISTORY)
async def test_history(node: Node, request_: dict[str, Any], expected: Any) -> None:
    """Pages of history, capped, forwards and backwards."""
    client = await _client_with_history(node, history_max_publication_limit=4)
    reply = await client.reply(history={"channel": "a", **request_})
    if isinstance(expected, int):
        assert reply["error"]["code"] == expected
        return
    history = reply["history"]
    assert [each["data"] for each in history["publications"]] == expected
    assert history["offset"] == 5
    assert history["epoch"]
    with_epoch = [p["offset"] for p in history["publications"] if "epoch" in p]
    assert with_epoch == ([1] if 1 in expected else [])


@pytest.mark.parametrize(
    ("options", "channel", "expected"),
    [
        (OPEN_CHANNEL, "", BAD),
        (OPEN_CHANNEL, "x:y", 102),
        (OPEN_CHANNEL, "ü", 107),
        (ChannelOptions(), "a", 108),
        (ChannelOptions(history_size=1, history_ttl=1), "a", 103),
    ],
)
async def test_history_checks(
    node: Node, options: ChannelOptions, channel: str, expected: Any
) -> None:
    """Every reason not to read history has its code."""
    client = SessionClient(node(ANONYMOUS, options=options))
    await client.connect()
    messages = await client.ask(history={"channel": channel})
    if isinstance(expected, tuple):
        assert client.closed == expected
    else:
        assert messages[0]["error"]["code"] == expected


async def test_foreign_data_in_history(connected: SessionClient) -> None:
    """History that is no JSON cannot be sent to who reads JSON."""
    await connected.context.broker.publish("a", b"\xff", STORED)
    await connected.ask(history={"channel": "a", "limit": 1})
    assert connected.closed == (3506, "inappropriate protocol")


# --- presence ---


async def test_presence(node: Node) -> None:
    """Who is there, by client id, and how many."""
    client = SessionClient(node())
    await client.connect(token=make_token(sub="u", info={"n": 1}))
    empty = await client.reply(presence={"channel": "a"})
    assert empty == {"presence": {"presence": {}}}
    stats = await client.reply(presence_stats={"channel": "a"})
    assert stats == {"presence_stats": {"num_clients": 0, "num_users": 0}}
    await client.subscribe("a")
    reply = await client.reply(presence={"channel": "a"})
    own = client.session.client
    assert reply["presence"]["presence"] == {
        own: {"user": "u", "client": own, "conn_info": {"n": 1}}
    }
    stats = await client.reply(presence_stats={"channel": "a"})
    assert stats == {"presence_stats": {"num_clients": 1, "num_users": 1}}


@pytest.mark.parametrize("command", ["presence", "presence_stats"])
@pytest.mark.parametrize(
    ("options", "channel", "expected"),
    [
        (OPEN_CHANNEL, "", BAD),
        (OPEN_CHANNEL, "x:y", 102),
        (OPEN_CHANNEL, "ü", 107),
        (ChannelOptions(), "a", 108),
        (ChannelOptions(presence=True), "a", 103),
    ],
)
async def test_presence_checks(
    node: Node, command: str, options: ChannelOptions, channel: str, expected: Any
) -> None:
    """Every reason not to see presence has its code."""
    client = SessionClient(node(ANONYMOUS, options=options))
    await client.connect()
    messages = await client.ask(**{command: {"channel": channel}})
    if isinstance(expected, tuple):
        assert client.closed == expected
    else:
        assert messages[0]["error"]["code"] == expected


# --- rpc ---


async def test_rpc_methods(node: Node) -> None:
    """Without methods 108, with some 104 for others; `ping` answers nothing."""

    async def echo(user: str, data: bytes) -> bytes:
        return data

    async def refuse(user: str, data: bytes) -> bytes:
        raise ClientFault(METHOD_NOT_FOUND)

    client = SessionClient(node(rpc={"ping": answer_ping, "echo": echo, "no": refuse}))
    await client.connect()
    assert await client.reply(rpc={"method": "ping"}) == {"rpc": {}}
    assert await client.reply(rpc={"method": "echo", "data": [1]}) == {
        "rpc": {"data": [1]}
    }
    for method in ("other", "no"):
        reply = await client.reply(rpc={"method": method})
        assert reply["error"] == {"code": 104, "message": "method not found"}


# --- disconnect by the server ---


async def test_disconnect_by_the_server(node: Node) -> None:
    """Connections are closed with the code given, but for the whitelist."""
    context = node()
    clients = [SessionClient(context) for _ in range(3)]
    for client, user in zip(clients, ("u", "u", ""), strict=True):
        await client.connect(**({"token": make_token(sub=user)} if user else {}))
    context.hub.run(
        DisconnectCommand(
            Target(user="u"),
            Disconnect(4321, "custom"),
            (clients[0].session.client,),
        )
    )
    assert [client.closed for client in clients] == [None, (4321, "custom"), None]
    context.hub.run(DisconnectCommand(Target()))
    assert clients[2].closed == (3503, "force disconnect")
    context.hub.run(DisconnectCommand(Target(all_users=True)))
    assert clients[0].closed == (3503, "force disconnect")


async def test_label_filters_choose_connections(node: Node) -> None:
    """Commands may be narrowed by labels; a broken filter reaches nobody."""
    context = node()
    client = SessionClient(context)
    await client.connect()
    client.session.labels = {"tier": "gold"}
    for tree in (
        {"key": "tier", "cmp": "eq", "val": "tin"},
        {"key": "tier", "cmp": "like", "val": "gold"},
    ):
        context.hub.run(DisconnectCommand(Target(all_users=True, label_filter=tree)))
        assert client.closed is None
    negated = {"key": "tier", "cmp": "eq", "val": "tin"}
    refused: dict[str, Any] = {"op": "not", "nodes": [negated]}
    context.hub.run(DisconnectCommand(Target(all_users=True, label_filter=refused)))
    assert client.closed == (3503, "force disconnect")
