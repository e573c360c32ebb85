from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.provider_cases import CASES, Case
from tests.support.sends import FreePace, Reports, batch_of
from tests.support.simulated_fcm import control, running_simulator

from tocsin.core.outcome import Outcome, Verdict
from tocsin.core.ports.providers import Batch, PushProvider
from tocsin.core.push import Body, TargetKind
from tocsin.simulator.exchange import Reply, Request
from tocsin.simulator.server import Simulator

Build = Callable[..., PushProvider]


def some_cases(wanted: Callable[[Case], bool]) -> pytest.MarkDecorator:
    """Only the implementations that the test speaks of."""
    chosen = [case for case in CASES if wanted(case)]
    ids = [case.name for case in chosen]
    return pytest.mark.parametrize("case", chosen, ids=ids, indirect=True)


@pytest.fixture
async def simulator(tmp_path: Path) -> AsyncIterator[Simulator]:
    async with running_simulator(tmp_path) as simulator:
        yield simulator


@pytest.fixture(params=CASES, ids=[case.name for case in CASES])
def case(request: pytest.FixtureRequest) -> Case:
    """Each implementation in turn."""
    chosen: Case = request.param
    return chosen


@pytest.fixture
async def build(case: Case, simulator: Simulator) -> AsyncIterator[Build]:
    """Builds providers that are closed at the end."""
    built: list[PushProvider] = []

    def build(**options: Any) -> PushProvider:
        provider = case.build(simulator, **options)
        built.append(provider)
        return provider

    yield build
    for provider in built:
        await provider.close()


async def send(
    provider: PushProvider, batch: Batch, pace: FreePace | None = None
) -> Reports:
    """One batch with a deadline, so that a hang fails."""
    reports = Reports()
    async with asyncio.timeout(30):
        await provider.send(batch, reports, pace or FreePace())
    return reports


async def send_each(provider: PushProvider, targets: list[str]) -> list[Outcome]:
    """A batch for each target, so that none decides for another."""
    reports = await asyncio.gather(
        *(send(provider, batch_of([target])) for target in targets)
    )
    return [report.outcomes[0] for report in reports]


async def test_every_fault_has_its_verdict(case: Case, build: Build) -> None:
    """Verdict, code, wait and scope of each answer; a date is a wait up to then."""
    outcomes = await send_each(build(), [f"{word}-1" for word in case.faults])
    for (word, expected), outcome in zip(case.faults.items(), outcomes, strict=True):
        wait_s = outcome.retry_after_s
        if word == "quotadate":
            assert wait_s is not None
            assert 20 < wait_s <= 30
            wait_s = 30
        found = Outcome(
            outcome.verdict,
            outcome.code,
            retry_after_s=wait_s,
            slow_down=outcome.slow_down,
            maybe_sent=outcome.maybe_sent,
        )
        assert found == expected, word
        assert (outcome.detail == "") == (expected.verdict is Verdict.DELIVERED)


async def test_details_do_not_name_the_target(case: Case, build: Build) -> None:
    """The provider's words go to a log, where no token may stand."""
    outcomes = await send_each(build(), [f"{word}-secret" for word in case.faults])
    assert not any("secret" in outcome.detail for outcome in outcomes)


async def test_success_carries_the_message_id(case: Case, build: Build) -> None:
    """The service's own id: of each message, or of the request that carried it."""
    reports = await send(build(**case.single), batch_of(["a", "b"]))
    ids = {outcome.message_id for outcome in _in_order(reports)}
    assert len(ids) == 2
    assert all(ids)
    if case.name.startswith("fcm"):  # the last segment of a name
        assert all(one.startswith("0:") and "/" not in one for one in ids)


@pytest.mark.parametrize(
    ("word", "codes"),
    [
        ("reset", {"stream_reset", "connection_closed"}),
        ("drop", {"connection_closed"}),
    ],
)
async def test_a_lost_answer_is_a_possible_duplicate(
    build: Build, word: str, codes: set[str]
) -> None:
    """Reset and dropped after the request had left: retry, and say so."""
    (outcome,) = _in_order(await send(build(), batch_of([f"{word}-1"])))
    assert outcome.verdict is Verdict.RETRY
    assert outcome.maybe_sent
    assert outcome.code in codes


SPOILT = ("empty", "page", "half", "cut", "stall")
"""The simulator's words for a success whose body never comes whole."""


@pytest.mark.parametrize("word", SPOILT)
async def test_a_success_is_final_whatever_becomes_of_its_body(
    case: Case, build: Build, simulator: Simulator, word: str
) -> None:
    """The phone has it once the status is said: accepted, and never sent again."""
    provider = build(request_timeout_s=0.5 if word == "stall" else 15, **case.single)
    targets = [f"{word}-{number}" for number in range(3)]
    reports = await send(provider, batch_of(targets))
    assert reports.verdicts() == {Verdict.DELIVERED: 3}
    assert simulator.ledger.delivered == dict.fromkeys(targets, 1)
    if not case.id_in_head:
        ids = {outcome.message_id for outcome in reports.outcomes.values()}
        assert ids <= ({""} if word != "half" else ids)


