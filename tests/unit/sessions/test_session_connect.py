from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.support.clock import MovedClock
from tests.support.sessions import (
    EMULATED,
    ONE_WAY,
    TWO_WAY_PROTOBUF,
    ManualWheel,
    SessionClient,
    make_token,
)

from tocsin.core.channel import ChannelOptions
from tocsin.core.client_codes import Disconnect
from tocsin.core.control import RefreshCommand, Target
from tocsin.protocol import client_pb2 as pb
from tocsin.sessions.context import Context
from tocsin.sessions.settings import SessionSettings

NOW_S = 1_800_000_000
Node = Callable[..., Context]
CLOSED = SessionSettings()


async def test_result_of_connect(node: Node) -> None:
    """A connect is answered with client id, version and the rhythm of pings."""
    result = await SessionClient(node()).connect()
    assert len(result.pop("client")) == 36
    assert result == {"version": "0.0.0 OSS", "ping": 25, "pong": True}


async def test_server_time_on_request_of_the_operator(node: Node) -> None:
    """The server's time is told where it is switched on."""
    settings = SessionSettings(insecure=True, connect_include_server_time=True)
    result = await SessionClient(node(settings)).connect()
    assert result["time"] == NOW_S * 1000


async def test_pings_can_be_off(node: Node) -> None:
    """Without pings the result says nothing of them."""
    settings = SessionSettings(insecure=True, ping_interval_s=0)
    result = await SessionClient(node(settings)).connect()
    assert "ping" not in result
    assert "pong" not in result


async def test_emulated_transports_learn_session_and_node(node: Node) -> None:
    """Emulation needs a session id and the node that keeps it."""
    client = SessionClient(node(), EMULATED)
    result = await client.connect()
    assert result["session"] == client.session.session
    assert result["node"] == "node-1"
    assert client.context.hub.find_session(result["session"]) is client.session


async def test_a_bug_in_a_connect_ends_the_connection(node: Node) -> None:
    """What nobody foresaw: without a connection there is nobody to answer."""

    class Broken:
        async def verify_connection(self, token: str) -> Any:
            raise RuntimeError("a bug")

        async def verify_subscription(self, token: str) -> Any:
            raise RuntimeError("a bug")

    context = node(CLOSED)
    context.channels.authorizer.verifier = Broken()
    client = SessionClient(context)
    await client.ask(connect={"token": "t"})
    assert client.closed == (3004, "internal server error")
    assert context.hub.num_clients == 0


REFUSALS: list[tuple[str, SessionSettings, dict[str, Any], Any]] = [
    ("no token", CLOSED, {}, (3501, "bad request")),
    ("malformed", CLOSED, {"token": "x"}, (3500, "invalid token")),
    (
        "bad signature",
        CLOSED,
        {"token": make_token("other", sub="u")},
        (3500, "invalid token"),
    ),
    (
        "a subscription token",
        CLOSED,
        {"token": make_token(sub="u", channel="c")},
        (
            3500,
            "invalid token: a connection token must not have a channel claim",
        ),
    ),
    (
        "nobody's token",
        SessionSettings(disallow_anonymous_connection_tokens=True),
        {"token": make_token(sub="")},
        (3507, "permission denied"),
    ),
    ("expired", CLOSED, {"token": make_token(sub="u", exp=NOW_S - 1)}, 109),
    (
        "expire_at is past",
        CLOSED,
        {"token": make_token(sub="u", exp=NOW_S + 9, expire_at=NOW_S - 9)},
        110,
    ),
    (
        "unknown namespace in the token",
        CLOSED,
        {"token": make_token(sub="u", channels=["nope:a"])},
        102,
    ),
    (
        "unknown namespace asked for",
        SessionSettings(insecure=True),
        {"subs": {"nope:a": {}}},
        (3501, "bad request"),
    ),
    (
        "too many channels",
        SessionSettings(channel_limit=1),
        {"token": make_token(sub="u", channels=["a", "b"])},
        (3505, "channel limit"),
    ),
]


