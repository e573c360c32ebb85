"""A channel of a type that is not built answers 108 at every door of a client."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from tests.support.realtime import OPEN_CHANNEL
from tests.support.sessions import (
    DELIMITED,
    EMULATED,
    ONE_WAY,
    TWO_WAY,
    TWO_WAY_PROTOBUF,
    SessionClient,
    make_token,
)

from tocsin.core.control import SubscribeCommand, Target
from tocsin.protocol import client_pb2 as pb
from tocsin.sessions.context import Context
from tocsin.sessions.link import Traits
from tocsin.sessions.settings import SessionSettings

Node = Callable[..., Context]
CLOSED = SessionSettings()
INSECURE = SessionSettings(insecure=True)
KINDS = ["map", "map_clients", "map_users", "shared_poll"]
NOT_AVAILABLE = {"code": 108, "message": "not available"}
CHANNELS = ["keys:1", "$keys:1", "keys:#u"]

COMMANDS: list[tuple[str, dict[str, Any]]] = [
    ("subscribe", {}),
    ("subscribe", {"type": 1, "phase": 2}),
    ("subscribe", {"recover": True, "recoverable": True}),
    ("subscribe", {"token": make_token(sub="u", channel="keys:1")}),
    ("subscribe", {"token": "none"}),
    ("publish", {"data": {}}),
    ("publish", {"data": {}, "type": 1, "key": "k"}),
    ("publish", {"type": 1, "key": "k", "removed": True}),
    ("history", {"limit": 1}),
    ("presence", {}),
    ("presence_stats", {}),
    ("sub_refresh", {"token": make_token(sub="u", channel="keys:1")}),
    ("sub_refresh", {"type": 4, "untrack": ["k"]}),
]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def build(node: Node, kind: str, settings: SessionSettings, **parts: Any) -> Context:
    """A node with a namespace of that type in which everything else is allowed."""
    return node(
        settings,
        namespaces={
            "keys": replace(OPEN_CHANNEL, subscription_type=kind),
            "chat": OPEN_CHANNEL,
        },
        **parts,
    )


@pytest.mark.parametrize("settings", [CLOSED, INSECURE], ids=["closed", "insecure"])
@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize(
    ("name", "request_"), COMMANDS, ids=[f"{n} {'+'.join(r)}" for n, r in COMMANDS]
)
async def test_commands(
    node: Node,
    kind: str,
    settings: SessionSettings,
    channel: str,
    name: str,
    request_: dict[str, Any],
) -> None:
    """Nothing of them happens, and the connection stays."""
    context = build(node, kind, settings)
    client = SessionClient(context)
    await client.connect(token=make_token(sub="u"))
    reply = await client.reply(**{name: {"channel": channel, **request_}})
    assert reply == {"error": NOT_AVAILABLE}
    assert client.closed is None
    assert context.hub._feeds == {}
    assert await context.presence.fetch(channel) == {}


async def test_leaving_is_always_answered(node: Node, kind: str) -> None:
    """As for any channel that the client is not in."""
    client = SessionClient(build(node, kind, INSECURE))
    await client.connect()
    assert await client.reply(unsubscribe={"channel": "keys:1"}) == {"unsubscribe": {}}


AT_CONNECT: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("channels of the token", {"channels": ["chat:1", "keys:1"]}, {}),
    ("subs of the token", {"subs": {"keys:1": {}, "chat:1": {}}}, {}),
    ("asked for", {}, {"subs": {"keys:1": {}}}),
    (
        "asked for, to recover",
        {},
        {"subs": {"chat:1": {}, "keys:1": {"recover": True, "epoch": "e"}}},
    ),
]


@pytest.mark.parametrize(
    "traits", [TWO_WAY, TWO_WAY_PROTOBUF, EMULATED], ids=["ws", "protobuf", "emulated"]
)
@pytest.mark.parametrize(
    ("claims", "request_"),
    [row[1:] for row in AT_CONNECT],
    ids=[row[0] for row in AT_CONNECT],
)
async def test_at_connect(
    node: Node,
    kind: str,
    traits: Traits,
    claims: dict[str, Any],
    request_: dict[str, Any],
) -> None:
    """The connect is refused, and nothing of it stays."""
    context = build(node, kind, CLOSED)
    client = SessionClient(context, traits)
    if traits is TWO_WAY_PROTOBUF:
        client.session.receive(_delimited(make_token(sub="u", **claims), request_))
        (told,) = await client.take()
        assert told["error"] == NOT_AVAILABLE
    else:
        token = make_token(sub="u", **claims)
        reply = await client.reply(connect={"token": token, **request_})
        assert reply == {"error": NOT_AVAILABLE}
    assert context.hub.num_clients == 0
    assert context.hub._feeds == {}


def _delimited(token: str, request: dict[str, Any]) -> bytes:
    connect = ParseDict({"token": token, **request}, pb.ConnectRequest())
    return DELIMITED.frame(pb.Command(id=1, connect=connect).SerializeToString())


@pytest.mark.parametrize(
    ("claims", "request_"),
    [row[1:] for row in AT_CONNECT],
    ids=[row[0] for row in AT_CONNECT],
)
async def test_a_one_way_connect(
    node: Node, kind: str, claims: dict[str, Any], request_: dict[str, Any]
) -> None:
    """It ends with the code that stands for 108 there, or with 108 itself."""
    for traits, code in (
        (ONE_WAY, 3004),
        (replace(ONE_WAY, keeps_error_codes=True), 108),
    ):
        context = build(node, kind, CLOSED)
        client = SessionClient(context, traits)
        token = make_token(sub="u", **claims)
        request = ParseDict({"token": token, **request_}, pb.ConnectRequest())
        client.session.start(request)
        await client.take()
        assert client.closed is not None
        assert client.closed[0] == code
        assert context.hub.num_clients == 0


async def test_a_personal_channel(node: Node, kind: str) -> None:
    """Users are refused at connect; nobody has none."""
    settings = SessionSettings(allow_anonymous_connect_without_token=True)
    context = build(node, kind, settings, personal=True, personal_namespace="keys")
    client = SessionClient(context)
    reply = await client.reply(connect={"token": make_token(sub="u")})
    assert reply == {"error": NOT_AVAILABLE}
    assert await SessionClient(context).connect()


async def test_an_order_from_another_node(node: Node, kind: str) -> None:
    """A node that is configured otherwise may order it: nothing is done."""
    context = build(node, kind, INSECURE)
    client = SessionClient(context)
    await client.connect()
    target = Target(client=client.session.client)
    context.hub.run(SubscribeCommand(target, "keys:1"))
    assert await client.pushes() == []
    assert client.closed is None
    assert context.hub.num_subs == 0


async def test_the_type_of_another_kind(node: Node) -> None:
    """A stream asked for as a map stays 103: it is built, and no map."""
    client = SessionClient(build(node, "map", INSECURE))
    await client.connect()
    command = {"channel": "chat:1", "type": 1, "phase": 2}
    reply = await client.reply(subscribe=command)
    assert reply["error"]["code"] == 103
    assert client.closed is None
