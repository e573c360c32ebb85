from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tests.support.clock import MovedClock
from tests.support.realtime import OPEN_CHANNEL
from tests.support.sessions import (
    ManualWheel,
    SessionClient,
    exposed,
    make_token,
    run_until,
)

from tocsin.core.channel import Publication, PublishOptions, StreamPosition
from tocsin.core.control import DisconnectCommand, SubscribeCommand, Target
from tocsin.sessions.context import Context
from tocsin.sessions.session import COMMANDS_AT_ONCE
from tocsin.sessions.settings import SessionSettings

Node = Callable[..., Context]
UNNAMED = "transport=websocket,accept_protocol=,client_name=unnamed"
STORED = PublishOptions(history_size=9, history_ttl_s=9)


def differing(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """How much each sample rose; times and sizes are left out."""
    return {
        name: value - before.get(name, 0)
        for name, value in after.items()
        if value != before.get(name, 0)
        and "seconds" not in name
        and "_size" not in name
    }


async def test_connections_and_subscriptions(node: Node) -> None:
    """What is in place is counted in and out, however it ends."""
    context = node()
    ways = ("unsubscribe", "lose", "close", "gap")
    for way in ways:
        client = SessionClient(context)
        await client.connect()
        await client.subscribe("a", positioned=True)
        if way == "unsubscribe":
            await client.reply(unsubscribe={"channel": "a"})
        if way == "gap":
            at = StreamPosition(9, "e")
            context.hub.on_publication("a", Publication(b"1", 9), at, None)
        if way == "close":
            context.hub.run(DisconnectCommand(Target()))
        client.session.lost()
        await context.hub.settle()
    counts = exposed(context.hub.meter)
    versionless = f"{{{UNNAMED},client_version=unversioned}}"
    assert counts[f"client_connections_accepted{versionless}"] == len(ways)
    assert counts[f"client_connections_inflight{versionless}"] == 0
    nameless = "{client_name=unnamed,channel_namespace=}"
    assert counts[f"client_subscriptions_accepted{nameless}"] == len(ways)
    assert counts[f"client_subscriptions_inflight{nameless}"] == 0
    assert counts["client_num_server_disconnects{code=3503}"] == 1
    assert counts["transport_outgoing_close_count{transport=websocket,code=3503}"] == 1
    assert counts["client_num_server_unsubscribes{code=2500,channel_namespace=}"] == 1


async def test_names_of_clients_make_no_series(node: Node) -> None:
    """What a client calls itself is not a label: it could be anything."""
    client = SessionClient(node())
    await client.connect(name="x" * 9, version="1.2")
    counts = exposed(client.context.hub.meter)
    labels = "client_name=unregistered,client_version=unregistered"
    name = (
        f"client_connections_accepted{{transport=websocket,accept_protocol=,{labels}}}"
    )
    assert counts[name] == 1


async def test_messages_by_kind(node: Node, wheel: ManualWheel) -> None:
    """Commands, replies, pushes, pings and pongs are counted by their kind."""
    context = node(options=replace(OPEN_CHANNEL, join_leave=False))
    client, other = SessionClient(context), SessionClient(context)
    await client.connect()
    await other.connect()
    await client.subscribe("a")
    await other.subscribe("a")
    before = exposed(context.hub.meter)
    await client.ask(publish={"channel": "a", "data": 1})
    await client.reply(rpc={})
    where = "transport=websocket,frame_type={},channel_namespace="
    rose = differing(before, exposed(context.hub.meter))
    publications = where.format("push_publication")
    assert rose == {
        f"transport_messages_received{{{where.format('publish')}}}": 1,
        f"transport_messages_received{{{where.format('rpc')}}}": 1,
        f"transport_messages_sent{{{where.format('publish')}}}": 1,
        f"transport_messages_sent{{{where.format('rpc')}}}": 1,
        f"transport_messages_sent{{{publications}}}": 2,
        "client_num_reply_errors{method=rpc,code=108,channel_namespace=}": 1,
        "node_messages_received_count{type=publication,channel_namespace=}": 1,
    }
    while {} not in await client.take():
        wheel.move_s(0.5)
    await client.feed(b"{}")
    counts = exposed(context.hub.meter)
    pings = f"transport_messages_sent{{{where.format('server_ping')}}}"
    pongs = f"transport_messages_received{{{where.format('client_pong')}}}"
    assert counts[pings] >= 1
    assert counts[pongs] == 1
    assert counts["client_ping_pong_duration_seconds_count{transport=websocket}"] == 1


async def test_sizes_are_what_went_over_the_wire(node: Node, clock: MovedClock) -> None:
    """Bytes sent are those of the framed messages."""
    client = SessionClient(node())
    client.session.receive(b'{"id":1,"connect":{}}')
    await client.context.hub.settle()
    written = sum(map(len, client.link.written))
    counts = exposed(client.context.hub.meter)
    where = "{transport=websocket,frame_type=connect,channel_namespace=}"
    assert counts[f"transport_messages_sent_size{where}"] == written
    assert counts[f"transport_messages_received_size{where}"] == 21


async def test_a_frame_of_many_commands_is_counted_once(node: Node) -> None:
    """Its bytes with its first command, also where it is read in several shares."""
    client = SessionClient(node())
    await client.connect()
    await client.subscribe("a")
    before = exposed(client.context.hub.meter)
    frame = b'{"id":5,"presence_stats":{"channel":"a"}}\n' * (2 * COMMANDS_AT_ONCE)
    client.session.receive(frame)
    await run_until(lambda: len(client.link.written) == 2 * COMMANDS_AT_ONCE)
    where = "{transport=websocket,frame_type=presence_stats,channel_namespace=}"
    after = exposed(client.context.hub.meter)
    name = f"transport_messages_received_size{where}"
    assert after[name] - before.get(name, 0) == len(frame)


async def test_commands_are_timed(node: Node) -> None:
    """Those of the client by their name; orders of the server are none."""
    client = SessionClient(node())
    await client.connect()
    target = Target(client=client.session.client)
    client.context.hub.run(SubscribeCommand(target, "a"))
    await client.reply(publish={"channel": "a", "data": 1})
    counts = exposed(client.context.hub.meter)
    name, labels = "client_command_duration_seconds", "{{method={},channel_namespace=}}"
    found = {key for key in counts if key.startswith(f"{name}_count")}
    methods = ("connect", "publish")
    assert found == {f"{name}_count{labels.format(each)}" for each in methods}
    for each in methods:
        assert counts[f"{name}_count{labels.format(each)}"] == 1
        assert 0 < counts[f"{name}_sum{labels.format(each)}"] < 10


async def test_recovery_is_counted(node: Node) -> None:
    """Attempts to recover, by whether they brought everything."""
    context = node()
    await context.broker.publish("a", b"1", STORED)
    for epoch in ("", "gone"):
        client = SessionClient(context)
        await client.connect()
        await client.subscribe("a", recoverable=True, recover=True, epoch=epoch)
    counts = exposed(context.hub.meter)
    tail = "channel_namespace=,has_recovered_publications"
    for answer in ("yes", "no"):
        assert counts[f"client_recover{{recovered={answer},{tail}={answer}}}"] == 1


async def test_refused_connects_are_no_connections(node: Node) -> None:
    """Who is not let in is an error or a disconnect, and not a connection."""
    context = node(SessionSettings())
    client = SessionClient(context)
    await client.ask(connect={"token": make_token(sub="u", exp=1)})
    counts = exposed(context.hub.meter)
    assert counts["client_num_reply_errors{method=connect,code=109,channel_namespace=}"]
    assert not [name for name in counts if name.startswith("client_connections")]
