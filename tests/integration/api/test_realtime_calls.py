"""Every parameter and result of the second seed document, through both doors."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import grpc
import pytest
from tests.support.api import WITH_KEY, World, calling, serving
from tests.support.channels import AwayBroker, Corridor, connection
from tests.support.http_api import serving_http
from tests.support.realtime import OPEN_CHANNEL

from tocsin.api.methods.table import COMMANDS
from tocsin.core.channel import ClientInfo, Publication, PublishOptions, StreamPosition
from tocsin.core.client_codes import FORCE_DISCONNECT, Disconnect
from tocsin.core.control import (
    DisconnectCommand,
    RefreshCommand,
    SubscribeCommand,
    Target,
    UnsubscribeCommand,
)
from tocsin.protocol.json_codec import SERVER

Send = Callable[[str, Any], Awaitable[Any]]

DOORS = ["grpc", "http", "legacy", "batch"]


@asynccontextmanager
async def opened(door: str, corridor: Corridor) -> AsyncIterator[Send]:
    """A way to send commands as JSON; answers have `result` or `error`."""
    world = World()
    world.services = replace(world.services, realtime=corridor.services)
    if door == "grpc":
        async with serving(world) as server, calling(server) as stub:
            yield lambda name, params: send_grpc(stub, name, params)
        return
    async with serving_http(world) as http:

        async def send(name: str, params: Any) -> Any:
            if door == "http":
                return (await http.send(f"/api/{name}", params)).json
            if door == "legacy":
                command = {"method": name, "params": params}
                return (await http.send("/api", command)).json
            answer = await http.send("/api/batch", {"commands": [{name: params}]})
            (reply,) = answer.json["replies"]
            return reply if "error" in reply else {"result": reply[name]}

        yield send


async def send_grpc(stub: Any, name: str, params: Any) -> Any:
    command = COMMANDS[name]
    text = json.dumps(params, separators=(",", ":")).encode()
    request = SERVER.read(command.request_class, text)
    response = await getattr(stub, command.rpc)(request, metadata=WITH_KEY)
    return json.loads(SERVER.write(response))


@pytest.fixture(params=DOORS)
def door(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


async def test_publish_with_every_parameter(door: str) -> None:
    """channel, data, skip_history, tags, b64data, idempotency, delta and versions."""
    corridor = Corridor()
    await corridor.hear("x", "kept:1")
    async with opened(door, corridor) as send:
        nothing: dict[str, Any] = {"result": {}}
        assert await send("publish", {"channel": "x", "data": {"text": "hello"}}) == (
            nothing
        )
        first = await send("publish", {"channel": "kept:1", "data": 1})
        epoch = first["result"]["epoch"]
        assert first == {"result": {"offset": 1, "epoch": epoch}}
        skipped = {"channel": "kept:1", "data": 2, "skip_history": True}
        assert await send("publish", skipped) == nothing
        told = {
            "channel": "kept:1",
            "data": 3,
            "tags": {"a": "b"},
            "idempotency_key": "k",
            "delta": True,
            "version": 5,
            "version_epoch": "v",
        }
        second = {"result": {"offset": 2, "epoch": epoch}}
        assert await send("publish", told) == second
        assert await send("publish", told) == second
        old = {"channel": "kept:1", "data": 4, "version": 5, "version_epoch": "v"}
        assert await send("publish", old) == second
        newer = {**old, "version_epoch": "w"}
        assert (await send("publish", newer))["result"]["offset"] == 3
        raw = {"channel": "x", "b64data": base64.b64encode(b"\x00\xff").decode()}
        assert await send("publish", raw) == nothing
    heard = corridor.heard.publications
    assert [(channel, each.data) for channel, each, _ in heard] == [
        ("x", b'{"text":"hello"}'),
        ("kept:1", b"1"),
        ("kept:1", b"2"),
        ("kept:1", b"3"),
        ("kept:1", b"4"),
        ("x", b"\x00\xff"),
    ]
    assert heard[3][1].tags == {"a": "b"}
    assert (heard[3][1].version, heard[3][2]) == (5, b"1")
    assert corridor.suppressed == [("idempotency", "kept:1"), ("version", "kept:1")]


async def test_broadcast_with_every_parameter(door: str) -> None:
    """One answer for each channel; the same key is one key for each."""
    corridor = Corridor()
    await corridor.hear("x", "kept:1", "kept:2")
    params: dict[str, Any] = {
        "channels": ["x", "kept:1", "no:1", "", "kept:2"],
        "data": {"text": "hello"},
        "tags": {"a": "b"},
        "idempotency_key": "k",
        "delta": True,
        "version": 1,
        "version_epoch": "e",
    }
    async with opened(door, corridor) as send:
        for _ in range(2):
            answer = await send("broadcast", params)
            responses = answer["result"]["responses"]
            assert responses[0] == {"result": {}}
            assert responses[1]["result"]["offset"] == 1
            assert responses[2]["error"]["code"] == 102
            assert responses[3]["error"]["code"] == 107
            assert responses[4]["result"]["offset"] == 1
        assert len(corridor.heard.publications) == 3
        assert corridor.heard.publications[1][1].tags == {"a": "b"}
        skipped = {"channels": ["kept:1"], "b64data": "AA==", "skip_history": True}
        answer = await send("broadcast", skipped)
        assert answer == {"result": {"responses": [{"result": {}}]}}
    assert corridor.heard.publications[-1][1].data == b"\x00"


EVERYBODY = {
    "user": "u",
    "client": "c",
    "session": "s",
    "all_users": True,
    "label_filter": {
        "op": "and",
        "nodes": [
            {"key": "plan", "cmp": "eq", "val": "pro"},
            {"key": "age", "cmp": "in", "vals": ["1", "2"]},
        ],
    },
}
TARGET = Target(
    "u",
    "c",
    "s",
    True,
    {
        "op": "and",
        "key": "",
        "cmp": "",
        "val": "",
        "vals": [],
        "nodes": [
            {
                "op": "",
                "key": "plan",
                "cmp": "eq",
                "val": "pro",
                "vals": [],
                "nodes": [],
            },
            {
                "op": "",
                "key": "age",
                "cmp": "in",
                "val": "",
                "vals": ["1", "2"],
                "nodes": [],
            },
        ],
    },
)
COMMANDS_OUT: list[tuple[str, dict[str, Any], Any]] = [
    (
        "subscribe",
        {"user": "u", "channel": "x"},
        SubscribeCommand(Target("u"), "x"),
    ),
    (
        "subscribe",
        {
            **EVERYBODY,
            "channel": "kept:1",
            "info": {"i": 1},
            "data": {"d": 1},
            "expire_at": 4_000_000_000,
            "recover_since": {"offset": 7, "epoch": "e"},
            "override": {
                "presence": {"value": True},
                "join_leave": {"value": False},
                "force_push_join_leave": {"value": True},
                "force_positioning": {},
                "force_recovery": {"value": True},
            },
        },
        SubscribeCommand(
            TARGET,
            "kept:1",
            info=b'{"i":1}',
            data=b'{"d":1}',
            expire_at=4_000_000_000,
            recover_since=StreamPosition(7, "e"),
            overrides={
                "presence": True,
                "join_leave": False,
                "force_push_join_leave": True,
                "force_positioning": False,
                "force_recovery": True,
            },
        ),
    ),
    (
        "subscribe",
        {"channel": "x", "b64info": "AA==", "b64data": "AQ==", "recover_since": {}},
        SubscribeCommand(
            Target(), "x", info=b"\x00", data=b"\x01", recover_since=StreamPosition()
        ),
    ),
    (
        "unsubscribe",
        {"user": "u", "channel": "x"},
        UnsubscribeCommand(Target("u"), "x"),
    ),
    ("unsubscribe", {**EVERYBODY, "channel": ""}, UnsubscribeCommand(TARGET, "")),
    ("disconnect", {"user": "u"}, DisconnectCommand(Target("u"), FORCE_DISCONNECT)),
    (
        "disconnect",
        {"user": "u", "disconnect": {}},
        DisconnectCommand(Target("u"), Disconnect(0, "")),
    ),
    (
        "disconnect",
        {
            **EVERYBODY,
            "whitelist": ["a", "b"],
            "disconnect": {"code": 4321, "reason": "why"},
        },
        DisconnectCommand(TARGET, Disconnect(4321, "why"), ("a", "b")),
    ),
    (
        "disconnect",
        {"disconnect": {"code": 65_535, "reason": "why" * 1000}},
        DisconnectCommand(Target(), Disconnect(65_535, "why" * 1000)),
    ),
    ("refresh", {"user": "u"}, RefreshCommand(Target("u"))),
    (
        "refresh",
        {**EVERYBODY, "expired": True, "expire_at": 5, "info": {"i": 1}},
        RefreshCommand(TARGET, expired=True, expire_at=5, info=b'{"i":1}'),
    ),
]


@pytest.mark.parametrize(("name", "params", "command"), COMMANDS_OUT, ids=str)
async def test_commands_to_connections(
    door: str, name: str, params: dict[str, Any], command: Any
) -> None:
    """Each parameter arrives; the answer is an empty object."""
    corridor = Corridor()
    async with opened(door, corridor) as send:
        assert await send(name, params) == {"result": {}}
    assert corridor.node.commands == [command]


async def test_presence_and_its_numbers(door: str) -> None:
    """Infos only where they are set; an empty channel is an empty object."""
    corridor = Corridor()
    async with opened(door, corridor) as send:
        empty: dict[str, Any] = {"presence": {}}
        assert await send("presence", {"channel": "seen:1"}) == {"result": empty}
        zeros = {"num_clients": 0, "num_users": 0}
        assert await send("presence_stats", {"channel": "seen:1"}) == {"result": zeros}
        for info in (
            ClientInfo("42", "c1", b'{"a":1}', b'{"b":2}'),
            ClientInfo("42", "c2"),
            ClientInfo("", "c3"),
        ):
            await corridor.presence.add("seen:1", info)
        answer = await send("presence", {"channel": "seen:1"})
        assert answer["result"]["presence"] == {
            "c1": {
                "user": "42",
                "client": "c1",
                "conn_info": {"a": 1},
                "chan_info": {"b": 2},
            },
            "c2": {"user": "42", "client": "c2"},
            "c3": {"user": "", "client": "c3"},
        }
        stats = {"num_clients": 3, "num_users": 2}
        assert await send("presence_stats", {"channel": "seen:1"}) == {"result": stats}


HISTORY: list[tuple[dict[str, Any], list[int]]] = [
    ({}, []),
    ({"limit": 0}, []),
    ({"limit": 2}, [1, 2]),
    ({"limit": -1}, [1, 2, 3, 4]),
    ({"limit": 2, "reverse": True}, [4, 3]),
    ({"limit": -1, "since": {"offset": 2}}, [3, 4]),
    ({"limit": -1, "since": {"offset": 2, "epoch": "EPOCH"}}, [3, 4]),
    ({"limit": 5, "since": {"offset": 3}, "reverse": True}, [2, 1]),
    ({"limit": 5, "since": {"offset": 99}}, []),
]


@pytest.mark.parametrize(("params", "offsets"), HISTORY, ids=str)
async def test_history_with_every_parameter(
    door: str, params: dict[str, Any], offsets: list[int]
) -> None:
    """The position is always the stream's top."""
    corridor = Corridor()
    async with opened(door, corridor) as send:
        epoch = ""
        for number in range(1, 5):
            answer = await send("publish", {"channel": "kept:1", "data": number})
            epoch = answer["result"]["epoch"]
        text = json.dumps(params).replace("EPOCH", epoch)
        answer = await send("history", {"channel": "kept:1", **json.loads(text)})
        result = answer["result"]
        assert (result["offset"], result["epoch"]) == (4, epoch)
        assert [each["offset"] for each in result["publications"]] == offsets
        assert [each["data"] for each in result["publications"]] == offsets


