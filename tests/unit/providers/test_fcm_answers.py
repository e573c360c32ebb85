from __future__ import annotations

import json
from typing import Any

import pytest

from tocsin.core.outcome import Outcome, Verdict
from tocsin.providers.fcm_answers import (
    classify,
    is_stale_access_token,
    read_success,
)
from tocsin.providers.outcomes import ACCEPTED

NOW_S = 1_800_000_000.0
FCM = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"
QUOTA = "type.googleapis.com/google.rpc.QuotaFailure"
BAD_TOKEN = "The registration token is not a valid FCM registration token"


def error(
    code: str = "", message: str = "m", *details: dict[str, Any], at: str = FCM
) -> bytes:
    found = [{"@type": at, "errorCode": code}] if code else []
    body = {"error": {"message": message, "details": [*found, *details]}}
    return json.dumps(body).encode()


def violation(field: str) -> dict[str, Any]:
    return {"@type": BAD_REQUEST, "fieldViolations": [{"field": field}]}


def quota(description: str) -> dict[str, Any]:
    return {"@type": QUOTA, "violations": [{"description": description}]}


TABLE = [
    (404, error("UNREGISTERED"), Verdict.UNREGISTERED, "unregistered"),
    (400, error("UNREGISTERED"), Verdict.UNREGISTERED, "unregistered"),
    (
        400,
        error("INVALID_ARGUMENT", BAD_TOKEN),
        Verdict.UNREGISTERED,
        "invalid_token",
    ),
    (400, error("", BAD_TOKEN), Verdict.UNREGISTERED, "invalid_token"),
    (
        400,
        error("INVALID_ARGUMENT", "x", violation("message.token")),
        Verdict.UNREGISTERED,
        "invalid_token",
    ),
    (
        400,
        error("INVALID_ARGUMENT", "x", violation("message.data[0].value")),
        Verdict.REJECTED,
        "invalid_argument",
    ),
    (
        400,
        error("", "Android message is too big"),
        Verdict.REJECTED,
        "invalid_argument",
    ),
    (400, b"", Verdict.REJECTED, "invalid_argument"),
    (403, error("SENDER_ID_MISMATCH"), Verdict.SUSPECT, "sender_id_mismatch"),
    (
        401,
        error("THIRD_PARTY_AUTH_ERROR"),
        Verdict.MISCONFIGURED,
        "third_party_auth_error",
    ),
    (
        401,
        error("APNS_AUTH_ERROR"),
        Verdict.MISCONFIGURED,
        "third_party_auth_error",
    ),
    (401, error(), Verdict.MISCONFIGURED, "unauthenticated"),
    (403, error(), Verdict.MISCONFIGURED, "permission_denied"),
    (404, error(), Verdict.MISCONFIGURED, "not_found"),
    (404, b"<html>", Verdict.MISCONFIGURED, "not_found"),
    (
        404,
        error("UNREGISTERED", at="type.googleapis.com/other"),
        Verdict.MISCONFIGURED,
        "not_found",
    ),
    (429, error("QUOTA_EXCEEDED"), Verdict.RETRY, "quota_exceeded"),
    (429, b"", Verdict.RETRY, "quota_exceeded"),
    (500, error("INTERNAL"), Verdict.RETRY, "internal"),
    (500, b"", Verdict.RETRY, "internal"),
    (502, b"<!DOCTYPE html>", Verdict.RETRY, "bad_gateway"),
    (503, error("UNAVAILABLE"), Verdict.RETRY, "unavailable"),
    (503, b"\xff\xfe", Verdict.RETRY, "unavailable"),
    (504, b"<html>", Verdict.RETRY, "gateway_timeout"),
    (599, b"", Verdict.RETRY, "server_error"),
    (500, error("UNSPECIFIED_ERROR"), Verdict.RETRY, "internal"),
    (400, error("A_NEW_ONE"), Verdict.REJECTED, "invalid_argument"),
    (408, b"", Verdict.RETRY, "timeout"),
    (413, b"", Verdict.REJECTED, "payload_too_large"),
    (301, b"", Verdict.MISCONFIGURED, "unexpected_status"),
    (405, b"", Verdict.MISCONFIGURED, "unexpected_status"),
    (304, b"", Verdict.MISCONFIGURED, "unexpected_status"),
]


@pytest.mark.parametrize(("status", "body", "verdict", "code"), TABLE)
def test_each_answer_has_its_class(
    status: int, body: bytes, verdict: Verdict, code: str
) -> None:
    """By error detail first, by status where there is none."""
    outcome = classify(status, body, None)
    assert (outcome.verdict, outcome.code) == (verdict, code)


