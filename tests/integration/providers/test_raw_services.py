"""What is special of each raw-body service, over sockets."""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.raw_services import (
    build_expo,
    build_one_signal,
    build_push_webhook,
    build_pusher_beams,
    build_pushpad,
)
from tests.support.sends import FreePace, Reports, batch_of
from tests.support.simulated_fcm import running_simulator

from tocsin.core.outcome import Outcome, Verdict
from tocsin.core.ports.providers import PushProvider
from tocsin.core.ports.receipts import ReceiptSource
from tocsin.providers.expo import ExpoProvider
from tocsin.providers.push_webhook import PushWebhookProvider
from tocsin.simulator import push_webhook
from tocsin.simulator.exchange import Reply, Request
from tocsin.simulator.server import Simulator

SUBSCRIPTION = "7c2bbd2e-3f5a-4f0e-9a51-2f6f6d1f7c10"


@pytest.fixture
async def simulator(tmp_path: Path) -> AsyncIterator[Simulator]:
    async with running_simulator(tmp_path) as simulator:
        yield simulator


async def send(
    provider: PushProvider, targets: list[str], message: bytes = b"{}"
) -> Reports:
    reports = Reports()
    try:
        await provider.send(batch_of(targets, message=message), reports, FreePace())
    finally:
        await provider.close()
    return reports


def recorded(simulator: Simulator) -> list[Request]:
    """The requests that arrive from now on."""
    seen: list[Request] = []
    answer = simulator.answer

    def record(request: Request) -> Reply:
        seen.append(request)
        return answer(request)

    simulator.answer = record  # type: ignore[method-assign] # sees what arrives
    return seen


async def test_expo_takes_a_hundred_at_once(simulator: Simulator) -> None:
    """250 recipients are three requests; each has its own ticket."""
    targets = [f"ExponentPushToken[{i}]" for i in range(250)]
    reports = await send(build_expo(simulator), targets)
    assert reports.verdicts() == {Verdict.DELIVERED: 250}
    assert simulator.ledger.answers["delivered"] == 3
    assert len({one.message_id for one in reports.outcomes.values()}) == 250


async def test_an_authority_that_nobody_trusts_leads_to_the_key(
    simulator: Simulator,
) -> None:
    """The outcome of a failed handshake says what can be done."""
    provider = ExpoProvider(access_token="x", endpoint=simulator.origin)
    reports = await send(provider, ["ExponentPushToken[a]"])
    (outcome,) = reports.outcomes.values()
    assert outcome.verdict is Verdict.RETRY
    assert outcome.detail.endswith("name its authority in the provider's ca_file")


async def test_expo_projects_are_told_apart(simulator: Simulator) -> None:
    """One mixed request is refused, then one for each project goes out."""
    targets = [f"ExponentPushToken[{i}@p{i % 3}]" for i in range(30)]
    reports = await send(build_expo(simulator), targets)
    assert reports.verdicts() == {Verdict.DELIVERED: 30}
    assert simulator.ledger.answers == {"invalid_message": 1, "delivered": 3}
    assert simulator.ledger.stats()["extra"] == 0


async def test_expo_receipts_come_by_ticket(simulator: Simulator) -> None:
    """Known ones only; a wrong access token is one fault for the request."""
    provider = build_expo(simulator)
    assert isinstance(provider, ReceiptSource)
    reports = Reports()
    targets = ["ExponentPushToken[a]", "ExponentPushToken[dead-1]"]
    await provider.send(batch_of(targets), reports, FreePace())
    good, dead = (reports.outcomes[index].message_id for index in (0, 1))
    receipts = await provider.fetch_receipts([good, dead, "unknown"])
    assert not isinstance(receipts, Outcome)
    assert {id: one.verdict for id, one in receipts.items()} == {
        good: Verdict.DELIVERED,
        dead: Verdict.UNREGISTERED,
    }
    await provider.close()
    wrong = build_expo(simulator, access_token="wrong")
    found = await wrong.fetch_receipts([good])
    assert isinstance(found, Outcome)
    assert found.code == "unauthenticated"
    await simulator.stop()
    away = await wrong.fetch_receipts([good])
    assert isinstance(away, Outcome)
    assert away.verdict is Verdict.RETRY
    await wrong.close()


async def test_expo_needs_no_access_token(simulator: Simulator) -> None:
    """Without one there is no header at all."""
    seen = recorded(simulator)
    reports = await send(build_expo(simulator, access_token=""), ["a"])
    assert reports.verdicts() == {Verdict.DELIVERED: 1}
    assert "authorization" not in seen[0].headers