async def test_what_a_publication_of_history_holds(door: str) -> None:
    """data, offset, tags, and who published it where a client did."""
    corridor = Corridor()
    options = PublishOptions(
        history_size=5,
        history_ttl_s=60,
        tags={"a": "b"},
        info=ClientInfo("u", "c", b'{"x":1}', b"2"),
    )
    async with opened(door, corridor) as send:
        await corridor.broker.publish("kept:1", b'{"text": "hello"}', options)
        answer = await send("history", {"channel": "kept:1", "limit": 1})
        assert answer["result"]["publications"] == [
            {
                "data": {"text": "hello"},
                "info": {
                    "user": "u",
                    "client": "c",
                    "conn_info": {"x": 1},
                    "chan_info": 2,
                },
                "offset": 1,
                "tags": {"a": "b"},
            }
        ]


async def test_removed_history_keeps_its_position(door: str) -> None:
    """Who is subscribed need not recover."""
    corridor = Corridor()
    async with opened(door, corridor) as send:
        published = await send("publish", {"channel": "kept:1", "data": 1})
        assert await send("history_remove", {"channel": "kept:1"}) == {"result": {}}
        after = await send("history", {"channel": "kept:1", "limit": -1})
        assert after["result"] == {**published["result"], "publications": []}


async def test_a_channel_that_was_never_published_to_has_a_position(door: str) -> None:
    """Its epoch is made, and remembered."""
    async with opened(door, Corridor()) as send:
        first = await send("history", {"channel": "kept:1"})
        assert first["result"]["offset"] == 0
        assert first["result"]["epoch"]
        assert await send("history", {"channel": "kept:1"}) == first


