from __future__ import annotations

import pytest

from tocsin.core.outcome import Outcome, Verdict
from tocsin.http2 import Failure, FailureKind
from tocsin.providers.apns_answers import (
    blame_certificate,
    classify,
    parse_reason,
    read_failure,
    read_success,
)
from tocsin.simulator.apns import REASONS

SUSPECT = {"BadDeviceToken", "DeviceTokenNotForTopic"}
DEAD = {"Unregistered", "ExpiredToken"}
REJECTED = {
    "BadCollapseId",
    "BadExpirationDate",
    "BadMessageId",
    "BadPath",
    "BadPriority",
    "DuplicateHeaders",
    "InvalidPushType",
    "MissingDeviceToken",
    "PayloadEmpty",
    "PayloadTooLarge",
}
RETRIED = {
    "IdleTimeout",
    "InternalServerError",
    "ServiceUnavailable",
    "Shutdown",
    "TooManyProviderTokenUpdates",
    "TooManyRequests",
    "UnrelatedKeyIdInToken",
}
OF_THE_TOPIC = {"BadTopic", "MissingTopic", "TopicDisallowed"}


@pytest.mark.parametrize(("reason", "status"), REASONS.items())
def test_every_reason_has_its_class(reason: str, status: int) -> None:
    """Each word of Apple's is known, and only what it concerns follows from it."""
    expected = (
        (SUSPECT, Verdict.SUSPECT),
        (DEAD, Verdict.UNREGISTERED),
        (REJECTED, Verdict.REJECTED),
        (RETRIED, Verdict.RETRY),
    )
    verdict = next((v for words, v in expected if reason in words), None)
    outcome = classify(status, reason)
    assert outcome.verdict is (verdict or Verdict.MISCONFIGURED)
    assert outcome.code == outcome.code.lower()
    assert outcome.detail == f"{status} {reason}"
    whole = verdict is None or reason == "TooManyProviderTokenUpdates"
    assert outcome.slow_down is whole


def test_a_limit_of_one_device_stops_nobody_else() -> None:
    """429 TooManyRequests waits a minute for this device; of the key, all wait."""
    one = classify(429, "TooManyRequests")
    assert (one.retry_after_s, one.slow_down) == (60, False)
    key = classify(429, "TooManyProviderTokenUpdates")
    assert (key.retry_after_s, key.slow_down) == (None, True)
    assert classify(429, "").slow_down


@pytest.mark.parametrize("reason", sorted(OF_THE_TOPIC))
def test_a_topic_of_the_message_is_the_messages_fault(reason: str) -> None:
    """Whoever sends another message through the credential is not held up."""
    assert classify(400, reason).slow_down
    assert not classify(400, reason, own_topic=True).slow_down


def test_death_has_its_time() -> None:
    """The timestamp of a 410 is kept, and of nothing else."""
    assert classify(410, "Unregistered", 1_700_000_000_000).gone_at_ms == (
        1_700_000_000_000
    )
    assert classify(410, "Unregistered").gone_at_ms is None
    assert classify(400, "BadDeviceToken", 1_700_000_000_000).gone_at_ms is None


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"reason":"Unregistered","timestamp":1700000000000}', 1_700_000_000_000),
        (b'{"reason":"Unregistered"}', None),
        (b'{"reason":"Unregistered","timestamp":"soon"}', None),
        (b'{"reason":"Unregistered","timestamp":-1}', None),
        (b'{"reason":"Unregistered","timestamp":true}', None),
    ],
)
def test_a_body_is_read(body: bytes, expected: int | None) -> None:
    """Reason and timestamp; a timestamp that is none is left out."""
    assert parse_reason(body) == ("Unregistered", expected)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"5", b'{"reason":5}', b"[" * 100_000, b"\xff"]
)
def test_a_body_that_is_not_apples(body: bytes) -> None:
    """Something in between answered: no reason, no exception."""
    assert parse_reason(body) == ("", None)


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (400, Verdict.REJECTED),
        (403, Verdict.MISCONFIGURED),
        (404, Verdict.MISCONFIGURED),
        (410, Verdict.UNREGISTERED),
        (413, Verdict.REJECTED),
        (418, Verdict.MISCONFIGURED),
        (429, Verdict.RETRY),
        (502, Verdict.RETRY),
        (599, Verdict.RETRY),
        (301, Verdict.MISCONFIGURED),
    ],
)
def test_without_a_known_reason_the_status_counts(
    status: int, verdict: Verdict
) -> None:
    """New words of Apple's and answers of others."""
    assert classify(status, "SomethingNew").verdict is verdict
    assert classify(status, "").verdict is verdict


