from __future__ import annotations

from collections.abc import Mapping

import pytest

from tocsin.core.outcome import Outcome, Verdict
from tocsin.http2 import Response
from tocsin.http2.hpack import FieldBlock
from tocsin.providers.webpush_answers import classify

NOW_S = 1_800_000_000.0


def reply_with(
    status: int, headers: Mapping[str, str] | None = None, body: bytes = b""
) -> Response:
    fields = [(n.encode(), v.encode()) for n, v in (headers or {}).items()]
    block = FieldBlock(((b":status", b"%d" % status), *fields))
    return Response(block, body)


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_accepted(status: int) -> None:
    """The message id is the resource that the service made."""
    answer = reply_with(status, {"location": "https://push.example/m/1", "ttl": "0"})
    outcome = classify(answer)
    assert outcome == Outcome(Verdict.DELIVERED, message_id="https://push.example/m/1")
    assert classify(reply_with(status)).message_id == ""


@pytest.mark.parametrize(
    ("status", "verdict", "code"),
    [
        (301, Verdict.REJECTED, "moved"),
        (302, Verdict.REJECTED, "redirected"),
        (307, Verdict.REJECTED, "redirected"),
        (308, Verdict.REJECTED, "redirected"),
        (400, Verdict.REJECTED, "bad_request"),
        (401, Verdict.SUSPECT, "vapid_refused"),
        (403, Verdict.SUSPECT, "vapid_refused"),
        (404, Verdict.UNREGISTERED, "unregistered"),
        (406, Verdict.RETRY, "throttled"),
        (410, Verdict.UNREGISTERED, "unregistered"),
        (413, Verdict.REJECTED, "payload_too_large"),
        (418, Verdict.REJECTED, "unexpected_status"),
        (429, Verdict.RETRY, "quota_exceeded"),
        (500, Verdict.RETRY, "internal"),
        (503, Verdict.RETRY, "unavailable"),
        (507, Verdict.RETRY, "server_error"),
    ],
)
def test_refused(status: int, verdict: Verdict, code: str) -> None:
    """The table; no answer of one origin ever pauses the credential."""
    outcome = classify(reply_with(status, {"location": "https://10.0.0.1/"}))
    assert (outcome.verdict, outcome.code) == (verdict, code)
    assert outcome.detail == str(status)
    assert not outcome.slow_down
    assert outcome.retry_after_s == (60 if status == 429 else None)


@pytest.mark.parametrize(
    ("status", "value", "wait_s"),
    [
        (429, "7", 7),
        (503, "120", 120),
        (429, "Fri, 15 Jan 2027 08:00:30 GMT", 30),
        (503, "soon", None),
        (410, "7", None),
    ],
)
def test_the_wish_for_a_rest_counts(
    status: int, value: str, wait_s: float | None
) -> None:
    """Seconds or a date, on answers that are tried again."""
    outcome = classify(reply_with(status, {"retry-after": value}), now_s=NOW_S)
    assert outcome.retry_after_s == wait_s


def test_apples_word_for_another_key() -> None:
    """A 400 that is about the VAPID key must not blame the payload."""
    answer = reply_with(400, body=b'{"reason":"VapidPkHashMismatch"}')
    assert classify(answer).verdict is Verdict.SUSPECT


def test_the_words_of_wns() -> None:
    """Its bodies are empty; the reason stands in a header."""
    answer = reply_with(400, {"x-wns-error-description": "Cache policy"}, b"")
    assert classify(answer).detail == "400 Cache policy"


def test_details_hide_the_endpoint() -> None:
    """Its path is a secret: who knows it can push."""
    body = b"<p>No   such\nsubscription: gAAAAABsecret, token=dG9rZW4x</p>" + b"x" * 999
    detail = classify(
        reply_with(404, body=body), "/wpush/v2/gAAAAABsecret?token=dG9rZW4x"
    ).detail
    assert detail.startswith(
        "404 <p>No such subscription: <endpoint>, token=<endpoint></p>"
    )
    assert len(detail) == 300
