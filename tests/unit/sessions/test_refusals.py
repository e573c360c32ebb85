"""The lines about clients that were turned away."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.support.sessions import ONE_WAY, ManualWheel, SessionClient, make_token

from tocsin.core.channel import ChannelOptions
from tocsin.core.client_codes import FORCE_DISCONNECT, SHUTDOWN
from tocsin.protocol import client_pb2 as pb
from tocsin.sessions.context import Context
from tocsin.sessions.refusals import MOST_LINES
from tocsin.sessions.settings import SessionSettings

NOW_S = 1_800_000_000
Node = Callable[..., Context]
Line = MutableMapping[str, Any]
CLOSED = SessionSettings()
MORE = "more clients were refused or disconnected than are told one by one"


@pytest.fixture
def lines() -> Iterator[list[Line]]:
    """Everything that is written during a test."""
    with capture_logs() as written:
        yield written


REFUSALS: list[tuple[str, SessionSettings, str, int, str, str]] = [
    ("no token", CLOSED, "", 3501, "bad request", "the connect has no token"),
    (
        "malformed",
        CLOSED,
        "hush.hush",
        3500,
        "invalid token",
        "not three parts of base64url",
    ),
    (
        "bad signature",
        CLOSED,
        make_token("other", sub="hush"),
        3500,
        "invalid token",
        "signature does not fit",
    ),
    (
        "expired",
        CLOSED,
        make_token(sub="u", exp=NOW_S - 1),
        109,
        "token expired",
        "token has expired",
    ),
    (
        "nobody",
        SessionSettings(disallow_anonymous_connection_tokens=True),
        make_token(sub=""),
        3507,
        "permission denied",
        "client.disallow_anonymous_connection_tokens is set",
    ),
    (
        "too many channels",
        SessionSettings(channel_limit=1),
        make_token(channels=["a", "b"]),
        3505,
        "channel limit",
        "client.channel_limit is exceeded",
    ),
    (
        "unknown namespace",
        CLOSED,
        make_token(channels=["nope:a"]),
        102,
        "unknown channel",
        "a channel of the token has a namespace that is unknown",
    ),
]


@pytest.mark.parametrize(
    ("settings", "token", "code", "reason", "detail"),
    [row[1:] for row in REFUSALS],
    ids=[row[0] for row in REFUSALS],
)
async def test_a_refused_connect(
    node: Node,
    lines: list[Line],
    settings: SessionSettings,
    token: str,
    code: int,
    reason: str,
    detail: str,
) -> None:
    """One line says with what code and why, and shows nothing of the token."""
    client = SessionClient(node(settings))
    await client.ask(connect={"token": token})
    assert lines == [
        {
            "event": "client refused",
            "log_level": "info",
            "transport": "websocket",
            "client": client.session.client,
            "code": code,
            "reason": reason,
            "detail": detail,
        }
    ]
    assert "hush" not in str(lines)


@pytest.mark.parametrize("token", ["x", make_token(sub="u", exp=NOW_S - 1)])
async def test_a_refused_one_way_connect(
    node: Node, lines: list[Line], token: str
) -> None:
    """One line, whatever the connection is closed with."""
    client = SessionClient(node(CLOSED), ONE_WAY)
    client.session.start(pb.ConnectRequest(token=token))
    await client.take()
    assert client.closed is not None
    (line,) = lines
    assert (line["event"], line["transport"]) == ("client refused", "uni_sse")
    assert line["code"] == (3500 if token == "x" else 109)


async def test_commands_after_a_refusal_are_no_second_line(
    node: Node, lines: list[Line]
) -> None:
    """The client was told of already."""
    client = SessionClient(node(CLOSED))
    await client.ask(connect={"token": make_token(exp=NOW_S - 1)})
    await client.feed(b'{"id":2,"rpc":{}}')
    assert len(lines) == 1


async def test_the_limit_of_a_user(node: Node, lines: list[Line]) -> None:
    """Who it is is known, and which setting it was."""
    context = node(SessionSettings(user_connection_limit=1))
    token = make_token(sub="anna")
    await SessionClient(context).connect(token=token)
    await SessionClient(context).ask(connect={"token": token})
    (line,) = lines
    assert (line["user"], line["code"]) == ("anna", 3504)
    assert line["detail"] == "client.user_connection_limit is reached"


async def test_a_client_that_never_connects(
    node: Node, wheel: ManualWheel, lines: list[Line]
) -> None:
    """It is stale, and the line says what was waited for."""
    SessionClient(node(CLOSED))
    wheel.move_s(60)
    (line,) = lines
    assert (line["event"], line["code"]) == ("client refused", 3502)
    assert line["detail"] == "it sent no connect in time"


async def test_a_connection_that_the_server_ends(node: Node, lines: list[Line]) -> None:
    """Codes for good have a line, others have none."""
    context = node(CLOSED)
    first, second = SessionClient(context), SessionClient(context)
    for client in (first, second):
        await client.connect(token=make_token(sub="anna"))
    first.session.close(FORCE_DISCONNECT)
    first.session.close(FORCE_DISCONNECT)
    second.session.close(SHUTDOWN)
    assert lines == [
        {
            "event": "client disconnected",
            "log_level": "info",
            "transport": "websocket",
            "client": first.session.client,
            "code": 3503,
            "reason": "force disconnect",
            "user": "anna",
        }
    ]


async def test_a_refresh_with_a_bad_token(node: Node, lines: list[Line]) -> None:
    """The reason of the verifier is told there too."""
    client = SessionClient(node(CLOSED))
    await client.connect(token=make_token(sub="anna"))
    await client.ask(refresh={"token": make_token("other", sub="anna")})
    (line,) = lines
    assert (line["event"], line["code"]) == ("client disconnected", 3500)
    assert line["detail"] == "signature does not fit"


async def test_a_command_that_is_answered_with_an_error(
    node: Node, lines: list[Line]
) -> None:
    """At debug, with method, channel and code."""
    settings = SessionSettings(allow_anonymous_connect_without_token=True)
    client = SessionClient(node(settings, options=ChannelOptions()))
    await client.connect()
    await client.ask(subscribe={"channel": "news"})
    await client.ask(subscribe={"channel": "nope:a"})
    await client.ask(rpc={"method": "none"})
    told = [(line["method"], line["channel"], line["code"]) for line in lines]
    assert told == [
        ("subscribe", "news", 103),
        ("subscribe", "nope:a", 102),
        ("rpc", "", 108),
    ]
    assert {line["log_level"] for line in lines} == {"debug"}
    assert {line["client"] for line in lines} == {client.session.client}


async def test_a_subscription_token_that_is_refused(
    node: Node, lines: list[Line]
) -> None:
    """The client reads 103; why is in the log."""
    client = SessionClient(node(CLOSED))
    await client.connect(token=make_token(sub="anna"))
    token = make_token("other", sub="anna", channel="$a")
    await client.ask(subscribe={"channel": "$a", "token": token})
    (line,) = lines
    assert (line["code"], line["detail"]) == (103, "signature does not fit")


async def test_a_flood_of_refused_clients(
    node: Node, wheel: ManualWheel, lines: list[Line]
) -> None:
    """A window has so many lines, and one more that counts the rest."""
    context = node(CLOSED)
    for _ in range(MOST_LINES + 7):
        await SessionClient(context).ask(connect={})
    assert [line["event"] for line in lines] == ["client refused"] * MOST_LINES
    wheel.move_s(1.0)
    assert lines[MOST_LINES:] == [{"event": MORE, "log_level": "info", "left_out": 7}]
    lines.clear()
    await SessionClient(context).ask(connect={})
    assert [line["event"] for line in lines] == ["client refused"]
    wheel.move_s(9.0)
    assert MORE not in [line["event"] for line in lines]


async def test_doors_and_sessions_share_the_window(
    node: Node, wheel: ManualWheel, lines: list[Line]
) -> None:
    """It is one for the process, whichever way clients try."""
    context = node(CLOSED)
    for number in range(MOST_LINES):
        context.refusals.refuse("sse", f"10.0.0.{number}", code=403, reason="x")
    await SessionClient(context).ask(connect={})
    assert len(lines) == MOST_LINES
    wheel.move_s(1.0)
    assert lines[-1]["left_out"] == 1