@pytest.mark.parametrize(
    ("settings", "request_", "expected"),
    [row[1:] for row in REFUSALS],
    ids=[row[0] for row in REFUSALS],
)
async def test_refused_connects(
    node: Node, settings: SessionSettings, request_: dict[str, Any], expected: Any
) -> None:
    """Each reason not to let a client in has its published code."""
    client = SessionClient(node(settings))
    messages = await client.ask(connect=request_)
    if isinstance(expected, tuple):
        assert client.closed == expected
        assert not messages
    else:
        assert messages[0]["error"]["code"] == expected
        assert client.closed is None
    assert client.context.hub.num_clients == 0


async def test_after_an_error_reply_a_websocket_is_ended_without_code(
    node: Node, wheel: ManualWheel
) -> None:
    """Nothing more is read after a refused connect; the socket ends after 5 s."""
    client = SessionClient(node(CLOSED))
    token = make_token(sub="u", exp=NOW_S - 1)
    await client.ask(connect={"token": token})
    assert await client.ask(connect={"token": make_token(sub="u")}) == []
    wheel.move_s(5.1)
    assert client.link.ended
    assert client.closed is None


async def test_after_an_error_reply_an_emulated_client_is_told_3501(
    node: Node,
) -> None:
    """On emulated transports the next command after a refused connect is wrong."""
    client = SessionClient(node(CLOSED), EMULATED)
    await client.ask(connect={"token": make_token(sub="u", exp=NOW_S - 1)})
    found = client.context.hub.find_session(client.session.session)
    assert found is client.session
    await client.ask(connect={})
    assert client.closed == (3501, "bad request")


async def test_what_came_with_a_refused_connect_is_the_next_command(
    node: Node,
) -> None:
    """It was sent before the refusal was known, and is wrong all the same."""
    client = SessionClient(node(CLOSED), EMULATED)
    token = make_token(sub="u", exp=NOW_S - 1)
    connect = json.dumps({"id": 1, "connect": {"token": token}}).encode()
    (reply, *_) = await client.feed(connect + b'\n{"id":2,"rpc":{}}')
    assert (reply["id"], reply["error"]["code"]) == (1, 109)
    assert client.closed == (3501, "bad request")


async def test_after_an_error_reply_an_emulated_client_goes_stale(
    node: Node, wheel: ManualWheel
) -> None:
    """On emulated transports a refused client that stays silent is stale."""
    client = SessionClient(node(CLOSED), EMULATED)
    await client.ask(connect={"token": make_token(sub="u", exp=NOW_S - 1)})
    wheel.move_s(10.1)
    assert client.closed == (3502, "stale")


@pytest.mark.parametrize(
    ("settings", "header", "token", "user"),
    [
        (SessionSettings(insecure=True), "h", "", ""),
        (SessionSettings(allow_anonymous_connect_without_token=True), "h", "", ""),
        (CLOSED, "h", "", "h"),
        (CLOSED, "h", make_token(sub="t"), "t"),
        (SessionSettings(insecure=True), "", make_token(sub="t"), "t"),
    ],
)
async def test_who_the_user_is(
    node: Node, settings: SessionSettings, header: str, token: str, user: str
) -> None:
    """A token comes first, then open modes, then the trusted header."""
    client = SessionClient(node(settings), header_user=header)
    await client.connect(**({"token": token} if token else {}))
    assert client.session.user == user
    assert client.context.hub.count_user(user) == 1


async def test_a_header_that_is_no_text(node: Node) -> None:
    """Bytes that are no UTF-8 are nobody's name."""
    client = SessionClient(node(SessionSettings()), header_user="a\udcff")
    await client.ask(connect={})
    assert client.closed == (3501, "bad request")


async def test_insecure_still_verifies_a_token(node: Node) -> None:
    """An open node refuses a bad token all the same."""
    client = SessionClient(node())
    await client.ask(connect={"token": "x"})
    assert client.closed == (3500, "invalid token")


async def test_insecure_ignores_expiry(node: Node) -> None:
    """On an open node a connection does not expire."""
    token = make_token(sub="u", exp=NOW_S + 60)
    client = SessionClient(node())
    assert "expires" not in await client.connect(token=token)
    assert await client.reply(refresh={"token": token}) == {"refresh": {}}


