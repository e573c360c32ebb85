"""Push Kit over sockets: requests of many tokens, partial results, both versions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.provider_cases import build_hms
from tests.support.sends import FreePace, Reports, batch_of
from tests.support.simulated_fcm import running_simulator

from tocsin.core.outcome import Verdict
from tocsin.providers.errors import ProviderSetupError
from tocsin.providers.hms import HmsProvider
from tocsin.simulator import hms
from tocsin.simulator.server import Simulator


@pytest.fixture
async def simulator(tmp_path: Path) -> AsyncIterator[Simulator]:
    async with running_simulator(tmp_path) as simulator:
        yield simulator


async def send(provider: HmsProvider, targets: list[str]) -> Reports:
    reports = Reports()
    try:
        await provider.send(batch_of(targets), reports, FreePace())
    finally:
        await provider.close()
    return reports


async def test_a_thousand_tokens_travel_in_one_request(simulator: Simulator) -> None:
    """2,500 tokens are three requests; each token is reported."""
    reports = await send(build_hms(simulator), [f"t{i}" for i in range(2500)])
    assert reports.verdicts() == {Verdict.DELIVERED: 2500}
    assert simulator.ledger.answers == {"token_granted": 1, "delivered": 3}
    assert simulator.ledger.stats()["distinct"] == 2500


async def test_illegal_tokens_among_good_ones_are_dead(simulator: Simulator) -> None:
    """The partial result names them; all others were sent the message."""
    targets = ["a", "dead-1", "b", "badtoken-1"]
    reports = await send(build_hms(simulator), targets)
    found = [reports.outcomes[index].verdict for index in range(4)]
    dead, sent = Verdict.UNREGISTERED, Verdict.DELIVERED
    assert found == [sent, dead, sent, dead]
    assert simulator.ledger.delivered == {"a": 1, "b": 1}


async def test_a_project_id_chooses_the_second_version(simulator: Simulator) -> None:
    """The path names the project; another project is a wrong address."""
    good = build_hms(simulator, project_id=hms.PROJECT_ID)
    assert (await send(good, ["a"])).verdicts() == {Verdict.DELIVERED: 1}
    reports = await send(build_hms(simulator, project_id="77/../9"), ["a"])
    assert reports.codes() == {"not_found": 1}


async def test_a_wrong_secret_is_a_misconfiguration(simulator: Simulator) -> None:
    """Nothing is sent, and the secret is not in what goes to the log."""
    provider = build_hms(simulator, app_secret="my-wrong-secret")
    reports = await send(provider, ["a", "b"])
    assert reports.codes() == {"credentials_refused": 2}
    assert all("my-wrong" not in one.detail for one in reports.outcomes.values())
    assert simulator.ledger.delivered == {}


async def test_a_token_that_came_too_late_sends_nothing(simulator: Simulator) -> None:
    """The pace is asked after an exchange, which may have taken a while."""
    provider, reports = build_hms(simulator), Reports()
    pace = FreePace(stop_after=0)
    await provider.send(batch_of(["a", "b"]), reports, pace)
    assert simulator.ledger.answers == {"token_granted": 1}
    assert pace.asked == 1
    assert reports.outcomes == {}
    await provider.close()


async def test_requests_reuse_their_connections(simulator: Simulator) -> None:
    """Many requests one after the other cost no TLS handshake each."""
    provider = build_hms(simulator, max_connections=2, batch_size=1)
    await send(provider, [f"t{i}" for i in range(60)])
    assert simulator.ledger.connections <= 2


async def test_an_unknown_authority_is_not_trusted(simulator: Simulator) -> None:
    """Without the CA file the connection fails, and nothing was sent."""
    provider = HmsProvider(
        app_id="1",
        app_secret="s",
        auth_endpoint=simulator.origin,
        push_endpoint=simulator.origin,
    )
    reports = await send(provider, ["a"])
    (outcome,) = reports.outcomes.values()
    assert (outcome.code, outcome.maybe_sent) == ("token_unavailable", False)
    assert "certificate" in outcome.detail.lower()


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"app_id": ""}, "push_notifications.hms.app_id"),
        ({"app_secret": ""}, "push_notifications.hms.app_secret"),
        ({"ca_file": "/does/not/exist"}, "push_notifications.hms.ca_file"),
    ],
)
def test_a_wrong_setting_is_named(given: dict[str, Any], key: str) -> None:
    """The error carries the configuration key."""
    with pytest.raises(ProviderSetupError) as caught:
        HmsProvider(**{"app_id": "1", "app_secret": "s", **given})
    assert caught.value.key == key
