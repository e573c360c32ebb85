from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.browsers import (
    PRIVATE_KEY,
    PUBLIC_KEY,
    build_webpush,
    build_webpush_by_name,
    keys_text,
    target_of,
)
from tests.support.sends import FreePace, Reports, batch_of
from tests.support.simulated_fcm import running_simulator

from tocsin.core.endpoints import EndpointRules
from tocsin.core.outcome import Outcome, Verdict
from tocsin.core.ports.providers import Batch, PushProvider
from tocsin.core.push import Body, TargetKind
from tocsin.core.webpush import MAX_PAYLOAD_BYTES, make_target
from tocsin.providers.errors import ProviderSetupError
from tocsin.providers.webpush import WebPushProvider
from tocsin.simulator.exchange import Reply, Request
from tocsin.simulator.server import Simulator
from tocsin.simulator.webpush import WebPush, make_vapid_keys


@pytest.fixture
async def simulator(tmp_path: Path) -> AsyncIterator[Simulator]:
    async with running_simulator(tmp_path) as simulator:
        yield simulator


@pytest.fixture
async def provider(simulator: Simulator) -> AsyncIterator[WebPushProvider]:
    provider = build_webpush(simulator)
    yield provider
    await provider.close()


@pytest.fixture
async def by_name(simulator: Simulator) -> AsyncIterator[PushProvider]:
    provider = build_webpush_by_name(simulator)
    yield provider
    await provider.close()


async def send(provider: PushProvider, batch: Batch) -> Reports:
    reports = Reports()
    async with asyncio.timeout(30):
        await provider.send(batch, reports, FreePace())
    return reports


async def send_one(provider: PushProvider, target: str, **options: Any) -> Outcome:
    return (await send(provider, batch_of([target], **options))).outcomes[0]


def watch(simulator: Simulator) -> list[Request]:
    """All requests from now on."""
    seen: list[Request] = []
    answer = simulator.answer

    def record(request: Request) -> Reply:
        seen.append(request)
        return answer(request)

    simulator.answer = record  # type: ignore[method-assign] # sees what arrives
    return seen


@pytest.mark.parametrize("payload", [b'{"title":"It rings"}', b"[1]", b'"text"', b"5"])
async def test_the_browser_reads_what_was_sent(
    provider: WebPushProvider, simulator: Simulator, payload: bytes
) -> None:
    """Byte for byte; the message id is what the service gave it."""
    target = target_of(simulator.of(WebPush).new_subscription("a"))
    outcome = await send_one(provider, target, message=payload)
    received = simulator.of(WebPush).received("a")
    assert received is not None
    assert received.plaintext == payload
    assert outcome.message_id.startswith(f"{simulator.origin}/m/")


async def test_headers_of_the_notification_arrive(
    provider: WebPushProvider, simulator: Simulator
) -> None:
    """Three of them in any case; nothing else of the caller's is passed on."""
    target = target_of(simulator.of(WebPush).new_subscription("a"))
    headers = {"ttl": "60", "URGENCY": "High", "Topic": "news", "Cookie": "x=1"}
    batch = replace(batch_of([target]), body=Body(b"{}", headers))
    await send(provider, batch)
    received = simulator.of(WebPush).received("a")
    assert received is not None
    found = received.headers
    assert (found["ttl"], found["urgency"], found["topic"]) == ("60", "high", "news")
    assert "cookie" not in found


async def test_each_browser_may_have_its_own_message(
    provider: WebPushProvider, simulator: Simulator
) -> None:
    """Rendered bodies with their own headers; a bad one harms nobody else."""
    names = ["a", "b", "c", "d", "e"]
    targets = [target_of(simulator.of(WebPush).new_subscription(one)) for one in names]
    large = b'"' + b"x" * MAX_PAYLOAD_BYTES + b'"'
    bodies = [
        Body(b"1", {"TTL": "1"}),
        Body(large),
        Body(b"2", {"Urgency": "soon"}),
        Body(b"{"),
        Body(b"3"),
    ]
    reports = await send(provider, replace(batch_of(targets), bodies=bodies))
    codes = [reports.outcomes[index].code for index in range(5)]
    assert codes == ["", "unencryptable", "invalid_headers", "invalid_message", ""]
    assert reports.verdicts() == {Verdict.DELIVERED: 2, Verdict.REJECTED: 3}
    got = {one: simulator.of(WebPush).received(one) for one in names}
    assert {one: r.plaintext for one, r in got.items() if r} == {"a": b"1", "e": b"3"}
    assert got["a"] is not None
    assert got["a"].headers["ttl"] == "1"


