"""APNs over real sockets: connections, streams, tokens and certificates."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.apns_devices import (
    build_apns,
    certificate_of,
    key_of,
    token_of,
)
from tests.support.clock import MovedClock
from tests.support.http2_client import eventually
from tests.support.sends import FreePace, Reports, batch_of
from tests.support.simulated_fcm import control, running_simulator

from tocsin.core.outcome import Verdict
from tocsin.core.ports.providers import Batch
from tocsin.core.push import Body
from tocsin.providers.apns import ApnsProvider
from tocsin.providers.apns_sdk import ApnsSdkProvider
from tocsin.providers.apns_setup import CertAuth
from tocsin.providers.process_tokens import ProcessTokenStore
from tocsin.simulator.apns_keys import BUNDLE_ID, KEY_ID, OTHER_KEY_ID, P12_PASSWORD
from tocsin.simulator.apns_listener import ApnsListener
from tocsin.simulator.exchange import Reply, Request
from tocsin.simulator.server import Simulator

Build = Callable[..., ApnsProvider | ApnsSdkProvider]
ALERT = b'{"aps":{"alert":"x"}}'


@pytest.fixture
async def simulator(tmp_path: Path) -> AsyncIterator[Simulator]:
    async with running_simulator(tmp_path) as simulator:
        yield simulator


@pytest.fixture
async def build(simulator: Simulator) -> AsyncIterator[Build]:
    """Builds providers that are closed at the end."""
    built: list[ApnsProvider | ApnsSdkProvider] = []

    def build(
        kind: type[ApnsProvider | ApnsSdkProvider] = ApnsProvider, **options: Any
    ) -> ApnsProvider | ApnsSdkProvider:
        built.append(build_apns(simulator, kind, **options))
        return built[-1]

    yield build
    for provider in built:
        await provider.close()


def batch_to(*names: str, **options: Any) -> Batch:
    return batch_of([token_of(name) for name in names], message=ALERT, **options)


async def send(provider: ApnsProvider | ApnsSdkProvider, batch: Batch) -> Reports:
    reports = Reports()
    async with asyncio.timeout(30):
        await provider.send(batch, reports, FreePace())
    return reports


def names(count: int, word: str = "d") -> list[str]:
    return [f"{word}-{number}" for number in range(count)]


async def test_five_thousand_errors_on_one_connection(
    build: Build, simulator: Simulator
) -> None:
    """Bodies of errors are read to the end and give their window back."""
    provider = build(max_connections=1)
    reports = await send(provider, batch_to(*names(5000, "badtoken")))
    assert reports.codes() == {"bad_device_token": 5000}
    assert simulator.ledger.connections == 1


async def test_the_sdk_survives_its_own_window(
    build: Build, simulator: Simulator
) -> None:
    """The SDK aioapns by itself hangs after 2,427 such answers on a connection."""
    provider = build(ApnsSdkProvider, max_connections=1, request_timeout_s=8)
    reports = await send(provider, batch_to(*names(2500, "badtoken")))
    assert reports.codes() == {"bad_device_token": 2500}
    assert simulator.ledger.connections == 1


async def test_one_stream_until_the_key_is_known(
    build: Build, simulator: Simulator
) -> None:
    """A new connection carries one request; all others wait for its answer."""
    await control(simulator, latency_ms=60)
    arrived = watch(simulator)
    reports = await send(build(max_connections=1), batch_to(*names(20)))
    assert reports.verdicts() == {Verdict.DELIVERED: 20}
    assert arrived[1] - arrived[0] >= 0.055


async def test_a_certificate_is_known_at_once(
    build: Build, simulator: Simulator
) -> None:
    """TLS has shown it before the first request."""
    await control(simulator, latency_ms=500)
    arrived = watch(simulator)
    provider = build(auth=certificate_of(simulator), bundle_id="", max_connections=1)
    reports = await send(provider, batch_to(*names(20)))
    assert reports.verdicts() == {Verdict.DELIVERED: 20}
    assert arrived[-1] - arrived[0] < 0.49


@pytest.mark.parametrize("kind", [ApnsProvider, ApnsSdkProvider])
async def test_a_certificate_names_its_app(
    build: Build, simulator: Simulator, kind: type[ApnsProvider]
) -> None:
    """Its UID is the topic, no token is sent, and its end is known."""
    file = Path(simulator.of(ApnsListener).p12_file)
    p12 = base64.b64encode(file.read_bytes()).decode()  # noqa: ASYNC240 - a test's file
    auth = CertAuth(p12_b64=p12, password=P12_PASSWORD)
    provider = build(kind, auth=auth, bundle_id="")
    assert provider.topic == BUNDLE_ID
    assert provider.credential_expires_at_s is not None
    reports = await send(provider, batch_to("a"))
    assert reports.verdicts() == {Verdict.DELIVERED: 1}
    headers = simulator.of(ApnsListener).apns.requests[-1].headers
    assert headers["apns-topic"] == BUNDLE_ID
    assert "authorization" not in headers
    assert simulator.of(ApnsListener).apns.judge.accepted_count == 0


async def test_streams_follow_settings(build: Build, simulator: Simulator) -> None:
    """The server narrows and widens its limit while requests are under way."""
    provider = build(max_connections=1)
    await send(provider, batch_to("first"))
    await control(simulator, latency_ms=2, max_streams=3)
    sending = asyncio.create_task(send(provider, batch_to(*names(150))))
    await eventually(lambda: len(simulator.of(ApnsListener).apns.requests) > 50)
    await control(simulator, latency_ms=2, max_streams=50)
    assert (await sending).verdicts() == {Verdict.DELIVERED: 150}
    assert simulator.ledger.stats()["extra"] == 0
    assert simulator.ledger.connections == 3  # two of them tell the control endpoint


async def test_a_goodbye_loses_and_doubles_nothing(
    build: Build, simulator: Simulator
) -> None:
    """What came after its last stream is sent again on a new connection."""
    await control(simulator, goaway_after=70)
    reports = await send(build(), batch_to(*names(400), "goaway-1"))
    assert reports.verdicts() == {Verdict.DELIVERED: 401}
    assert simulator.ledger.stats()["extra"] == 0


async def test_a_spent_connection_is_left(build: Build, simulator: Simulator) -> None:
    """After "unrelated key" the next try goes out on another connection."""
    provider = build(max_connections=1)
    word = "unrelatedkeyidintoken1-x"
    first = await send(provider, batch_to("a", word))
    assert first.outcomes[1].code == "unrelated_key_id"
    second = await send(provider, batch_to(word))
    assert second.verdicts() == {Verdict.DELIVERED: 1}
    assert simulator.ledger.connections == 2


async def test_each_key_has_its_own_connections(
    build: Build, simulator: Simulator
) -> None:
    """A connection belongs to the key that it saw first; no other one uses it."""
    other = replace(
        key_of(simulator),
        key_id=OTHER_KEY_ID,
        key_file=simulator.of(ApnsListener).key_file.replace(KEY_ID, OTHER_KEY_ID),
    )
    providers = build(), build(auth=other)
    for provider in (*providers, *providers):
        assert (await send(provider, batch_to("a"))).codes() == {"": 1}
    assert simulator.of(ApnsListener).apns.judge.accepted_count == 2


@pytest.mark.parametrize("kind", [ApnsProvider, ApnsSdkProvider])
async def test_an_expired_token_is_renewed_inside_the_batch(
    build: Build, simulator: Simulator, kind: type[ApnsProvider]
) -> None:
    """Our clock is behind Apple's: one new token, and everybody is sent once."""
    clock = MovedClock()
    simulator.of(ApnsListener).apns.clock = lambda: clock.now_ms() / 1000
    provider = build(kind, clock=simulator.of(ApnsListener).apns.clock)
    await send(provider, batch_to("first"))
    clock.move_ms(44 * 60_000)
    simulator.of(ApnsListener).apns.clock = lambda: clock.now_ms() / 1000 + 60 * 18
    reports = await send(provider, batch_to(*names(50)))
    assert reports.codes() == {"": 50}
    assert simulator.of(ApnsListener).apns.judge.accepted_count == 2
    assert simulator.ledger.stats()["extra"] == 0