async def test_channels_with_and_without_pattern(door: str) -> None:
    """Connections by channel."""
    corridor = Corridor()
    async with opened(door, corridor) as send:
        assert await send("channels", {}) == {"result": {"channels": {}}}
        corridor.node.subscribers = {"chat:1": 2, "news": 1}
        assert await send("channels", {}) == {
            "result": {
                "channels": {"chat:1": {"num_clients": 2}, "news": {"num_clients": 1}}
            }
        }
        answer = await send("channels", {"pattern": "{chat,x}:*"})
        assert answer["result"]["channels"] == {"chat:1": {"num_clients": 2}}


async def test_info_tells_of_every_node(door: str) -> None:
    """Metrics with their interval, or neither."""
    corridor = Corridor()
    node = {
        "uid": "node-uid",
        "name": "node-name",
        "version": "1.2.3 OSS",
        "num_clients": 4,
        "num_users": 3,
        "num_subs": 2,
        "num_channels": 1,
        "uptime": 7,
    }
    async with opened(door, corridor) as send:
        assert await send("info", {}) == {"result": {"nodes": [node]}}
        corridor.node.metrics = {"node.num": 1.5}
        answer = await send("info", {})
        metrics = {"interval": 60, "items": {"node.num": 1.5}}
        assert answer["result"]["nodes"] == [{**node, "metrics": metrics}]