async def test_user_connection_limit(node: Node) -> None:
    """A user's connections on a node are counted; nobody's are not."""
    context = node(
        SessionSettings(
            user_connection_limit=1, allow_anonymous_connect_without_token=True
        )
    )
    token = make_token(sub="u")
    await SessionClient(context).connect(token=token)
    for _ in range(2):
        await SessionClient(context).connect()
    second = SessionClient(context)
    await second.ask(connect={"token": token})
    assert second.closed == (3504, "connection limit")


async def test_single_connection_closes_the_others(node: Node) -> None:
    """Where a user has one connection, the newest one wins."""
    context = node(SessionSettings(single_connection=True))
    token = make_token(sub="u")
    first, other = SessionClient(context), SessionClient(context)
    await first.connect(token=token)
    await other.connect(token=make_token(sub="v"))
    second = SessionClient(context)
    await second.connect(token=token)
    assert first.closed == (3504, "connection limit")
    assert second.closed is None
    assert other.closed is None


async def test_a_node_that_shuts_down_takes_nobody(node: Node) -> None:
    """During shutdown a connect is sent to another node."""
    context = node()
    client = SessionClient(context)
    await context.hub.close()
    await client.ask(connect={})
    assert client.closed == (3001, "shutdown")


# --- server-side subscriptions at connect ---


async def test_channels_of_the_token(node: Node) -> None:
    """Channels in a connection token are subscribed in the connect reply."""
    context = node(CLOSED, options=ChannelOptions(history_size=9, history_ttl=9))
    client = SessionClient(context)
    result = await client.connect(token=make_token(sub="u", channels=["a", "b"]))
    assert result["subs"] == {"a": {}, "b": {}}
    await context.broker.publish("a", b'"x"', _plain())
    assert await client.publications() == ["x"]


async def test_subs_of_the_token_override_options_and_win_over_channels(
    node: Node,
) -> None:
    """`subs` may change the namespace's options and carry data and info."""
    options = ChannelOptions(history_size=9, history_ttl=9)
    context = node(CLOSED, options=options)
    client = SessionClient(context)
    token = make_token(
        sub="u",
        channels=["ignored"],
        subs={
            "a": {
                "data": {"hello": 1},
                "info": {"role": "x"},
                "override": {
                    "force_recovery": {"value": True},
                    "presence": {"value": True},
                },
            }
        },
    )
    subs = (await client.connect(token=token))["subs"]
    epoch = subs["a"].pop("epoch")
    assert epoch
    assert subs == {
        "a": {"recoverable": True, "positioned": True, "data": {"hello": 1}}
    }
    present = await context.presence.fetch("a")
    assert [info.chan_info for info in present.values()] == [b'{"role": "x"}']


async def test_server_side_recovery_at_connect(node: Node) -> None:
    """Positions in the connect request recover server-side subscriptions."""
    options = ChannelOptions(history_size=9, history_ttl=9, force_recovery=True)
    context = node(CLOSED, options=options)
    publish = _plain(history_size=9, history_ttl_s=9)
    await context.broker.publish("a", b"1", publish)
    await context.broker.publish("a", b"2", publish)
    client = SessionClient(context)
    result = await client.connect(
        token=make_token(sub="u", channels=["a"]),
        subs={"a": {"recover": True, "offset": 1}},
    )
    sub = result["subs"]["a"]
    assert sub["recovered"]
    assert sub["publications"] == [{"data": 2, "offset": 2}]


async def test_personal_channel(node: Node) -> None:
    """A user with a personal channel gets it without asking; nobody does not."""
    context = node(
        SessionSettings(allow_anonymous_connect_without_token=True),
        options=ChannelOptions(),
        personal=True,
    )
    result = await SessionClient(context).connect(token=make_token(sub="42"))
    assert list(result["subs"]) == ["#42"]
    assert "subs" not in await SessionClient(context).connect()


async def test_requested_channels_need_permission(node: Node) -> None:
    """A channel asked for at connect is given where clients may subscribe."""
    context = node(
        SessionSettings(allow_anonymous_connect_without_token=True),
        options=ChannelOptions(),
        namespaces={
            "open": ChannelOptions(
                allow_subscribe_for_client=True, allow_subscribe_for_anonymous=True
            )
        },
    )
    result = await SessionClient(context).connect(subs={"shut": {}, "open:a": {}})
    assert list(result["subs"]) == ["open:a"]


