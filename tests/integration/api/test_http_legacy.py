from __future__ import annotations

import json
from typing import Any

import pytest
from tests.support.api import World
from tests.support.http_api import WITH_KEY, HttpCaller, serving_http

DEVICE = {"provider": "fcm", "token": "t", "platform": "android"}
BAD_REQUEST = b"Bad Request: "


async def _legacy(http: HttpCaller, *commands: object) -> list[Any]:
    body = b"\n".join(
        one if isinstance(one, bytes) else json.dumps(one).encode() for one in commands
    )
    answer = await http.send("/api", body)
    assert (answer.status, answer.content_type) == (200, "application/json")
    assert not answer.text.endswith("\n")
    return [json.loads(line) for line in answer.text.split("\n")]


async def test_one_command() -> None:
    """Method and params to one path; a result without an id has none."""
    world = World()
    async with serving_http(world) as http:
        (reply,) = await _legacy(http, {"method": "device_register", "params": DEVICE})
        assert list(reply) == ["result"]
        command = {"id": 7, "method": "device_list", "params": {}}
        (reply,) = await _legacy(http, command)
        assert reply["id"] == 7
        assert len(reply["result"]["items"]) == 1
        (reply,) = await _legacy(http, {**command, "id": 0})
        assert "id" not in reply


@pytest.mark.parametrize("between", [b"\n", b"", b" ", b"\r\n\t", b"\n\n"])
async def test_pipelining(between: bytes) -> None:
    """Commands with any white space between them are answered line by line."""
    world = World()
    commands = [
        {"id": 1, "method": "device_register", "params": DEVICE},
        {"id": 2, "method": "DEVICE_LIST", "params": {}},
        {"id": 3, "method": 24, "params": {"users": ["nobody"]}},
    ]
    body = between.join(json.dumps(one).encode() for one in commands) + between
    async with serving_http(world) as http:
        lines = (await http.send("/api", body)).text.split("\n")
    replies = [json.loads(line) for line in lines]
    assert [reply["id"] for reply in replies] == [1, 2, 3]
    assert len(replies[1]["result"]["items"]) == 1
    assert replies[2]["result"] == {}


async def test_methods_by_name_and_number() -> None:
    """Names in any case and the published numbers lead to the same methods."""
    numbers = {
        "device_register": 22,
        "device_update": 23,
        "device_remove": 24,
        "device_list": 25,
        "device_topic_list": 26,
        "device_topic_update": 27,
        "user_topic_list": 28,
        "user_topic_update": 29,
        "send_push_notification": 30,
        "update_push_status": 31,
        "cancel_push": 32,
    }
    world = World()
    async with serving_http(world) as http:
        for name, number in numbers.items():
            for method in (name, name.upper(), name.title(), number):
                world.observed.commands.clear()
                await _legacy(http, {"method": method, "params": {}})
                assert [command[0] for command in world.observed.commands] == [name]


async def test_a_command_without_method_is_a_publish() -> None:
    """An absent method counts as number 0."""
    world = World()
    async with serving_http(world) as http:
        commands: list[Any] = [{"params": {}}, {"method": None, "params": {}}, None, {}]
        for command in commands:
            await _legacy(http, command)
    assert {name for name, _, _ in world.observed.commands} == {"publish"}


async def test_faults_of_one_command() -> None:
    """Missing or wrong params and unknown numbers are errors of that command only."""
    async with serving_http(World()) as http:
        replies = await _legacy(
            http,
            {"id": 1, "method": "device_list"},
            {"id": 2, "method": "device_list", "params": {"limit": "5"}},
            {"id": 3, "method": "device_list", "params": [1]},
            {"id": 4, "method": 13, "params": {}},
            {"id": 5, "method": 99, "params": {}},
            {"id": 6, "method": "device_list", "params": None},
        )
    errors = {reply["id"]: reply["error"] for reply in replies[:-1]}
    assert errors == {
        1: {"code": 107, "message": "bad request: params: must be set"},
        2: {"code": 107, "message": "bad request: limit: must be a whole number"},
        3: {"code": 107, "message": "bad request: params: must be an object"},
        4: {"code": 104, "message": "not found: method: no method has the number 13"},
        5: {"code": 104, "message": "not found: method: no method has the number 99"},
    }
    assert replies[-1]["result"]["items"] == []


async def test_info_takes_any_params() -> None:
    """`info` looks at its params as little as the published server does."""
    world = World()
    async with serving_http(world) as http:
        for command in ({"method": "info"}, {"method": "info", "params": "x"}):
            (reply,) = await _legacy(http, command)
            assert reply.get("error", {}).get("code") != 107


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" \n",
        b'{"method":"nope","params":{}}',
        b'{"method":"batch","params":{}}',
        b'{"method":true}',
        b'{"method":1.5}',
        b'{"method":4294967296}',
        b'{"method":{}}',
        b'{"id":"1","method":"info"}',
        b'{"id":-1,"method":"info"}',
        b'{"id":4294967296,"method":"info"}',
        b"[]",
        b"1",
        b'{"method":"info"} x',
        b'{"method":"info"},{"method":"info"}',
        b'{"method":"info","params":{',
        b"\xff",
        b'{"method":"info","params":' + b"[" * 100_000,
        b"{}" * 10_001,
        b"9" * 6_000,
    ],
)
async def test_a_broken_request_runs_nothing(body: bytes) -> None:
    """One fault of form anywhere is 400 for the whole, and nothing has happened."""
    world = World()
    good = json.dumps({"method": "device_register", "params": DEVICE}).encode()
    async with serving_http(world) as http:
        for text in (body, good + b"\n" + body):
            if text == good + b"\n" + body and not body.strip():
                continue
            answer = await http.send("/api", text)
            assert answer.status == 400
            assert answer.body.startswith(BAD_REQUEST)
            assert answer.headers["X-Tocsin-Error"].startswith("bad request: ")
    assert world.changes == 0


async def test_transport_mode_does_not_reach_the_oldest_form() -> None:
    """Errors stay in the lines of the answer."""
    headers = {**WITH_KEY, "X-Centrifugo-Error-Mode": "transport"}
    command = {"method": "device_register", "params": {}}
    async with serving_http(World(), transport_errors=True) as http:
        answer = await http.send("/api", command, headers=headers)
    assert (answer.status, answer.json["error"]["code"]) == (200, 107)


async def test_drain() -> None:
    """During shutdown the oldest form is refused; the other routes still answer."""
    async with serving_http(World()) as http:
        http.api.begin_drain()
        command = {"method": "device_list", "params": {}}
        assert (await http.send("/api", command)).status == 503
        assert (await http.send("/api", command, headers={})).status == 401
        assert (await http.send("/api/device_list")).status == 200