@some_cases(lambda case: bool(case.single))
@pytest.mark.parametrize("word", SPOILT)
async def test_a_spoilt_answer_to_many_is_final_for_all_of_them(
    build: Build, simulator: Simulator, word: str
) -> None:
    """One broken body must not ring a thousand phones again."""
    provider = build(request_timeout_s=0.5 if word == "stall" else 15)
    targets = ["a", "b", f"{word}-1", "c"]
    reports = await send(provider, batch_of(targets))
    assert reports.verdicts() == {Verdict.DELIVERED: 4}
    assert simulator.ledger.delivered == dict.fromkeys(targets, 1)


async def test_silence_is_a_timeout(case: Case, build: Build) -> None:
    """A provider that never answers costs the request's timeout, not more."""
    provider = build(request_timeout_s=0.5, **case.single)
    reports = await send(provider, batch_of(["silent-1", "a"]))
    silent, other = _in_order(reports)
    assert (silent.verdict, silent.code) == (Verdict.RETRY, "timeout")
    assert silent.maybe_sent
    assert other.verdict is Verdict.DELIVERED


async def test_only_pending_targets_are_sent(
    build: Build, simulator: Simulator
) -> None:
    """Indexes that an earlier try has settled stay untouched."""
    reports = await send(build(), batch_of(["a", "b", "c", "d"], pending=[1, 3]))
    assert sorted(reports.outcomes) == [1, 3]
    assert simulator.ledger.delivered == {"b": 1, "d": 1}


async def test_a_stopped_pace_starts_nothing_more(
    case: Case, build: Build, simulator: Simulator
) -> None:
    """What was started is reported, the rest is neither sent nor reported."""
    targets = [f"t{number}" for number in range(40)]
    provider = build(**case.single)
    reports = await send(provider, batch_of(targets), FreePace(stop_after=15))
    assert sorted(reports.outcomes) == list(range(15))
    assert len(simulator.ledger.delivered) == 15


async def test_many_mixed_targets_are_each_reported_once(
    case: Case, build: Build, simulator: Simulator
) -> None:
    """Nothing is lost or doubled among successes, errors and lost connections."""
    words = ["ok", "dead", "flaky", "quota", "ok", "reset", "html", "ok"]
    targets = [f"{words[i % len(words)]}-{i}" for i in range(450)]
    targets[400] = "drop-400"
    reports = await send(build(**case.single), batch_of(targets))
    assert sorted(reports.outcomes) == list(range(450))
    confirmed = [i for i in reports.outcomes if reports.outcomes[i].message_id]
    assert len(confirmed) > 75
    assert all(simulator.ledger.delivered[targets[i]] == 1 for i in confirmed)


async def test_thousands_of_errors_do_not_hang(case: Case, build: Build) -> None:
    """Error bodies use up no window for good (5,000 natively, the slow SDK fewer)."""
    provider = build(max_connections=1, **case.single)
    targets = [f"dead-{i}" for i in range(case.many_errors)]
    reports = await send(provider, batch_of(targets))
    verdict = case.faults["dead"].verdict
    assert reports.verdicts() == {verdict: case.many_errors}


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        (TargetKind.TOPIC, "news"),
        (TargetKind.CONDITION, "'a' in topics && 'b' in topics"),
        (TargetKind.TOKEN, 'with "quotes" \\ and ümlaut'),
    ],
)
async def test_targets_arrive_as_they_are(
    case: Case, build: Build, simulator: Simulator, kind: TargetKind, target: str
) -> None:
    """Topics, conditions, and whatever a token may hold."""
    if kind not in case.kinds:
        pytest.skip(f"{case.name} knows no {kind.value}")
    reports = await send(build(), batch_of([target], kind=kind))
    assert reports.verdicts() == {Verdict.DELIVERED: 1}
    assert simulator.ledger.delivered == {target: 1}


async def test_a_target_in_the_message_gives_way(
    case: Case, build: Build, simulator: Simulator
) -> None:
    """The batch decides who gets it; a service takes exactly one target."""
    reports = await send(build(), batch_of(["new"], message=case.aimed))
    assert reports.verdicts() == {Verdict.DELIVERED: 1}
    assert simulator.ledger.delivered == {"new": 1}


async def test_validate_only_delivers_nothing(
    case: Case, build: Build, simulator: Simulator
) -> None:
    """A dry run reaches nobody, and is checked where the service can do that."""
    batch = batch_of(["a", "dead-1"], validate_only=True)
    first, second = _in_order(await send(build(), batch))
    assert first.verdict is Verdict.DELIVERED
    if case.name.startswith("fcm"):
        assert first.message_id == "fake_message_id"
    expected = Verdict.UNREGISTERED if case.validates else Verdict.DELIVERED
    assert second.verdict is expected
    assert simulator.ledger.delivered == {}