@pytest.mark.parametrize("kind", [ApnsProvider, ApnsSdkProvider])
async def test_too_many_tokens_bring_the_old_one_back(
    build: Build, simulator: Simulator, kind: type[ApnsProvider]
) -> None:
    """Somebody else used the key a minute ago: the pool waits, the old token works."""
    clock = MovedClock()
    simulator.of(ApnsListener).apns.clock = lambda: clock.now_ms() / 1000
    mine = build(kind, clock=simulator.of(ApnsListener).apns.clock)
    await send(mine, batch_to("a"))
    clock.move_ms(44 * 60_000)
    elsewhere = build(
        tokens=ProcessTokenStore(clock), clock=simulator.of(ApnsListener).apns.clock
    )
    await send(elsewhere, batch_to("b"))
    clock.move_ms(2 * 60_000)
    refused = (await send(mine, batch_to("c"))).outcomes[0]
    assert refused.code == "too_many_provider_token_updates"
    assert refused.slow_down
    assert (await send(mine, batch_to("d"))).codes() == {"": 1}
    assert simulator.of(ApnsListener).apns.judge.accepted_count == 2


@pytest.mark.parametrize("kind", [ApnsProvider, ApnsSdkProvider])
async def test_headers_go_out_whole(
    build: Build, simulator: Simulator, kind: type[ApnsProvider]
) -> None:
    """As the caller gave them, in lower case, with the defaults beside them."""
    message_id = "123e4567-e89b-12d3-a456-426655440000"
    given = {
        "Apns-Push-Type": "location",
        "apns-priority": "5",
        "apns-collapse-id": "order-7",
        "apns-expiration": "1900000000",
        "APNS-ID": message_id,
    }
    batch = replace(batch_to("a", "b"), body=Body(ALERT, given))
    reports = await send(build(kind), batch)
    assert {one.message_id for one in reports.outcomes.values()} == {message_id}
    for request in list(simulator.of(ApnsListener).apns.requests)[-2:]:
        sent = {k: v for k, v in request.headers.items() if k.startswith("apns-")}
        assert sent == {name.lower(): value for name, value in given.items()} | {
            "apns-topic": f"{BUNDLE_ID}.location-query"
        }


