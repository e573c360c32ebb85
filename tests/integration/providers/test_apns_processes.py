"""Processes that send with one key present one token to Apple."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from tests.support.apns_devices import key_of
from tests.support.simulated_fcm import running_simulator

from tocsin.simulator.apns_keys import BUNDLE_ID
from tocsin.simulator.apns_listener import ApnsListener

_ROOT = Path(__file__).parents[3]


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """Kind and address of what the processes share."""
    if request.param == "sqlite":
        address = str(tmp_path / "queue.db")
    else:
        address = request.getfixturevalue("redis_address")
    return request.param, address


async def test_two_processes_share_one_token(
    store: tuple[str, str], tmp_path: Path
) -> None:
    """They start at the same moment; Apple sees one token and refuses none."""
    async with running_simulator(tmp_path) as simulator:
        plan = {
            "store": store[0],
            "address": store[1],
            "auth": {
                key: value
                for key, value in asdict(key_of(simulator)).items()
                if isinstance(value, str)
            },
            "options": {
                "bundle_id": BUNDLE_ID,
                "endpoint": simulator.of(ApnsListener).origin,
                "ca_file": simulator.ca_file,
            },
        }
        results = await asyncio.gather(
            *(run({**plan, "names": [f"{who}{i}" for i in range(5)]}) for who in "ab")
        )
        assert results == [{"": 5}, {"": 5}]
        assert simulator.of(ApnsListener).apns.judge.accepted_count == 1
        assert simulator.ledger.stats()["distinct"] == 10


async def run(plan: dict[str, object]) -> dict[str, int]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.support.apns_process", json.dumps(plan)),
        cwd=_ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        out, _ = await asyncio.wait_for(process.communicate(), 40)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    counts: dict[str, int] = json.loads(out.splitlines()[-1])
    return counts
