from __future__ import annotations

import json
from typing import Any

import pytest

from tocsin.core.outcome import Outcome, Verdict
from tocsin.providers.http1 import Answer
from tocsin.providers.one_signal import read_answer
from tocsin.providers.outcomes import ACCEPTED


def answer(value: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps(value).encode())


def verdicts(found: Outcome | list[Outcome]) -> list[tuple[str, str]]:
    assert isinstance(found, list)
    return [(one.verdict.value, one.code) for one in found]


def test_an_id_is_a_success_for_all() -> None:
    """One notification, one id."""
    found = read_answer(answer({"id": "n-1", "external_id": None}), ["a", "b"])
    assert found == Outcome(Verdict.DELIVERED, message_id="n-1")


def test_a_200_may_name_unknown_subscriptions() -> None:
    """They are guarded: a wrong app id would make all unknown."""
    given = {"id": "n-1", "errors": {"invalid_player_ids": ["b"]}}
    found = read_answer(answer(given), ["a", "b"])
    assert verdicts(found) == [
        ("delivered", ""),
        ("suspect", "invalid_player_id"),
    ]


@pytest.mark.parametrize(
    "errors",
    [{"invalid_aliases": {"external_id": ["b"]}}, {"invalid_external_user_ids": ["b"]}],
)
def test_external_ids_without_a_subscription_stay(errors: dict[str, Any]) -> None:
    """That person may subscribe again under the same id."""
    found = read_answer(answer({"id": "n-1", "errors": errors}), ["a", "b"])
    assert verdicts(found) == [("delivered", ""), ("rejected", "not_subscribed")]


def test_without_an_id_nobody_was_sent_it() -> None:
    """Who is not named had no subscription either."""
    given = {"id": "", "errors": {"invalid_player_ids": ["b"]}}
    found = read_answer(answer(given), ["a", "b"])
    assert verdicts(found) == [
        ("rejected", "not_subscribed"),
        ("suspect", "invalid_player_id"),
    ]


def test_warnings_beside_an_id_change_nothing() -> None:
    """A list of texts is a failure only where no notification was made."""
    found = read_answer(answer({"id": "n-1", "errors": ["take care"]}), ["a"])
    assert found == Outcome(Verdict.DELIVERED, message_id="n-1")


@pytest.mark.parametrize(
    ("given", "status", "verdict", "code", "slow_down"),
    [
        (
            {"id": "", "errors": ["All included players are not subscribed"]},
            *(200, Verdict.REJECTED, "not_subscribed", False),
        ),
        (
            {"id": "", "errors": ["Something else"]},
            *(200, Verdict.REJECTED, "not_sent", False),
        ),
        ({"id": ""}, 200, Verdict.REJECTED, "not_sent", False),
        (
            {"errors": ["All included players are not subscribed"]},
            *(200, Verdict.REJECTED, "not_subscribed", False),
        ),
        (
            {"errors": ["app_id not found."]},
            *(400, Verdict.MISCONFIGURED, "unknown_app", True),
        ),
        (
            {"errors": ["Please include a case-sensitive header of Authorization"]},
            *(400, Verdict.MISCONFIGURED, "unauthenticated", True),
        ),
        (
            {"errors": ["Message Notifications must have English language content"]},
            *(400, Verdict.REJECTED, "invalid_message", False),
        ),
        ({"errors": ["x"]}, 401, Verdict.MISCONFIGURED, "unauthenticated", True),
        ({"errors": ["x"]}, 403, Verdict.MISCONFIGURED, "permission_denied", True),
        ({"errors": ["app_id"]}, 503, Verdict.RETRY, "unavailable", False),
        ({"errors": "rate"}, 429, Verdict.RETRY, "quota_exceeded", True),
        ({"errors": ["x"]}, 302, Verdict.MISCONFIGURED, "unexpected_status", True),
    ],
)
def test_failures_of_a_request(
    given: Any, status: int, verdict: Verdict, code: str, slow_down: bool
) -> None:
    """Its words say more than a 400; other statuses speak for themselves."""
    found = read_answer(answer(given, status), ["secret"])
    assert isinstance(found, Outcome)
    assert (found.verdict, found.code, found.slow_down) == (verdict, code, slow_down)


def test_targets_are_kept_out_of_the_log() -> None:
    """OneSignal repeats what it did not like."""
    found = read_answer(answer({"errors": ["bad id secret-id"]}, 400), ["secret-id"])
    assert isinstance(found, Outcome)
    assert found.detail == "400 bad id <target>"


@pytest.mark.parametrize("status", [200, 202])
@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"<html>", b'{"id":"n-1'])
def test_a_success_that_cannot_be_read_is_accepted(status: int, body: bytes) -> None:
    """It went to all in the request, and nobody knows its id."""
    assert read_answer(Answer(status, body), ["a", "b"]) == ACCEPTED