@pytest.mark.parametrize("kind", [ApnsProvider, ApnsSdkProvider])
async def test_each_target_may_have_its_own_body(
    build: Build, simulator: Simulator, kind: type[ApnsProvider]
) -> None:
    """Rendered bodies reach their devices, each with the push type that it needs."""
    bodies = [
        Body(b'{"aps":{"alert":"ann"}}'),
        Body(b"{"),
        Body(b'{"aps":{"content-available":1},"for":"bob"}'),
    ]
    batch = replace(batch_to("a", "b", "c"), bodies=bodies, body=Body(b"{"))
    reports = await send(build(kind), batch)
    assert [reports.outcomes[i].code for i in range(3)] == ["", "invalid_message", ""]
    seen = {
        one.path.rpartition("/")[2]: one
        for one in simulator.of(ApnsListener).apns.requests
    }
    assert seen.keys() == {token_of("a"), token_of("c")}
    assert b"ann" in seen[token_of("a")].body
    assert b"bob" in seen[token_of("c")].body
    types = [seen[token_of(n)].headers["apns-push-type"] for n in ("a", "c")]
    assert types == ["alert", "background"]


async def test_the_end_of_a_push_travels_along(
    build: Build, simulator: Simulator
) -> None:
    """Apple does not keep for an offline device what has expired here."""
    batch = replace(batch_to("a"), deadline_ms=1_900_000_000_000)
    await send(build(), batch)
    assert (
        simulator.of(ApnsListener).apns.requests[-1].headers["apns-expiration"]
        == "1900000000"
    )


async def test_a_token_that_is_no_hex_stays_in_its_place(
    build: Build, simulator: Simulator
) -> None:
    """It is one segment of the path, and Apple calls it a bad one."""
    batch = batch_of(["../../x?y#z ü"], message=ALERT)
    reports = await send(build(), batch)
    assert reports.codes() == {"bad_device_token": 1}
    (request,) = simulator.of(ApnsListener).apns.requests
    assert request.path == "/3/device/..%2F..%2Fx%3Fy%23z%20%C3%BC"
    assert request.query == ""


async def test_a_topic_of_the_message_holds_up_nobody_else(
    build: Build, simulator: Simulator
) -> None:
    """A wrong apns-topic header is that message's fault, not the credential's."""
    body = Body(ALERT, {"apns-topic": "com.example.other"})
    reports = await send(build(), replace(batch_to("a"), body=body))
    outcome = reports.outcomes[0]
    assert outcome.code in ("topic_disallowed", "bad_topic")
    assert (outcome.verdict, outcome.of_body) == (Verdict.REJECTED, True)
    assert not outcome.slow_down


@pytest.mark.parametrize("kind", [ApnsProvider, ApnsSdkProvider])
async def test_a_dry_run_asks_nobody(
    build: Build, simulator: Simulator, kind: type[ApnsProvider]
) -> None:
    """What can be checked here is, and Apple hears nothing."""
    provider = build(kind)
    good = await send(provider, batch_to("a", validate_only=True))
    assert good.verdicts() == {Verdict.DELIVERED: 1}
    big = Body(b'{"a":"' + b"x" * 4096 + b'"}')
    wrong = replace(batch_to("a", validate_only=True), body=big)
    assert (await send(provider, wrong)).codes() == {"payload_too_large": 1}
    assert not simulator.of(ApnsListener).apns.requests


def watch(simulator: Simulator) -> list[float]:
    """The loop's time at each arrival of a request."""
    apns = simulator.of(ApnsListener).apns
    loop, arrived, answer = asyncio.get_running_loop(), [], apns.answer

    def note(request: Request, peer: Any) -> Reply:
        arrived.append(loop.time())
        return answer(request, peer)

    apns.answer = note  # type: ignore[method-assign] # sees what arrives
    return arrived


async def test_the_fast_mode_only_counts(tmp_path: Path) -> None:
    """For benchmarks: every push is accepted unread, at once on many streams."""
    async with running_simulator(tmp_path, fast=True) as simulator:
        provider = build_apns(simulator)
        reports = await send(provider, batch_to(*names(300, "dead")))
        await provider.close()
        assert reports.verdicts() == {Verdict.DELIVERED: 300}
        assert simulator.ledger.stats()["fast_answers"] == 300
        assert not simulator.of(ApnsListener).apns.requests