async def test_connections_of_a_user(door: str) -> None:
    """With channels, tokens and what the client said of itself."""
    corridor = Corridor()
    told = {
        "app_name": "js",
        "app_version": "1",
        "transport": "websocket",
        "protocol": "json",
        "connected_at_ms": 5,
        "ping_pong_latency_ms": 6,
        "labels": {"plan": "pro"},
    }
    corridor.node.connections = {
        "c1": connection(
            "u", uid="t", issued_at=7, subscription_tokens={"a": ("s", 8)}, **told
        ),
        "c2": connection("v"),
    }
    async with opened(door, corridor) as send:
        answer = await send("connections", {"user": "u"})
        assert answer["result"]["connections"] == {
            "c1": {
                **told,
                "user": "u",
                "state": {
                    "channels": {"news": {"source": 1}},
                    "connection_token": {"uid": "t", "issued_at": 7},
                    "subscription_tokens": {"a": {"uid": "s", "issued_at": 8}},
                    "meta": {"m": 1},
                },
            }
        }
        tree = {"key": "plan", "cmp": "ex"}
        answer = await send("connections", {"label_filter": tree})
        assert list(answer["result"]["connections"]) == ["c1"]


async def test_statuses_of_users(door: str) -> None:
    """Set, read in order, and forgotten."""
    corridor = Corridor()
    corridor.online = ["b"]
    now_s = corridor.now_s
    users = {"users": ["b", "a"]}
    async with opened(door, corridor) as send:
        changed = {"users": ["a"], "state": "away"}
        assert await send("update_user_status", changed) == {"result": {}}
        assert await send("get_user_status", users) == {
            "result": {
                "statuses": [
                    {"user": "b", "online": now_s},
                    {"user": "a", "active": now_s, "state": "away"},
                ]
            }
        }
        assert await send("delete_user_status", {"users": ["a"]}) == {"result": {}}
        answer = await send("get_user_status", {"users": ["a"]})
        assert answer["result"]["statuses"] == [{"user": "a"}]


