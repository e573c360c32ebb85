"""The guide to the HTTP API: what it prints is run as it stands."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from typing import Any

import pytest
from tests.support.api import KEY, World
from tests.support.http_api import serving_http
from tests.support.wire_table import ROOT

GUIDE = (ROOT / "docs" / "reference" / "http.md").read_text(encoding="utf-8")


async def _run(script: str, port: int) -> list[Any]:
    """The answers of the script, a JSON value each."""
    script = script.replace("localhost:8000", f"127.0.0.1:{port}").replace("KEY", KEY)
    script = script.replace("X-API-" + KEY, "X-API-Key")
    process = await asyncio.create_subprocess_exec(
        "sh", "-e", "-c", script, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    assert process.returncode == 0
    decoder, values, text = json.JSONDecoder(), [], said.decode().strip()
    while text:
        value, end = decoder.raw_decode(text)
        values.append(value)
        text = text[end:].lstrip()
    return values


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_the_examples_work() -> None:
    """Every example of the guide is answered as it says."""
    world = World()
    async with serving_http(world) as http:
        answers: list[Any] = []
        for script in re.findall(r"```bash\n(.*?)```", GUIDE, re.DOTALL):
            answers += await _run(script, http.port)
    registered, sent, updated, listed, batch = answers
    assert registered["result"]["id"]
    assert sent["result"]["uid"]
    assert updated == {"id": 1, "result": {}}
    assert [item["topic"] for item in listed["result"]["items"]] == ["sport"]
    assert [list(reply) for reply in batch["replies"]] == [
        ["device_list"],
        ["user_topic_list"],
    ]
    ((payload, _),) = world.queue.accepted
    assert json.loads(payload.bodies["fcm"].message)["notification"]["title"] == "Hello"