@pytest.mark.parametrize(
    "body",
    [
        b'{"error": []}',
        b'{"error": {"details": {}}}',
        b'{"error": {"details": [1, null, []]}}',
        b"[]",
        b"null",
        b'{"error": {"message": null, "details": [{"@type": []}]}}',
    ],
)
def test_misshapen_errors_fall_back_to_the_status(body: bytes) -> None:
    """No body can break the classification."""
    assert classify(503, body, None).code == "unavailable"
    assert classify(404, body, None).verdict is not Verdict.UNREGISTERED


def test_a_429_without_a_wait_means_a_minute() -> None:
    """Google's guidance fills in; its own word wins."""
    assert classify(429, b"", None).retry_after_s == 60
    assert classify(429, b"", "3").retry_after_s == 3
    assert classify(503, b"", None).retry_after_s is None
    assert classify(503, b"", "3").retry_after_s == 3


def test_only_retries_carry_a_wait() -> None:
    """A Retry-After on a definite answer means nothing."""
    assert classify(404, error("UNREGISTERED"), "9").retry_after_s is None


@pytest.mark.parametrize(
    ("status", "body", "slow"),
    [
        (429, error("QUOTA_EXCEEDED"), False),
        (
            429,
            error("QUOTA_EXCEEDED", "m", quota("Device message rate exceeded")),
            False,
        ),
        (
            429,
            error("QUOTA_EXCEEDED", "m", quota("Topic message rate exceeded")),
            False,
        ),
        (429, error("QUOTA_EXCEEDED", "m", quota("Message rate exceeded")), True),
        (429, error("", "Quota exceeded for quota metric 'Send requests'"), True),
        (429, b"", True),
        (503, error("UNAVAILABLE"), False),
    ],
)
def test_only_the_projects_quota_slows_everybody(
    status: int, body: bytes, slow: bool
) -> None:
    """A hot device or topic does not stop the others."""
    assert classify(status, body, None).slow_down is slow


@pytest.mark.parametrize(
    ("status", "body", "stale"),
    [
        (401, error(), True),
        (401, b"", True),
        (401, error("THIRD_PARTY_AUTH_ERROR"), False),
        (403, error(), False),
    ],
)
def test_only_a_bare_401_is_a_stale_access_token(
    status: int, body: bytes, stale: bool
) -> None:
    """Renewing the token helps no other answer."""
    assert is_stale_access_token(status, body) is stale


def test_success_gives_the_last_segment() -> None:
    """Compact or indented, with or without more fields."""
    for body in (
        b'{"name":"projects/p/messages/0:1%2"}',
        b'{\n  "name": "projects/p/messages/0:1%2"\n}\n',
        b'{"name": "projects/p/messages/0:1%2", "more": "x"}',
    ):
        assert read_success(body) == Outcome(Verdict.DELIVERED, message_id="0:1%2")


@pytest.mark.parametrize("status", [200, 202, 204])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"<html>hello</html>",
        b'{"name":""}',
        b"[]",
        b"\x1f\x8b\x08",
        b"\xff",
        b'{"name":"projects/p/messages/0:1',
    ],
)
def test_a_success_that_names_nothing_is_accepted(status: int, body: bytes) -> None:
    """The phone has it: the id is unknown, and nothing is sent again."""
    assert classify(status, body, None) == ACCEPTED


def test_the_target_is_kept_out_of_the_detail() -> None:
    """Google's words may quote the token; ours must not."""
    body = error("INVALID_ARGUMENT", "bad token: secret!")
    assert classify(400, body, None, "secret").detail == "400 bad token: <target>!"


def test_details_are_short() -> None:
    """A log line is no place for a page of text."""
    assert len(classify(400, error("", "x" * 5000), None).detail) <= 300


def test_a_body_nested_too_deep_is_read_by_its_status() -> None:
    """It is not JSON that anybody reads; the recipient has an outcome all the same."""
    outcome = classify(503, b"[" * 100_000, None)
    assert (outcome.verdict, outcome.code) == (Verdict.RETRY, "unavailable")
    assert not is_stale_access_token(400, b"[" * 100_000)


def test_a_message_of_half_characters_can_be_written_down() -> None:
    """Half of a surrogate pair is JSON, and no UTF-8."""
    outcome = classify(400, error("INTERNAL", "a \ud800 b"), None)
    assert outcome.detail == "400 a \ufffd b"
