"""What opens a breaker, and what each answer makes of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tocsin.core.breaker import (
    BodyHalt,
    Breaker,
    BreakerState,
    Cause,
    body_name,
    body_prefix,
    cause_of,
    credential_name,
    is_body_name,
    open_breaker,
    parse_credential_name,
    pause_ms,
    read_breaker,
    read_halt,
)
from tocsin.core.outcome import DELIVERED, Outcome, Verdict

FAULT = Outcome(Verdict.MISCONFIGURED, "not_found", "404 no project", slow_down=True)
BUSY = Outcome(Verdict.RETRY, "quota", retry_after_s=37, slow_down=True)
SUSPECT = Outcome(Verdict.SUSPECT, "sender_id_mismatch")
DEAD = Outcome(Verdict.UNREGISTERED, "unregistered")
OF_ONE = [
    Outcome(Verdict.MISCONFIGURED, "third_party_auth_error"),
    Outcome(Verdict.RETRY, "unavailable"),
    Outcome(Verdict.REJECTED, "invalid_argument"),
    None,
]


def opened(cause: Cause = Cause.FAULT) -> Breaker:
    return open_breaker(cause, FAULT, 1_000, push_id="p1")


def test_what_an_answer_is_about() -> None:
    """The whole credential only where the adapter says so."""
    assert cause_of(FAULT) is Cause.FAULT
    assert cause_of(BUSY) is Cause.THROTTLE
    for outcome in (SUSPECT, DEAD, DELIVERED, *filter(None, OF_ONE)):
        assert cause_of(outcome) is None


def test_what_opened_it_is_known() -> None:
    """Since when, why, and by which send."""
    breaker = opened()
    assert (breaker.code, breaker.push_id) == ("not_found", "p1")
    assert (breaker.opened_at_ms, breaker.until_ms) == (1_000, 11_000)
    assert breaker.reason() == "not_found: 404 no project"
    assert replace(breaker, detail="").reason() == "not_found"
    long = open_breaker(Cause.FAULT, replace(FAULT, detail="x" * 5_000), 0)
    assert len(long.detail) == 300


@pytest.mark.parametrize("cause", [Cause.FAULT, Cause.STORM])
def test_only_a_probe_ends_it(cause: Cause) -> None:
    """Until then it stops sends, however late it is."""
    breaker = opened(cause)
    assert breaker.stops(10**15)
    assert breaker.state(10_999) is BreakerState.OPEN
    assert breaker.state(11_000) is BreakerState.HALF_OPEN
    claimed = breaker.claimed("w1", 11_000)
    assert claimed.state(11_000) is BreakerState.HALF_OPEN
    assert (claimed.prober, claimed.until_ms) == ("w1", 41_000)


def test_a_throttled_one_ends_with_its_time() -> None:
    """The provider said how long."""
    breaker = open_breaker(Cause.THROTTLE, BUSY, 1_000)
    assert breaker.state(37_999) is BreakerState.THROTTLED
    assert not breaker.stops(38_000)
    assert breaker.state(38_000) is BreakerState.CLOSED


def test_a_delivery_closes_it() -> None:
    """Whatever had opened it."""
    for cause in Cause:
        assert opened(cause).after_probe(DELIVERED, 5) is None


def test_a_dead_token_shows_that_a_credential_is_accepted() -> None:
    """But in a storm, verdicts about tokens are what is in doubt."""
    assert opened().after_probe(DEAD, 5) is None
    assert opened(Cause.STORM).after_probe(DEAD, 5) is not None


@pytest.mark.parametrize("outcome", OF_ONE)
@pytest.mark.parametrize("cause", [Cause.FAULT, Cause.STORM])
def test_an_answer_about_one_recipient_says_nothing(
    cause: Cause, outcome: Outcome | None
) -> None:
    """Somebody else is asked soon, and the pause is not doubled."""
    claimed = opened(cause).claimed("w1", 11_000)
    after = claimed.after_probe(outcome, 12_000)
    assert after == replace(opened(cause), until_ms=14_000)


@pytest.mark.parametrize("outcome", [FAULT, SUSPECT])
def test_each_failed_probe_doubles_the_pause(outcome: Outcome) -> None:
    """Up to five minutes; what it says now is what is told."""
    breaker, pauses = opened(), []
    for _ in range(8):
        after = breaker.claimed("w1", 0).after_probe(outcome, 0)
        assert after is not None
        breaker = after
        pauses.append(breaker.until_ms // 1000)
    assert pauses == [20, 40, 80, 160, 300, 300, 300, 300]
    assert (breaker.code, breaker.failed_probes) == (outcome.code, 8)
    assert (breaker.opened_at_ms, breaker.prober) == (1_000, "")


def test_a_storm_is_probed_every_minute() -> None:
    """The next recipient may well be answered otherwise."""
    breaker = replace(opened(Cause.STORM), failed_probes=20)
    assert breaker.failed_again(SUSPECT, 0).until_ms == 60_000


def test_the_providers_wish_wins() -> None:
    """Within half an hour."""
    assert pause_ms(replace(FAULT, retry_after_s=700.0), 9) == 700_000
    assert pause_ms(replace(FAULT, retry_after_s=10.0**9), 0) == 1_800_000
    assert pause_ms(replace(FAULT, retry_after_s=0.0), 5) == 0


@pytest.mark.parametrize("cause", list(Cause))
def test_workers_share_it_as_text(cause: Cause) -> None:
    """Every field; what a newer release adds is left out."""
    breaker = replace(opened(cause), prober="w1", failed_probes=3, detail="ä|\n")
    text = breaker.to_text()
    assert read_breaker(text) == breaker
    assert read_breaker(text[:-1] + ',"newer":1}') == breaker


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"cause":"other"}', '{"cause":"fault"}']
)
def test_what_cannot_be_read_is_no_breaker(text: str) -> None:
    """Nor a halt: it must not stop a worker."""
    assert read_breaker(text) is None
    assert read_halt(text) is None


def test_a_halt_says_one_reason() -> None:
    """All of its recipients are found by it in the dead letters."""
    halt = BodyHalt("payload_too_large", "413 too big", 5)
    assert read_halt(halt.to_text()) == halt
    assert halt.reason() == "body_refused: payload_too_large: 413 too big"
    assert BodyHalt("x", "", 5).reason() == "body_refused: x"


def test_names() -> None:
    """A changed key has another one."""
    name = credential_name("fcm", "shop", "ab12")
    assert parse_credential_name(name) == ("fcm", "shop", "ab12")
    assert name != credential_name("fcm", "shop", "ab13")
    halted = body_name("p1", "fcm", "shop")
    assert halted.startswith(body_prefix("p1"))
    assert is_body_name(halted)
    assert not is_body_name(name)
    assert not body_name("p10", "fcm", "shop").startswith(body_prefix("p1"))
    assert parse_credential_name(halted) is None
    assert parse_credential_name("credential|fcm") is None