# --- one-way clients ---


async def test_one_way_connect_is_a_push(node: Node) -> None:
    """A one-way client gets its connect result as the first push, unwrapped."""
    client = SessionClient(node(), ONE_WAY)
    client.session.start(pb.ConnectRequest(subs={"a": pb.SubscribeRequest()}))
    (push,) = [each for each in await client.take() if "connect" in each]
    assert push["connect"]["session"] == client.session.session
    assert "pong" not in push["connect"]
    assert "node" not in push["connect"]
    assert push["connect"]["ping"] == 25
    await client.context.broker.publish("a", b"1", _plain())
    (push,) = await client.take()
    assert push == {"channel": "a", "pub": {"data": 1}}


@pytest.mark.parametrize(
    ("request_", "settings", "expected"),
    [
        ({"token": make_token(sub="u", exp=NOW_S - 1)}, CLOSED, 3005),
        (
            {"token": make_token(sub="u", exp=NOW_S + 9, expire_at=NOW_S - 9)},
            CLOSED,
            3005,
        ),
        ({"token": make_token(sub="u", channels=["x:y"])}, CLOSED, 3004),
        ({"token": "x"}, CLOSED, 3500),
        (
            {"token": make_token(sub="u", exp=NOW_S - 1)},
            SessionSettings(uni_disconnects={109: Disconnect(4001, "renew")}),
            4001,
        ),
    ],
)
async def test_one_way_refusals_become_disconnect_pushes(
    node: Node, request_: dict[str, Any], settings: SessionSettings, expected: int
) -> None:
    """A one-way client is told by a disconnect push why it may not connect."""
    client = SessionClient(node(settings), ONE_WAY)
    client.session.start(pb.ConnectRequest(**request_))
    (push,) = await client.take()
    assert push["disconnect"]["code"] == expected
    assert client.closed is not None
    assert client.closed[0] == expected


# --- expiry and refresh ---


async def test_expiry_of_the_connection(node: Node, wheel: ManualWheel) -> None:
    """An expired connection is closed after the grace time, not before."""
    client = SessionClient(node(SessionSettings(ping_interval_s=0)))
    result = await client.connect(token=make_token(sub="u", exp=NOW_S + 60))
    assert result["expires"] is True
    assert result["ttl"] == 60
    wheel.move_s(84)
    assert client.closed is None
    wheel.move_s(2)
    assert client.closed == (3005, "connection expired")


async def test_a_ttl_is_a_year_at_most(node: Node) -> None:
    """Whatever the token says, a client refreshes once a year."""
    client = SessionClient(node(CLOSED))
    token = make_token(sub="u", exp=NOW_S + 10**9)
    assert (await client.connect(token=token))["ttl"] == 365 * 24 * 3600


async def test_refresh_moves_the_expiry(node: Node, wheel: ManualWheel) -> None:
    """A newer token of the same user keeps the connection."""
    client = SessionClient(node(SessionSettings(ping_interval_s=0)))
    await client.connect(token=make_token(sub="u", exp=NOW_S + 60))
    token = make_token(sub="u", exp=NOW_S + 600)
    assert await client.reply(refresh={"token": token}) == {
        "refresh": {"expires": True, "ttl": 600}
    }
    wheel.move_s(120)
    assert client.closed is None
    assert await client.reply(refresh={"token": make_token(sub="u")}) == {"refresh": {}}
    wheel.move_s(3600)
    assert client.closed is None


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        ("", (3501, "bad request")),
        ("x", (3500, "invalid token")),
        (
            make_token(sub="other"),
            (3500, "invalid token: it is another user's"),
        ),
        (make_token(sub="u", exp=NOW_S - 1), (3005, "connection expired")),
        (make_token(sub="u", channels=["a"]), (3010, "insufficient state")),
    ],
)
async def test_refused_refreshes(
    node: Node, token: str, expected: tuple[int, str]
) -> None:
    """Every wrong refresh ends the connection with its code."""
    client = SessionClient(node(CLOSED))
    await client.connect(token=make_token(sub="u", exp=NOW_S + 60))
    await client.ask(refresh={"token": token})
    assert client.closed == expected