@some_cases(lambda case: not (case.name.startswith("apns") or case.encrypts))
async def test_each_target_may_have_its_own_message(
    case: Case, build: Build, simulator: Simulator
) -> None:
    """Rendered bodies go to their own targets; a broken one harms nobody else."""
    seen: list[Request] = []
    answer = simulator.answer

    def record(request: Request) -> Reply:
        seen.append(request)
        return answer(request)

    simulator.answer = record  # type: ignore[method-assign] # sees what arrives
    messages = [case.named(name) for name in ("ann", "bob")]
    bodies = [Body(one) for one in (*messages, b"{", messages[0])]
    targets = ["a", "b", "c", "d"]
    batch = replace(batch_of(targets, message=b"{"), bodies=bodies)
    reports = await send(build(), batch)
    assert reports.verdicts() == {Verdict.DELIVERED: 3, Verdict.REJECTED: 1}
    assert simulator.ledger.delivered == {"a": 1, "b": 1, "d": 1}
    for target, name in (("a", b"ann"), ("b", b"bob"), ("d", b"ann")):
        aimed = [one for one in seen if f'"{target}"'.encode() in one.body]
        assert [name in one.body for one in aimed] == [True]


@pytest.mark.parametrize("message", [b"{", b"[]", b""])
async def test_a_broken_message_is_rejected(
    case: Case, build: Build, message: bytes
) -> None:
    """What is no JSON object can never be sent to anybody."""
    if message == b"[]" and case.encrypts:
        pytest.skip(f"{case.name} takes any JSON")
    reports = await send(build(), batch_of(["a", "b"], message=message))
    assert reports.codes() == {"invalid_message": 2}
    assert reports.verdicts() == {Verdict.REJECTED: 2}


@some_cases(lambda case: case.has_access_tokens)
async def test_a_refused_access_token_is_renewed_once(
    build: Build, simulator: Simulator
) -> None:
    """A 401 costs one exchange, and everybody is sent the message all the same."""
    provider = build()
    await send(provider, batch_of(["first"]))
    await control(simulator, expire_access_tokens=True)
    reports = await send(provider, batch_of([f"t{i}" for i in range(50)]))
    assert reports.verdicts() == {Verdict.DELIVERED: 50}
    assert simulator.ledger.answers["token_granted"] == 2
    assert simulator.ledger.stats()["extra"] == 0


@some_cases(lambda case: case.has_access_tokens)
async def test_a_second_refusal_is_a_misconfiguration(
    build: Build, simulator: Simulator
) -> None:
    """A fresh access token that is refused too needs a person."""
    await control(simulator, send={"fault": "expired"})
    reports = await send(build(), batch_of(["a", "b", "c"]))
    assert reports.codes() == {"unauthenticated": 3}
    assert reports.verdicts() == {Verdict.MISCONFIGURED: 3}


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (400, "invalid_grant", (Verdict.MISCONFIGURED, "invalid_grant")),
        (401, "invalid_client", (Verdict.MISCONFIGURED, "invalid_client")),
        (400, "something_new", (Verdict.MISCONFIGURED, "credentials_refused")),
        (503, "", (Verdict.RETRY, "token_unavailable")),
        (502, "", (Verdict.RETRY, "token_unavailable")),
    ],
)
@some_cases(lambda case: case.has_access_tokens)
async def test_a_failing_token_endpoint(
    case: Case,
    build: Build,
    simulator: Simulator,
    status: int,
    error: str,
    expected: tuple[Verdict, str],
) -> None:
    """A refusal needs a person, an outage needs patience; nothing is sent."""
    token = {"status": status, "error": error, "times": 9}
    await control(simulator, token=token)
    reports = await send(build(), batch_of(["a", "b"]))
    found = {(one.verdict, one.code) for one in _in_order(reports)}
    verdict, code = expected
    if verdict is Verdict.MISCONFIGURED and case.refusal_code:
        code = case.refusal_code
    assert found == {(verdict, code)}
    assert simulator.ledger.delivered == {}


async def test_a_provider_that_is_away_is_retried(
    build: Build, simulator: Simulator
) -> None:
    """No connection: every recipient may be tried again, none was sent."""
    provider = build()
    await send(provider, batch_of(["a"]))
    await simulator.stop()
    reports = await send(provider, batch_of(["b", "c"]))
    assert reports.verdicts() == {Verdict.RETRY: 2}
    assert sorted(reports.outcomes) == [0, 1]


async def test_batches_share_a_provider(build: Build, simulator: Simulator) -> None:
    """Several batches at once are each reported to their own listener."""
    provider = build(max_connections=1)
    names = [[f"b{batch}t{i}" for i in range(60)] for batch in range(5)]
    reports = await asyncio.gather(*(send(provider, batch_of(one)) for one in names))
    assert all(len(one.outcomes) == 60 for one in reports)
    assert simulator.ledger.stats()["distinct"] == 300
    assert simulator.ledger.stats()["extra"] == 0


def _in_order(reports: Reports) -> list[Outcome]:
    return [reports.outcomes[index] for index in sorted(reports.outcomes)]