async def test_one_vapid_token_serves_an_origin(
    by_name: PushProvider, simulator: Simulator
) -> None:
    """Batches after each other and at once carry the same signature."""
    seen = watch(simulator)
    await send(by_name, batch_of(["a", "b"]))
    names = [f"t{number}" for number in range(40)]
    await asyncio.gather(*(send(by_name, batch_of(names)) for _ in range(3)))
    assert len({request.headers["authorization"] for request in seen}) == 1
    assert len(seen) == 122


async def test_a_refused_vapid_token_is_signed_anew_once(
    by_name: PushProvider, simulator: Simulator
) -> None:
    """Everybody who was refused is sent the message all the same."""
    seen = watch(simulator)
    targets = ["a", *(f"expired-{number}" for number in range(30)), "b"]
    reports = await send(by_name, batch_of(targets))
    assert reports.verdicts() == {Verdict.DELIVERED: 32}
    assert len({request.headers["authorization"] for request in seen}) == 2


async def test_browsers_of_another_key_are_suspects(
    provider: WebPushProvider, simulator: Simulator
) -> None:
    """Told so twice at first; afterwards each costs one request only."""
    other, _ = make_vapid_keys()
    make = simulator.of(WebPush).new_subscription
    strangers = [target_of(make(application_server_key=other)) for _ in range(3)]
    ours = target_of(make("ours", application_server_key=PUBLIC_KEY))
    seen = watch(simulator)
    for expected in (4 + 3, 4):
        seen.clear()
        reports = await send(provider, batch_of([*strangers, ours]))
        assert reports.codes() == {"vapid_refused": 3, "": 1}
        assert reports.verdicts()[Verdict.SUSPECT] == 3
        assert len(seen) == expected


async def test_redirects_are_not_followed(
    by_name: PushProvider, simulator: Simulator
) -> None:
    """Whoever subscribes must not choose where else we go."""
    seen = watch(simulator)
    outcome = await send_one(by_name, "moved-1")
    assert (outcome.verdict, outcome.code) == (Verdict.REJECTED, "moved")
    assert [request.path for request in seen] == ["/wpush/moved-1"]


async def test_an_origin_that_throttles_is_left_alone(
    by_name: PushProvider, simulator: Simulator
) -> None:
    """After three 429 in a row nothing is sent there until its rest is over."""
    await send(by_name, batch_of([f"quotasec-{number}" for number in range(3)]))
    seen = watch(simulator)
    outcome = await send_one(by_name, "innocent")
    assert (outcome.verdict, outcome.code) == (Verdict.RETRY, "quota_exceeded")
    assert 6 < (outcome.retry_after_s or 0) <= 7
    assert not seen


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["::1", "10.0.0.1", "169.254.169.254"]]
)
async def test_a_name_that_leads_inside_is_not_dialled(
    simulator: Simulator, addresses: list[str]
) -> None:
    """Its origin was allowed and its address was public when it registered."""
    dialled: list[tuple[str, int]] = []

    async def lookup(host: str, port: int) -> Sequence[str]:
        dialled.append((host, port))
        return addresses

    port = simulator.origin.rpartition(":")[2]
    rules = EndpointRules.of([f"https://*.push.example:{port}"])
    provider = build_webpush(simulator, rules=rules, lookup=lookup)
    made = simulator.of(WebPush).new_subscription("a")
    target = make_target(f"https://eu.push.example:{port}/wpush/a", keys_text(made))
    outcome = await send_one(provider, target)
    assert (outcome.verdict, outcome.code) == (Verdict.REJECTED, "address_refused")
    assert dialled == [("eu.push.example", int(port))]
    # Also while the pool would not try again yet.
    assert (await send_one(provider, target)).code == "address_refused"
    await provider.close()
    assert simulator.ledger.connections == 0