def _refresh(**values: Any) -> RefreshCommand:
    return RefreshCommand(Target(user="u"), **values)


@pytest.mark.parametrize(
    ("command", "push", "closed"),
    [
        (_refresh(), {"refresh": {}}, None),
        (
            _refresh(expire_at=NOW_S + 30, info=b'{"a":1}'),
            {"refresh": {"expires": True, "ttl": 30}},
            None,
        ),
        (_refresh(expire_at=NOW_S - 1), None, (3005, "connection expired")),
        (_refresh(expire_at=-1), None, (3005, "connection expired")),
        (_refresh(expired=True), None, (3005, "connection expired")),
    ],
)
async def test_refresh_by_the_server(
    node: Node,
    command: RefreshCommand,
    push: dict[str, Any] | None,
    closed: tuple[int, str] | None,
) -> None:
    """The server API moves or ends an expiry, and the client is told."""
    client = SessionClient(node(CLOSED))
    await client.connect(token=make_token(sub="u"))
    client.context.hub.run(command)
    assert await client.pushes() == ([push] if push else [])
    assert client.closed == closed
    if command.info:
        assert client.session.info == command.info


# --- pings, pongs, and clients that do nothing ---


async def test_ping_and_pong(connected: SessionClient, wheel: ManualWheel) -> None:
    """The server pings within an interval and takes the client's pong."""
    pings = 0
    for _ in range(100):
        wheel.move_s(1)
        if {} in await connected.take():
            pings += 1
            await connected.feed(b"{}")
    assert connected.closed is None
    assert pings in {4, 5, 6, 7}


async def test_no_pong(connected: SessionClient, wheel: ManualWheel) -> None:
    """A client that does not answer a ping is closed."""
    wheel.move_s(33.5)
    assert connected.closed == (3012, "no pong")


async def test_a_pong_without_ping_is_wrong(connected: SessionClient) -> None:
    """A pong that nobody asked for ends the connection."""
    await connected.feed(b"{}")
    assert connected.closed == (3501, "bad request")


async def test_protobuf_ping_is_an_empty_message(
    node: Node, wheel: ManualWheel
) -> None:
    """In Protobuf a ping is a message of no bytes."""
    client = SessionClient(node(), TWO_WAY_PROTOBUF)
    command = pb.Command(id=1, connect=pb.ConnectRequest()).SerializeToString()
    (reply,) = await client.feed(bytes((len(command),)) + command)
    assert reply["connect"]["client"]
    while not client.link.written:
        wheel.move_s(1)
    assert client.link.written == [b"\0"]
    await client.feed(b"\0")
    assert client.closed is None


async def test_one_way_clients_are_pinged_and_never_asked(
    node: Node, wheel: ManualWheel
) -> None:
    """A one-way client cannot answer a ping, so no pong is missed."""
    client = SessionClient(node(), ONE_WAY)
    client.session.start(pb.ConnectRequest())
    await client.take()
    wheel.move_s(120)
    assert client.closed is None
    assert (await client.take()).count({}) >= 4


async def test_stale_clients_are_closed(node: Node, wheel: ManualWheel) -> None:
    """Who does not connect in time is stale."""
    client = SessionClient(node())
    wheel.move_s(9.9)
    assert client.closed is None
    wheel.move_s(0.2)
    assert client.closed == (3502, "stale")


async def test_latency_is_measured(
    connected: SessionClient, wheel: ManualWheel, clock: MovedClock
) -> None:
    """The time between ping and pong is told to the server API."""
    while not connected.link.written:
        wheel.move_s(0.1)
    wheel.move_s(0.25)
    await connected.feed(b"{}")
    described = connected.session.describe()
    assert described["ping_pong_latency_ms"] == pytest.approx(300, abs=60)
    assert described["transport"] == "websocket"
    assert described["protocol"] == "json"


def _plain(**options: Any) -> Any:
    from tocsin.core.channel import PublishOptions

    return PublishOptions(**options)