async def test_users_and_tokens_that_are_denied(door: str) -> None:
    """Each call with each of its parameters; connections are closed."""
    corridor = Corridor()
    later = corridor.now_s + 100
    corridor.node.connections = {
        "c1": connection("u", uid="t", issued_at=5),
        "c2": connection("u", issued_at=9, subscription_tokens={"a": ("", 5)}),
    }
    calls: list[tuple[str, dict[str, Any], list[str]]] = [
        ("block_user", {"user": "u", "expire_at": later}, ["Disconnect"]),
        ("unblock_user", {"user": "u"}, []),
        ("revoke_token", {"uid": "t", "expire_at": later}, ["Disconnect"]),
        (
            "invalidate_user_tokens",
            {"user": "u", "issued_before": 6, "expire_at": later},
            ["Disconnect"],
        ),
        (
            "invalidate_user_tokens",
            {"user": "u", "issued_before": 6, "channel": "a"},
            ["Unsubscribe"],
        ),
    ]
    async with opened(door, corridor) as send:
        for name, params, expected in calls:
            corridor.node.commands.clear()
            assert await send(name, params) == {"result": {}}
            made = [type(each).__name__ for each in corridor.node.commands]
            assert made == [f"{kind}Command" for kind in expected], name


REFUSED: list[tuple[str, dict[str, Any], int, str]] = [
    ("publish", {}, 107, "bad request: channel"),
    ("publish", {"channel": "x"}, 107, "bad request: data"),
    ("publish", {"channel": "x", "b64data": "!"}, 107, "bad request: b64data"),
    ("publish", {"channel": "no:1", "data": 1}, 102, "unknown channel"),
    (
        "publish",
        {"channel": "map:1", "data": 1},
        108,
        "not available: channels of type map",
    ),
    ("publish", {"channel": "object:1", "data": 1}, 107, "bad request: data"),
    ("broadcast", {"data": 1}, 107, "bad request: channels"),
    ("broadcast", {"channels": ["x"], "b64data": "!"}, 107, "bad request: b64data"),
    ("subscribe", {"user": "u"}, 107, "bad request: channel"),
    ("subscribe", {"channel": "no:1"}, 102, "unknown channel"),
    ("subscribe", {"channel": "x", "b64info": "!"}, 107, "bad request: b64info"),
    ("subscribe", {"channel": "x", "b64data": "!"}, 107, "bad request: b64data"),
    ("unsubscribe", {"channel": "no:1"}, 102, "unknown channel"),
    (
        "disconnect",
        {"label_filter": {"op": "xor"}},
        107,
        "bad request: label_filter",
    ),
    (
        "disconnect",
        {"user": "u", "disconnect": {"code": 65_536}},
        107,
        "bad request: disconnect.code: must be at most 65535",
    ),
    ("presence", {}, 107, "bad request: channel"),
    ("presence", {"channel": "no:1"}, 102, "unknown channel"),
    ("presence", {"channel": "x"}, 108, "not available"),
    ("presence_stats", {}, 107, "bad request: channel"),
    ("presence_stats", {"channel": "no:1"}, 102, "unknown channel"),
    ("presence_stats", {"channel": "x"}, 108, "not available"),
    ("history", {}, 107, "bad request: channel"),
    ("history", {"channel": "no:1"}, 102, "unknown channel"),
    ("history", {"channel": "x"}, 108, "not available"),
    (
        "history",
        {"channel": "kept:1", "since": {"epoch": "other"}},
        112,
        "unrecoverable position",
    ),
    (
        "history",
        {"channel": "kept:1", "limit": 1, "reverse": True, "since": {"offset": 0}},
        107,
        "bad request: since.offset",
    ),
    ("history_remove", {}, 107, "bad request: channel"),
    ("history_remove", {"channel": "no:1"}, 102, "unknown channel"),
    ("history_remove", {"channel": "x"}, 108, "not available"),
    ("channels", {"pattern": "["}, 107, "bad request: pattern"),
    ("rpc", {}, 107, "bad request: method"),
    ("rpc", {"method": "any", "params": {"a": 1}}, 104, "not found"),
    ("connections", {}, 107, "bad request: user"),
    ("connections", {"expression": "x"}, 108, "not available: expression"),
    ("update_user_status", {}, 107, "bad request: users"),
    ("get_user_status", {}, 107, "bad request: users"),
    ("delete_user_status", {}, 107, "bad request: users"),
    ("block_user", {}, 107, "bad request: user"),
    ("unblock_user", {}, 107, "bad request: user"),
    ("revoke_token", {}, 107, "bad request: uid"),
    ("invalidate_user_tokens", {}, 107, "bad request: user"),
    ("map_publish", {"channel": "map:1"}, 108, "not available: map_publish"),
    ("map_remove", {}, 108, "not available: map_remove"),
    ("map_read_state", {}, 108, "not available: map_read_state"),
    ("map_read_stream", {}, 108, "not available: map_read_stream"),
    ("map_stats", {}, 108, "not available: map_stats"),
    ("map_clear", {}, 108, "not available: map_clear"),
    ("shared_poll_publish", {}, 108, "not available: shared_poll_publish"),
]

