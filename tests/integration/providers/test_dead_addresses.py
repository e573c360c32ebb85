"""Every provider where the first address of its service never answers."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.support.dead_addresses import dropping, resolving, silent
from tests.support.provider_cases import CASES, Case
from tests.support.sends import FreePace, Reports, batch_of
from tests.support.simulated_fcm import running_simulator

from tocsin.core.outcome import Verdict
from tocsin.providers import google_transport, http1
from tocsin.simulator.apns_listener import ApnsListener
from tocsin.simulator.fcm import Fcm
from tocsin.simulator.server import Simulator
from tocsin.simulator.webpush import WebPush

HOST, DEAD, ALIVE = "localhost", "127.0.0.2", "127.0.0.1"


@pytest.fixture
async def simulator(tmp_path: Path) -> AsyncIterator[Simulator]:
    """A simulator that is known by name only, also to who wants an access token."""
    async with running_simulator(tmp_path) as simulator:
        simulator.origin = simulator.origin.replace(ALIVE, HOST)
        simulator.of(ApnsListener).origin = simulator.of(ApnsListener).origin.replace(
            ALIVE, HOST
        )
        _rename_token_endpoint(simulator)
        simulator.of(WebPush)._origins = simulator.of(WebPush)._origins[::-1]
        yield simulator


def _rename_token_endpoint(simulator: Simulator) -> None:
    account = Path(simulator.of(Fcm).account_file)
    fields = json.loads(account.read_bytes())
    fields["token_uri"] = f"{simulator.origin}/token"
    account.write_text(json.dumps(fields))


@pytest.mark.parametrize("fault", ["drops", "silent"])
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
async def test_the_second_address_is_used(
    case: Case, simulator: Simulator, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that drops packets, or takes the connection and is silent, blocks nobody."""
    if case.name == "fcm-sdk" and fault == "silent":
        pytest.skip("firebase-admin's client waits for the first that accepts")
    monkeypatch.setattr(google_transport, "_CONNECT_TIMEOUT_S", 0.5)
    monkeypatch.setattr(http1, "_CONNECT_TIMEOUT_S", 0.5)
    ports = {
        urlsplit(one).port
        for one in (simulator.origin, simulator.of(ApnsListener).origin)
    }
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(resolving(HOST, DEAD, ALIVE))
        for port in filter(None, ports):
            if fault == "drops":
                stack.enter_context(dropping(DEAD, port))
            else:
                await stack.enter_async_context(silent(DEAD, port))
        provider = case.build(simulator)
        stack.push_async_callback(provider.close)
        reports = Reports()
        async with asyncio.timeout(30):
            await provider.send(batch_of(["a"]), reports, FreePace())
    assert reports.verdicts() == {Verdict.DELIVERED: 1}, reports.outcomes
    assert simulator.ledger.delivered == {"a": 1}