def test_retry_after_wins() -> None:
    """Seconds, where the answer asks for a wait; not for what is no retry."""
    assert classify(503, "ServiceUnavailable", None, "7").retry_after_s == 7
    assert classify(429, "TooManyRequests", None, "7").retry_after_s == 7
    assert classify(503, "ServiceUnavailable").retry_after_s is None
    assert classify(410, "Unregistered", None, "7").retry_after_s is None


def test_success_carries_the_id() -> None:
    """From the header; its absence is no fault."""
    assert read_success("abc") == Outcome(Verdict.DELIVERED, message_id="abc")
    assert read_success(None) == Outcome(Verdict.DELIVERED)


def test_a_goodbye_that_blames_the_credential_needs_a_person() -> None:
    """Its reason is Apple's own; without one the network is at fault."""
    blamed = _lost(b'{"reason":"BadCertificate"}')
    assert (blamed.verdict, blamed.code) == (Verdict.MISCONFIGURED, "bad_certificate")
    assert blamed.slow_down
    assert blamed.maybe_sent


@pytest.mark.parametrize("debug", [b"", b"bye", b'{"reason":"Shutdown"}'])
def test_other_goodbyes_are_retried(debug: bytes) -> None:
    """Idle, restarting, or wordless: try again, it may be a duplicate."""
    outcome = _lost(debug)
    assert (outcome.verdict, outcome.code) == (Verdict.RETRY, "connection_closed")
    assert outcome.maybe_sent
    assert not outcome.slow_down


def _lost(debug: bytes) -> Outcome:
    return read_failure(
        Failure(FailureKind.CLOSED, True, "the server closed", goaway_debug=debug)
    )


@pytest.mark.parametrize(
    ("body", "reason", "died_ms"),
    [
        (b'{"reason":"Unregistered","timestamp":17}', "Unregistered", 17),
        (b'{"reason":"Unregistered","timestamp":99999999999999999999}', "", None),
        (b'{"reason":"no token 00ff","timestamp":1.5}', "", None),
        (b'{"reason":"' + b"0af9" * 16 + b'"}', "", None),
        (b'{"reason":"a\\u0000b"}', "", None),
    ],
)
def test_only_a_word_is_a_reason(body: bytes, reason: str, died_ms: int | None) -> None:
    """Anything else could repeat the token, and would be written down."""
    found, found_ms = parse_reason(body)
    assert found_ms == died_ms
    assert found == (reason or ("Unregistered" if b"Unregistered" in body else ""))


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (Outcome(Verdict.RETRY, "connect_failed", "alert"), "expired_certificate"),
        (Outcome(Verdict.RETRY, "connection_closed"), "expired_certificate"),
        (Outcome(Verdict.RETRY, "internal"), "internal"),
        (Outcome(Verdict.DELIVERED), ""),
    ],
)
def test_after_its_end_a_certificate_is_to_blame(outcome: Outcome, code: str) -> None:
    """For what Apple does then, which is to hang up; an answer is an answer."""
    blamed = blame_certificate(outcome)
    assert blamed.code == code
    assert blamed.slow_down is (code == "expired_certificate")


@pytest.mark.parametrize(
    "reason", ["DeviceTokenNotForTopic", "BadTopic", "TopicDisallowed", "MissingTopic"]
)
def test_a_topic_of_the_message_itself_is_its_own_fault(reason: str) -> None:
    """It says nothing of the token, nor of the credential."""
    outcome = classify(400, reason, own_topic=True)
    assert (outcome.verdict, outcome.of_body) == (Verdict.REJECTED, True)
    assert not classify(400, reason).of_body


@pytest.mark.parametrize("reason", ["PayloadTooLarge", "BadCollapseId", "Novel"])
def test_refusals_of_the_message_are_told_from_those_of_a_token(reason: str) -> None:
    """Every other device would be answered so."""
    assert classify(400, reason).of_body
    assert not classify(400, "BadDeviceToken").of_body
