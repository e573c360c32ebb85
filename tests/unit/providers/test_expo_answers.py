from __future__ import annotations

import json
from typing import Any

import pytest

from tocsin.core.outcome import Outcome, Verdict
from tocsin.providers.chunks import Split
from tocsin.providers.expo_answers import (
    BY_ERROR,
    BY_REQUEST_ERROR,
    read_receipts,
    read_tickets,
)
from tocsin.providers.http1 import Answer
from tocsin.providers.outcomes import ACCEPTED


def answer(value: Any, *, status: int = 200, wait: str | None = None) -> Answer:
    return Answer(status, json.dumps(value).encode(), wait)


def errors(code: str, *, status: int = 400, **details: Any) -> Answer:
    error = {"code": code, "message": f"about {code}", "details": details}
    return answer({"errors": [error]}, status=status)


def error(code: str, message: str = "m") -> dict[str, Any]:
    return {"status": "error", "message": message, "details": {"error": code}}


OK = {"status": "ok", "id": "t-1"}


def test_tickets_come_in_the_order_of_the_request() -> None:
    """Each recipient has an outcome of its own, and a ticket's id is kept."""
    given = answer({"data": [OK, error("DeviceNotRegistered"), {**OK, "id": "t-2"}]})
    found = read_tickets(given, ["a", "b", "c"])
    assert isinstance(found, list)
    assert [one.message_id for one in found] == ["t-1", "", "t-2"]
    assert found[1].verdict is Verdict.UNREGISTERED


def test_one_message_may_be_answered_by_one_object() -> None:
    """Expo writes no list where none was posted."""
    found = read_tickets(answer({"data": OK}), ["a"])
    assert found == [Outcome(Verdict.DELIVERED, message_id="t-1")]


@pytest.mark.parametrize("data", [[], [OK], [OK] * 3])
def test_tickets_that_do_not_fit_are_nobodys(data: list[Any]) -> None:
    """Which one is whose cannot be known, but Expo took the request."""
    assert read_tickets(answer({"data": data}), ["a", "b"]) == ACCEPTED


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", b'{"data":[{"stat', b'{"data": "x"}']
)
def test_a_200_without_tickets_is_taken_and_not_sent_again(body: bytes) -> None:
    """Whatever stands in between spoilt the answer, not the messages."""
    assert read_tickets(Answer(200, body), ["a", "b"]) == ACCEPTED


def test_a_ticket_that_is_none_is_taken_and_the_others_are_read() -> None:
    """One odd entry costs one ticket."""
    found = read_tickets(answer({"data": [OK, None]}), ["a", "b"])
    assert found == [Outcome(Verdict.DELIVERED, message_id="t-1"), ACCEPTED]


def test_a_200_that_says_an_error_in_words_is_tried_again() -> None:
    """Expo refused the whole request under a code that is new."""
    found = read_tickets(answer({"errors": [{"code": "NEW"}]}), ["a"])
    assert isinstance(found, Outcome)
    assert (found.verdict, found.code) == (Verdict.RETRY, "unknown_error")


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"data":{"t-1":{"sta'])
def test_receipts_that_cannot_be_read_are_asked_for_again(body: bytes) -> None:
    """Nothing was sent by asking, so nothing is taken for delivered."""
    found = read_receipts(Answer(200, body))
    assert isinstance(found, Outcome)
    assert found.verdict is Verdict.RETRY


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        ("DeviceNotRegistered", Verdict.UNREGISTERED),
        ("MessageTooBig", Verdict.REJECTED),
        ("MessageRateExceeded", Verdict.RETRY),
        ("MismatchSenderId", Verdict.MISCONFIGURED),
        ("InvalidCredentials", Verdict.MISCONFIGURED),
        ("DeveloperError", Verdict.MISCONFIGURED),
        ("ProviderError", Verdict.RETRY),
        ("ExpoError", Verdict.RETRY),
        ("SomethingNew", Verdict.RETRY),
    ],
)
def test_each_error_means_the_same_in_tickets_and_receipts(
    code: str, verdict: Verdict
) -> None:
    """None of them concerns everybody else; no token stands in the text."""
    ticket = error(code, '"ExponentPushToken[secret]" is wrong')
    (found,) = read_tickets(answer({"data": [ticket]}), ["ExponentPushToken[secret]"])  # type: ignore[misc] # a list here
    assert (found.verdict, found.slow_down) == (verdict, False)
    assert found.detail == f'{code} "<target>" is wrong'
    receipts = read_receipts(answer({"data": {"t-1": error(code)}}))
    assert not isinstance(receipts, Outcome)
    assert receipts["t-1"].verdict is verdict