async def test_localhost_by_its_name_is_not_dialled(simulator: Simulator) -> None:
    """With the system's own resolver."""
    origin = simulator.origin.replace("127.0.0.1", "localhost")
    provider = build_webpush(simulator, rules=EndpointRules.of([origin]))
    made = simulator.of(WebPush).new_subscription("a")
    outcome = await send_one(provider, make_target(f"{origin}/x", keys_text(made)))
    assert outcome.code == "address_refused"
    await provider.close()
    assert simulator.ledger.connections == 0


async def test_what_was_stored_before_the_rules_is_refused_too(
    simulator: Simulator, provider: WebPushProvider
) -> None:
    """Origins, plain http and broken keys are checked at each send."""
    keys = keys_text(simulator.of(WebPush).new_subscription("a"))
    targets = [
        make_target("https://elsewhere.example/x", keys),
        make_target(f"{simulator.origin.replace('https', 'http')}/x", keys),
        make_target(f"{simulator.origin}/x", ""),
        f"{simulator.origin}/x",
        make_target(
            f"{simulator.origin}/x",
            json.dumps({**json.loads(keys), "p256dh": "B" * 87}),
        ),
    ]
    reports = await send(provider, batch_of(targets))
    assert reports.verdicts() == {Verdict.REJECTED: 5}
    assert [reports.outcomes[index].code for index in range(5)] == [
        "endpoint_refused",
        "endpoint_refused",
        "invalid_subscription",
        "invalid_subscription",
        "unencryptable",
    ]
    assert simulator.ledger.delivered == {}


async def test_an_origin_that_is_away_holds_up_nobody(simulator: Simulator) -> None:
    """Each origin is waited for on its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        away = f"https://127.0.0.1:{probe.getsockname()[1]}"
        rules = EndpointRules.of([simulator.origin, away], allow_private=True)
        provider = build_webpush(simulator, rules=rules)
        made = simulator.of(WebPush).new_subscription("a")
        targets = [make_target(f"{away}/x", keys_text(made)), target_of(made)]
        reports = await send(provider, batch_of(targets * 3))
        await provider.close()
    assert reports.codes() == {"connect_failed": 3, "": 3}
    assert reports.verdicts() == {Verdict.RETRY: 3, Verdict.DELIVERED: 3}


@pytest.mark.parametrize("kind", [TargetKind.TOPIC, TargetKind.CONDITION])
async def test_there_are_no_native_topics(
    provider: WebPushProvider, kind: TargetKind
) -> None:
    """The standard knows endpoints only."""
    outcome = await send_one(provider, "news", kind=kind)
    assert (outcome.verdict, outcome.code) == (Verdict.REJECTED, "unsupported_target")


async def test_a_dry_run_checks_what_can_be_checked(
    provider: WebPushProvider, simulator: Simulator
) -> None:
    """Rules, keys and size; the service hears nothing."""
    good = target_of(simulator.of(WebPush).new_subscription("a"))
    bad = make_target("https://elsewhere.example/x", "{}")
    reports = await send(provider, batch_of([good, bad], validate_only=True))
    assert reports.verdicts() == {Verdict.DELIVERED: 1, Verdict.REJECTED: 1}
    assert simulator.ledger.connections == 0


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"vapid_private_key": make_vapid_keys()[1]}, "vapid_public_key"),
        ({"vapid_private_key": ""}, "vapid_private_key"),
        ({"subject": "me"}, "subject"),
        ({"ca_file": "/does/not/exist"}, "ca_file"),
    ],
)
async def test_a_wrong_setting_is_named(
    simulator: Simulator, options: dict[str, str], key: str
) -> None:
    """The error carries the configuration key and never the secret."""
    with pytest.raises(ProviderSetupError) as caught:
        build_webpush(simulator, **options)
    assert caught.value.key == f"push_notifications.webpush.{key}"
    assert PRIVATE_KEY not in str(caught.value)
