"""The guide to online_first: its example is run as it stands."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.support.simulated_fcm import running_simulator
from tests.support.subscribers import subscribed
from tests.support.tokens import sign
from tests.support.whole_server import Tocsin, serving, until
from tests.support.wire_table import ROOT

from tocsin.delivery.online import KEPT_S, PATIENCE_MS, PUBLISH_GRACE_MS
from tocsin.push.first_jobs import MAX_WAIT_MS
from tocsin.simulator.fcm import Fcm

GUIDE = (ROOT / "docs" / "howto" / "reach-people-online-first.md").read_text("utf-8")
WORDS = " ".join(GUIDE.split())


def block(language: str) -> str:
    """The one example in this language."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)
    return str(found)


async def call(tocsin: Tocsin) -> dict[str, Any]:
    """Run the call of the guide."""
    script = block("bash").replace("localhost:8000", tocsin.origin.split("//")[1])
    process = await asyncio.create_subprocess_exec(
        *("sh", "-e", "-c", script), stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    assert process.returncode == 0
    answer: dict[str, Any] = json.loads(said)
    return answer


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_the_example_works(tmp_path: Path) -> None:
    """Its configuration and its call: who is there sees it, the others get a push."""
    directory = tmp_path / "fcm"
    directory.mkdir()
    sections = json.loads(block("json"))
    key = sections["client"]["token"]["hmac_secret_key"]
    async with running_simulator(directory) as simulator:
        sections["database"]["sqlite"]["path"] = str(tmp_path / "t.db")
        sections["push_notifications"]["fcm"] = {
            "credentials_file": str(simulator.of(Fcm).account_file),
            "endpoint": simulator.origin,
            "ca_file": str(simulator.ca_file),
        }
        async with serving(simulator, tmp_path, **sections) as tocsin:
            tocsin.session.headers["X-API-Key"] = sections["http_api"]["key"]
            for user in ("anna", "ben", "eve"):
                await tocsin.call(
                    "device_register",
                    provider="fcm",
                    token=f"{user}-phone",
                    platform="android",
                    user=user,
                )
            port = tocsin.listening.http_port
            token = sign({"sub": "anna", "channels": ["chat:derby"]}, key)
            async with subscribed(port, "anna", "chat:derby", token=token) as anna:
                assert await call(tocsin) == {"result": {"uid": "message-4711"}}
                seen = (await anna.next_publication())["data"]
                assert seen == {"id": "4711", "text": "Are you there?"}

                async def complete() -> bool:
                    found = (await tocsin.funnel("message-4711"))["result"]
                    return (found["sent"], found["failed"]) == (2, {"online": 1})

                await until(complete)
        pushed = dict(simulator.ledger.delivered)
        assert pushed == {"ben-phone": 1, "eve-phone": 1}


def test_its_numbers_are_the_code_s() -> None:
    """Times that a reader plans with."""
    assert MAX_WAIT_MS == 3_600_000
    assert "up to an hour" in WORDS
    assert f"{PATIENCE_MS // 1000} seconds, or until a second before" in WORDS
    assert PUBLISH_GRACE_MS == 5000
    assert "waits five seconds beyond the wait" in WORDS
    assert f"no worker ran for {KEPT_S // 60} minutes" in WORDS
    assert f"ends {KEPT_S // 60} minutes after its last use" in WORDS