UNBUILT = ["map", "map_clients", "map_users", "shared_poll"]
ABOUT_A_CHANNEL: list[tuple[str, dict[str, Any]]] = [
    ("publish", {"channel": "keys:1", "data": {}}),
    ("subscribe", {"channel": "keys:1", "user": "u"}),
    ("unsubscribe", {"channel": "keys:1", "user": "u"}),
    ("history", {"channel": "keys:1", "limit": 1}),
    ("history_remove", {"channel": "keys:1"}),
    ("presence", {"channel": "keys:1"}),
    ("presence_stats", {"channel": "keys:1"}),
]


@pytest.mark.parametrize("kind", UNBUILT)
async def test_a_channel_of_a_type_that_is_not_built(door: str, kind: str) -> None:
    """108 with the type, whatever is asked of it; in a broadcast in its own place."""
    options = replace(
        OPEN_CHANNEL, subscription_type=kind, history_size=9, history_ttl=60
    )
    corridor = Corridor(namespaces={"keys": options, "chat": OPEN_CHANNEL})
    expected = {"code": 108, "message": f"not available: channels of type {kind}"}
    async with opened(door, corridor) as send:
        for name, params in ABOUT_A_CHANNEL:
            answer = await send(name, params)
            assert answer.get("error") == expected, (name, answer)
        channels = ["keys:1", "chat:1", "keys:2"]
        answer = await send("broadcast", {"channels": channels, "data": {}})
        first, second, third = answer["result"]["responses"]
        assert first["error"] == third["error"] == expected
        assert "result" in second
    assert [channel for channel, *_ in corridor.heard.publications] == []
    assert await corridor.presence.fetch("keys:1") == {}
    assert corridor.node.commands == []


async def test_every_refusal_has_its_code_and_text(door: str) -> None:
    """The published text, then where."""
    corridor = Corridor()
    async with opened(door, corridor) as send:
        for name, params, code, text in REFUSED:
            answer = await send(name, params)
            assert list(answer) == ["error"], (name, params, answer)
            error = answer["error"]
            assert error["code"] == code, (name, params, error)
            assert error["message"].startswith(text), (name, params, error)
    assert corridor.node.commands == []
    assert corridor.heard.publications == []


async def test_a_broker_that_is_away(door: str) -> None:
    """Code 100 without an address; a broadcast tells it for each channel."""
    async with opened(door, Corridor(broker=AwayBroker(["x"]))) as send:
        answer = await send("publish", {"channel": "kept:1", "data": 1})
        message = "internal server error: broker is unavailable"
        assert answer["error"] == {"code": 100, "message": message}
        answer = await send("broadcast", {"channels": ["kept:1", "x"], "data": 1})
        first, second = answer["result"]["responses"]
        assert first["error"]["code"] == 100
        assert second == {"result": {}}
        assert (await send("history", {"channel": "kept:1"}))["error"]["code"] == 100


@pytest.mark.parametrize(
    ("name", "params", "status"),
    [
        ("publish", {"channel": "no:1", "data": 1}, grpc.StatusCode.NOT_FOUND),
        ("presence", {"channel": "x"}, grpc.StatusCode.INVALID_ARGUMENT),
        (
            "history",
            {"channel": "kept:1", "since": {"epoch": "e"}},
            grpc.StatusCode.OUT_OF_RANGE,
        ),
        ("channels", {"pattern": "["}, grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
async def test_errors_by_transport(
    name: str, params: dict[str, Any], status: grpc.StatusCode
) -> None:
    """Where the caller asks for it, the status says what went wrong."""
    world = World()
    world.services = replace(world.services, realtime=Corridor().services)
    async with serving(world, transport_errors=True) as server, calling(server) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await send_grpc(stub, name, params)
    assert raised.value.code() is status


async def test_binary_data_over_grpc() -> None:
    """Any bytes, without base64."""
    corridor = Corridor()
    await corridor.hear("x")
    world = World()
    world.services = replace(world.services, realtime=corridor.services)
    command = COMMANDS["publish"]
    request: Any = command.request_class(channel="x", data=b"\x00\xff")
    async with serving(world) as server, calling(server) as stub:
        response = await stub.Publish(request, metadata=WITH_KEY)
    assert response.HasField("result")
    assert corridor.heard.publications[0][1] == Publication(b"\x00\xff")
