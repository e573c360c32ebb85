from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest
from tests.support.api import World
from tests.support.http_api import serving_http

from tocsin.api.methods.table import COMMANDS

DEVICE = {"provider": "fcm", "token": "t", "platform": "android"}
BAD_REQUEST = b"Bad Request: "


@pytest.mark.parametrize("parallel", [False, True])
async def test_batch(parallel: bool) -> None:
    """Replies stand in the order of the commands, under the names of methods."""
    commands = [
        {"device_register": DEVICE},
        {"user_topic_update": {"user": "u", "op": "add", "topics": ["a"]}},
        {"device_register": {}},
        {},
        None,
        {"unheard": {}},
        {"user_topic_list": {}},
    ]
    body = {"commands": commands, "parallel": parallel}
    async with serving_http(World()) as http:
        answer = await http.send("/api/batch", body)
    replies = answer.json["replies"]
    assert list(answer.json) == ["replies"]
    assert replies[0]["device_register"]["id"]
    assert replies[1] == {"user_topic_update": {}}
    assert [replies[n]["error"]["code"] for n in (2, 3, 4, 5)] == [107, 104, 107, 104]
    assert "commands[4]" in replies[4]["error"]["message"]
    assert "items" in replies[6]["user_topic_list"]


async def test_of_several_fields_the_first_runs() -> None:
    """A command with several fields runs the first in the published order."""
    world = World()
    async with serving_http(world) as http:
        for fields, first in (
            (("device_list", "history", "presence"), "history"),
            (("info", "presence_stats"), "presence_stats"),
            (("cancel_push", "device_list"), "device_list"),
        ):
            world.observed.commands.clear()
            body: dict[str, Any] = {"commands": [{name: {} for name in fields}]}
            await http.send("/api/batch", body)
            names = [name for name, _, _ in world.observed.commands]
            assert names == [first, "batch"]


async def test_a_batch_is_not_touched_by_transport_mode() -> None:
    """A batch answers 200 whatever its commands do."""
    async with serving_http(World(), transport_errors=True) as http:
        answer = await http.send("/api/batch", {"commands": [{"device_register": {}}]})
    assert (answer.status, answer.json["replies"][0]["error"]["code"]) == (200, 107)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            b'{"commands":[{"device_list":{"limit":"x"}}]}',
            "commands[0].device_list.limit",
        ),
        (b'{"commands":{}}', "commands: must be a list"),
        (b'{"commands":[1]}', "commands[0]: must be an object"),
        (b'{"parallel":1}', "parallel: must be true or false"),
        (
            b'{"commands":[' + b"{}," * 10_000 + b"{}]}",
            "commands: must be at most 10000",
        ),
    ],
)
async def test_broken_batches(body: bytes, reason: str) -> None:
    """A fault of form anywhere is 400 for the whole, and nothing has happened."""
    world = World()
    async with serving_http(world) as http:
        answer = await http.send("/api/batch", body)
    assert answer.status == 400
    assert answer.body.startswith(BAD_REQUEST)
    assert answer.headers["X-Tocsin-Error"].startswith(f"bad request: {reason}")
    assert world.changes == 0


async def test_parallel_commands_run_side_by_side(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Slow commands of a parallel batch wait together, up to the limit."""
    running = peak = 0

    async def wait(*_args: Any) -> None:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        await asyncio.sleep(0.01)
        running -= 1

    slow = dataclasses.replace(COMMANDS["device_list"], method=wait)
    monkeypatch.setitem(COMMANDS, "device_list", slow)
    body = {"commands": [{"device_list": {}}] * 1100, "parallel": True}
    async with serving_http(World()) as http:
        answer = await http.send("/api/batch", body)
        assert len(answer.json["replies"]) == 1100
        assert peak == 1024
        peak = 0
        await http.send("/api/batch", {"commands": [{"device_list": {}}] * 3})
        assert peak == 1