async def test_subscription_ids_of_one_signal_are_uuids(simulator: Simulator) -> None:
    """One that is none would make OneSignal refuse all others."""
    ids = [str(uuid.uuid4()) for _ in range(3)]
    provider = build_one_signal(simulator, api_version="playerModel")
    reports = await send(provider, [ids[0], "no-uuid", *ids[1:]])
    assert reports.codes() == {"": 3, "malformed_id": 1}
    assert reports.outcomes[1].verdict is Verdict.SUSPECT
    assert simulator.ledger.delivered == dict.fromkeys(ids, 1)
    assert simulator.ledger.answers == {"delivered": 1}


@pytest.mark.parametrize(
    ("version", "target", "path"),
    [
        ("playerModel", SUBSCRIPTION, "/api/v1/notifications"),
        ("externalId", "user-1", "/notifications"),
    ],
)
async def test_one_signal_has_two_forms(
    simulator: Simulator, version: str, target: str, path: str
) -> None:
    """Own path and own field, and no other targeting is let through."""
    seen = recorded(simulator)
    provider = build_one_signal(simulator, api_version=version)
    message = b'{"included_segments": ["All"], "filters": [], "contents": {"en": "x"}}'
    reports = await send(provider, [target], message)
    assert reports.verdicts() == {Verdict.DELIVERED: 1}
    assert seen[0].path == path
    body = json.loads(seen[0].body)
    assert body.keys() & {"included_segments", "filters"} == set()
    assert body["contents"] == {"en": "x"}


@pytest.mark.parametrize(
    ("key", "scheme"), [("os_v2_app_abc", "Key"), ("NGEwMGZmMjIt", "Basic")]
)
async def test_one_signal_keys_have_two_schemes(
    simulator: Simulator, key: str, scheme: str
) -> None:
    """The newer keys say of themselves that they are."""
    seen = recorded(simulator)
    reports = await send(build_one_signal(simulator, api_key=key), ["user-1"])
    assert reports.codes() == {"permission_denied": 1}
    assert seen[0].headers["authorization"] == f"{scheme} {key}"


async def test_a_webhook_is_signed_over_the_exact_bytes(simulator: Simulator) -> None:
    """Lower-case hex; the message is passed on as it was written."""
    seen = recorded(simulator)
    message = '{ "title": "Tor für alle", "target": ["old"], "n": 1.50 }'.encode()
    await send(build_push_webhook(simulator), ["ann", "bob"], message)
    bodies = sorted(request.body for request in seen)
    assert [json.loads(body)["target"] for body in bodies] == [["ann"], ["bob"]]
    for request in seen:
        digest = hmac.new(push_webhook.SECRET.encode(), request.body, hashlib.sha256)
        assert request.headers["x-novu-signature"] == digest.hexdigest()
        assert request.headers["content-type"] == "application/json"


async def test_a_wrong_webhook_secret_pauses_it(simulator: Simulator) -> None:
    """Everybody would be refused."""
    reports = await send(build_push_webhook(simulator, secret="other"), ["a", "b"])
    assert reports.codes() == {"unauthenticated": 2}
    assert all(outcome.slow_down for outcome in reports.outcomes.values())


async def test_a_webhook_may_speak_plain_http(unused_tcp_port: int) -> None:
    """The operator chose the address; nobody there is a fault to try again."""
    provider = PushWebhookProvider(
        url=f"http://127.0.0.1:{unused_tcp_port}/push", secret="s"
    )
    assert (await send(provider, ["a"])).codes() == {"connect_failed": 1}


async def test_beams_users_that_are_too_long_harm_nobody(simulator: Simulator) -> None:
    """164 characters pass; one more would fail the whole publish."""
    users = ["u" * 164, "v" * 165, "w"]
    reports = await send(build_pusher_beams(simulator), users)
    assert reports.codes() == {"": 2, "invalid_user": 1}
    assert simulator.ledger.delivered == {users[0]: 1, users[2]: 1}


async def test_pushpad_is_never_a_broadcast(simulator: Simulator) -> None:
    """Every request names its users."""
    seen = recorded(simulator)
    message = b'{"notification": {"body": "b", "urgent": true}}'
    reports = await send(build_pushpad(simulator), ["a", "dead-1", "b"], message)
    assert reports.codes() == {"": 2, "not_subscribed": 1}
    assert [json.loads(request.body) for request in seen] == [
        {
            "uids": ["a", "dead-1", "b"],
            "notification": {"body": "b", "urgent": True},
        }
    ]
