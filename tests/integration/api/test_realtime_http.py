"""The channels' methods over HTTP where that door has rules of its own."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from tests.support.api import World
from tests.support.channels import Corridor
from tests.support.http_api import WITH_KEY, HttpCaller, serving_http

from tocsin.core.channel import PublishOptions

KEPT = PublishOptions(history_size=5, history_ttl_s=60)


@pytest.fixture
def corridor() -> Corridor:
    return Corridor()


@pytest.fixture
async def http(corridor: Corridor) -> AsyncIterator[HttpCaller]:
    world = World()
    world.services = replace(world.services, realtime=corridor.services)
    async with serving_http(world) as http:
        yield http


@pytest.mark.parametrize(
    ("name", "params", "status", "error"),
    [
        ("publish", {"channel": "no:1", "data": 1}, 404, (102, "unknown channel")),
        ("rpc", {"method": "x"}, 404, (104, "not found")),
        ("publish", {"channel": "x"}, 400, (107, "bad request: data")),
        ("presence", {"channel": "x"}, 400, (108, "not available")),
        ("map_stats", {}, 400, (108, "not available: map_stats")),
        (
            "history",
            {"channel": "kept:1", "since": {"epoch": "e"}},
            416,
            (112, "unrecoverable position"),
        ),
        ("channels", {"pattern": "["}, 400, (107, "bad request: pattern")),
        ("broadcast", {"data": 1}, 400, (107, "bad request: channels")),
    ],
)
async def test_errors_by_status(
    http: HttpCaller,
    name: str,
    params: dict[str, Any],
    status: int,
    error: tuple[int, str],
) -> None:
    """By header the status tells and the body is the bare error; else it is 200."""
    headers = {**WITH_KEY, "X-Centrifugo-Error-Mode": "transport"}
    asked = await http.send(f"/api/{name}", params, headers=headers)
    assert (asked.status, asked.json["code"]) == (status, error[0])
    assert asked.json["message"].startswith(error[1])
    plain = await http.send(f"/api/{name}", params)
    assert (plain.status, plain.json) == (200, {"error": asked.json})


async def test_errors_within_a_broadcast_have_no_status(http: HttpCaller) -> None:
    """They belong to their channels; the call itself succeeded."""
    headers = {**WITH_KEY, "X-Centrifugo-Error-Mode": "transport"}
    params = {"channels": ["no:1", "x"], "data": 1}
    answer = await http.send("/api/broadcast", params, headers=headers)
    assert answer.status == 200
    first, second = answer.json["result"]["responses"]
    assert (first["error"]["code"], second) == (102, {"result": {}})


@pytest.mark.parametrize(
    ("body", "data"),
    [
        (b'{"channel":"x","data":null}', b"null"),
        (b'{"channel":"x","data":""}', b'""'),
        (b'{"channel":"x","data":0}', b"0"),
        (b'{"channel":"x","data": { "a" : [1.0, "\\u00fc"] } }', None),
        (b'{"CHANNEL":"x","Data":1,"unheard":{"of":[]}}', b"1"),
        (b'{"channel":"x","data":1,"b64data":"Mg=="}', b"2"),
        (b'{"channel":"x","data":1,"b64data":""}', b"1"),
        (b'{"channel":"x","b64data":"M\\r\\ng==\\n"}', b"2"),
    ],
)
async def test_data_is_what_the_request_holds(
    http: HttpCaller, corridor: Corridor, body: bytes, data: bytes | None
) -> None:
    """Any JSON is data, its bytes are kept; base64 wins where it is not empty."""
    await corridor.hear("x")
    answer = await http.send("/api/publish", body)
    assert answer.text == '{"result":{}}'
    expected = b'{ "a" : [1.0, "\\u00fc"] }' if data is None else data
    assert corridor.data() == [("x", expected)]


@pytest.mark.parametrize(
    "params",
    [
        {"channel": 1},
        {"channel": "x", "tags": {"a": 1}},
        {"channel": "x", "tags": []},
        {"channel": "x", "skip_history": 1},
        {"channel": "x", "b64data": 1},
        {"channel": "x", "version": "1"},
        {"channel": "x", "version": -1},
        {"channel": "x", "version": 2**64},
    ],
)
async def test_wrong_types_name_their_field(
    http: HttpCaller, corridor: Corridor, params: dict[str, Any]
) -> None:
    """400 by route with the field in text and header, 107 in the oldest form."""
    field = list(params)[-1]
    answer = await http.send("/api/publish", {"data": 1, **params})
    assert answer.status == 400
    assert answer.text.startswith(f"Bad Request: {field}")
    reason = answer.headers["X-Tocsin-Error"]
    assert reason.startswith(f"bad request: {field}"), reason
    command = {"method": "publish", "params": {"data": 1, **params}}
    answer = await http.send("/api", command)
    assert answer.json["error"]["code"] == 107
    assert answer.json["error"]["message"] == reason
    assert corridor.heard.publications == []


async def test_answers_are_compact_and_safe_in_a_page(
    http: HttpCaller, corridor: Corridor
) -> None:
    """Embedded JSON is compacted, what a page could take for markup is escaped."""
    data = '{ "a": "<b>&\u2028" }'.encode()
    await corridor.broker.publish("kept:1", data, KEPT)
    answer = await http.send("/api/history", {"channel": "kept:1", "limit": 1})
    assert r'"data":{"a":"\u003cb\u003e\u0026\u2028"}' in answer.text
    assert json.loads(data) == answer.json["result"]["publications"][0]["data"]


async def test_bytes_that_are_no_json_cannot_be_told(
    http: HttpCaller, corridor: Corridor
) -> None:
    """500 by route, 100 in the oldest form; the position can still be read."""
    await corridor.broker.publish("kept:1", b"\x00", KEPT)
    params = {"channel": "kept:1", "limit": 1}
    answer = await http.send("/api/history", params)
    assert (answer.status, answer.text) == (500, "Internal Server Error\n")
    answer = await http.send("/api", {"method": "history", "params": params})
    assert answer.json["error"]["code"] == 100
    answer = await http.send("/api/history", {"channel": "kept:1"})
    assert answer.json["result"]["offset"] == 1


async def test_pipelined_commands_run_in_order(
    http: HttpCaller, corridor: Corridor
) -> None:
    """By name and by number; an error in between stops nobody."""
    await corridor.hear("kept:1")
    params = {"channel": "kept:1", "data": {"test": 1}}
    lines = [
        {"id": 1, "method": "publish", "params": params},
        {"method": 0, "params": params},
        {"params": params},
        {"id": 4, "method": 6, "params": {"channel": "no:1"}},
        {"id": 5, "method": "HISTORY", "params": {"channel": "kept:1", "limit": 2}},
    ]
    body = "\n".join(json.dumps(line) for line in lines).encode()
    answer = await http.send("/api", body)
    replies = [json.loads(line) for line in answer.text.split("\n")]
    assert [reply.get("id") for reply in replies] == [1, None, None, 4, 5]
    assert [each["result"]["offset"] for each in replies[:3]] == [1, 2, 3]
    assert replies[3]["error"]["code"] == 102
    found = replies[4]["result"]
    assert (found["offset"], len(found["publications"])) == (3, 2)


async def test_in_a_batch_they_spoil_their_own_reply_only(
    http: HttpCaller, corridor: Corridor
) -> None:
    """What the other commands did is told, so that nobody repeats them."""
    await corridor.broker.publish("kept:1", b"\x00", KEPT)
    history = {"history": {"channel": "kept:1", "limit": 5}}
    publish = {"publish": {"channel": "kept:1", "data": 1}}
    commands = [publish, history, publish]
    answer = await http.send("/api/batch", {"commands": commands})
    assert answer.status == 200
    first, second, third = answer.json["replies"]
    assert (first["publish"]["offset"], third["publish"]["offset"]) == (2, 3)
    assert (list(second), second["error"]["code"]) == (["error"], 100)
    assert second["error"]["message"].startswith("internal server error: ")
