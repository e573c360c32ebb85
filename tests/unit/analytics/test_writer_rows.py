from __future__ import annotations

import json
from hashlib import sha256

import pytest
from tests.support.jobs import make_send_job

from tocsin.analytics.writer import ERROR_LENGTH, mark_of_token, rows_of
from tocsin.core.analytics import NotificationRow
from tocsin.core.outcome import DELIVERED, Outcome, Verdict
from tocsin.core.push import (
    Payload,
    Recipients,
    Send,
    SendJob,
    TargetKind,
)

AT_MS = 1_800_000_000_123
TOKEN = "token-that-nobody-may-read-in-a-report"


def job(work: Send, *, provider: str = "fcm") -> SendJob:
    return make_send_job(work=work, provider=provider)


def payload(analytics_uid: str = "campaign") -> Payload:
    return Payload("p", "uid-1", analytics_uid, {})


def test_a_delivered_result_is_a_sent_row() -> None:
    """All columns come from the batch, the payload and the outcome."""
    work = Send(
        TargetKind.TOKEN, Recipients(("a", TOKEN), ("d1", "d2"), ("ios", "web"))
    )
    outcome = Outcome(Verdict.DELIVERED, message_id="m-7")
    assert rows_of(job(work), payload(), [(1, outcome, AT_MS)]) == [
        NotificationRow(
            uid="campaign",
            provider="fcm",
            type="filter",
            recipient=mark_of_token(TOKEN),
            device_id="d2",
            platform="web",
            user="",
            msg_id="m-7",
            status="sent",
            error_message="",
            error_code="",
            time_ms=AT_MS,
        )
    ]


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (Outcome(Verdict.UNREGISTERED, "unregistered", "gone"), "unregistered"),
        (Outcome(Verdict.SUSPECT, "bad_token", "gone"), "bad_token"),
        (Outcome(Verdict.RETRY, "timeout", "gone"), "timeout"),
        (Outcome(Verdict.REJECTED, "", "gone"), "rejected"),
    ],
)
def test_any_other_result_is_a_failed_row(outcome: Outcome, code: str) -> None:
    """The code is kept, or the verdict where there is none, and the words."""
    work = Send(TargetKind.TOKEN, Recipients((TOKEN,)))
    (row,) = rows_of(job(work), payload(), [(0, outcome, AT_MS)])
    assert (row.status, row.error_code, row.error_message) == ("failed", code, "gone")


def test_no_row_holds_a_token() -> None:
    """Of a token only the start of its hash is left, with or without a device."""
    work = Send(TargetKind.TOKEN, Recipients((TOKEN,)))
    (row,) = rows_of(job(work), payload(), [(0, DELIVERED, AT_MS)])
    assert row.recipient == sha256(TOKEN.encode()).hexdigest()[:16]
    assert not any(TOKEN in str(value) for value in row)


def test_web_push_is_marked_by_its_endpoint() -> None:
    """The mark is that of the registry's token, not of endpoint and keys together."""
    endpoint = "https://push.example/abc"
    target = json.dumps({"endpoint": endpoint, "keys": {"auth": "x", "p256dh": "y"}})
    work = Send(TargetKind.TOKEN, Recipients((target,)))
    (row,) = rows_of(job(work, provider="webpush"), payload(), [(0, DELIVERED, AT_MS)])
    assert row.recipient == mark_of_token(endpoint)


def test_topics_and_conditions_are_kept_as_they_are() -> None:
    """They name no device, and are what a reader looks for."""
    work = Send(TargetKind.TOPIC, Recipients(("derby",)))
    (row,) = rows_of(job(work), payload(), [(0, DELIVERED, AT_MS)])
    assert row.recipient == "derby"


def test_uid_stands_in_for_the_analytics_uid() -> None:
    """A send without an analytics_uid is found under its uid."""
    work = Send(TargetKind.TOPIC, Recipients(("derby",)))
    (row,) = rows_of(job(work), payload(""), [(0, DELIVERED, AT_MS)])
    assert row.uid == "uid-1"


def test_users_are_kept_where_the_batch_has_them() -> None:
    """The user column is filled when the request needed users, else empty."""
    work = Send(
        TargetKind.TOKEN, Recipients((TOKEN,), ("d1",), ("ios",), users=("u-9",))
    )
    (row,) = rows_of(job(work), payload(), [(0, DELIVERED, AT_MS)])
    assert row.user == "u-9"


def test_long_words_of_a_provider_are_cut() -> None:
    """A provider may answer a page of HTML."""
    work = Send(TargetKind.TOKEN, Recipients((TOKEN,)))
    outcome = Outcome(Verdict.RETRY, "unavailable", "x" * 10_000)
    (row,) = rows_of(job(work), payload(), [(0, outcome, AT_MS)])
    assert len(row.error_message) == ERROR_LENGTH