def test_every_class_is_tested_above_and_below() -> None:
    """8 errors of tickets, 6 of requests."""
    assert (len(BY_ERROR), len(BY_REQUEST_ERROR)) == (8, 6)


@pytest.mark.parametrize(
    ("code", "status", "verdict", "slow_down"),
    [
        ("TOO_MANY_REQUESTS", 429, Verdict.RETRY, True),
        ("TOO_MANY_REQUESTS", 200, Verdict.RETRY, True),
        ("UNAUTHORIZED", 401, Verdict.MISCONFIGURED, True),
        ("VALIDATION_ERROR", 400, Verdict.REJECTED, False),
        ("PUSH_TOO_MANY_NOTIFICATIONS", 400, Verdict.REJECTED, False),
        ("PUSH_TOO_MANY_RECEIPTS", 400, Verdict.REJECTED, False),
        ("PUSH_TOO_MANY_EXPERIENCE_IDS", 400, Verdict.REJECTED, False),
        ("NEW", 400, Verdict.REJECTED, False),
        ("NEW", 403, Verdict.MISCONFIGURED, True),
        ("NEW", 404, Verdict.MISCONFIGURED, True),
        ("NEW", 503, Verdict.RETRY, False),
        ("NEW", 200, Verdict.RETRY, False),
    ],
)
def test_errors_of_a_request_concern_all_in_it(
    code: str, status: int, verdict: Verdict, slow_down: bool
) -> None:
    """By code first, by status else; the same for receipts."""
    for found in (
        read_tickets(errors(code, status=status), ["a"]),
        read_receipts(errors(code, status=status)),
    ):
        assert isinstance(found, Outcome)
        assert (found.verdict, found.slow_down) == (verdict, slow_down)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"errors": [1]}'])
def test_pages_of_gateways_are_survived(body: bytes) -> None:
    """The status decides."""
    found = read_tickets(Answer(502, body), ["a"])
    assert isinstance(found, Outcome)
    assert (found.verdict, found.code) == (Verdict.RETRY, "bad_gateway")


def test_a_429_waits_as_long_as_it_says_or_a_minute() -> None:
    """Retry-After wins."""
    waits = []
    for wait in ("5", None):
        given = answer(
            {"errors": [{"code": "TOO_MANY_REQUESTS"}]}, status=429, wait=wait
        )
        found = read_tickets(given, ["a"])
        assert isinstance(found, Outcome)
        waits.append(found.retry_after_s)
    assert waits == [5.0, 60.0]


def mixed(**projects: Any) -> Answer:
    return errors("PUSH_TOO_MANY_EXPERIENCE_IDS", **projects)


def test_a_mixed_request_is_split_by_project() -> None:
    """As the details say; who is not named there goes alone."""
    given = mixed(one=["a", "c"], two=["b"])
    found = read_tickets(given, ["a", "b", "c", "d", "e"])
    assert isinstance(found, Split)
    assert found.groups == [[0, 2], [1], [3], [4]]


@pytest.mark.parametrize("details", [{}, {"one": ["a", "b"]}, {"one": "a"}])
def test_details_of_no_use_split_into_single_messages(details: dict[str, Any]) -> None:
    """It never asks for the same request again."""
    found = read_tickets(mixed(**details), ["a", "b"])
    assert isinstance(found, Split)
    assert found.groups == [[0], [1]]


def test_no_text_of_expo_keeps_a_token() -> None:
    """It names tokens in its texts; who asks for a receipt knows its id alone."""
    said = 'The recipient "ExponentPushToken[abc]" (ExpoPushToken[d-e]) is none'
    hidden = 'DeviceNotRegistered The recipient "<target>" (<target>) is none'
    receipt = error("DeviceNotRegistered", said)
    receipts = read_receipts(answer({"data": {"t-1": receipt}}))
    assert isinstance(receipts, dict)
    assert receipts["t-1"].detail == hidden
    found = read_tickets(answer({"data": [receipt]}), ["ExponentPushToken[abc]"])
    assert isinstance(found, list)
    assert found[0].detail == hidden


@pytest.mark.parametrize("id", [None, {"a": 1}, [], True, 1.5])
def test_an_id_of_another_kind_is_none(id: Any) -> None:
    """`None` as a text would be asked for as a receipt."""
    found = read_tickets(answer({"data": [{"status": "ok", "id": id}]}), ["t"])
    assert found == [Outcome(Verdict.DELIVERED)]
