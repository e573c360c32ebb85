from __future__ import annotations

import json
from typing import Any

import pytest

from tocsin.core.outcome import Outcome, Verdict
from tocsin.providers.hms_answers import (
    BY_CODE,
    is_stale_token,
    read_answer,
)
from tocsin.providers.http1 import Answer
from tocsin.providers.outcomes import ACCEPTED


def answer(code: str, msg: Any = "m", *, status: int = 200, wait: str = "") -> Answer:
    if not isinstance(msg, str):
        msg = json.dumps(msg)
    body = {"code": code, "msg": msg, "requestId": "req-1"}
    return Answer(status, json.dumps(body).encode(), wait or None)


def partial(illegal: list[str], **counts: int) -> Answer:
    return answer("80100000", {**counts, "illegal_tokens": illegal})


def verdicts(found: Outcome | list[Outcome]) -> list[str]:
    assert isinstance(found, list)
    return [outcome.verdict.value for outcome in found]


def test_one_request_id_is_that_of_the_whole_batch() -> None:
    """Success names no token; everybody has the request's id."""
    found = read_answer(answer("80000000"), ["a", "b"])
    assert found == Outcome(Verdict.DELIVERED, message_id="req-1")


def test_illegal_tokens_are_dead_when_others_worked() -> None:
    """The list is JSON inside a JSON text; all that it does not name were sent it."""
    found = read_answer(partial(["b"], success=2, failure=1), ["a", "b", "c"])
    assert verdicts(found) == ["delivered", "unregistered", "delivered"]


@pytest.mark.parametrize("counts", [{"success": 0, "failure": 2}, {}])
def test_no_success_at_all_means_no_deletion(counts: dict[str, int]) -> None:
    """When nobody was sent it, a wrong app id says the same: guarded only."""
    found = read_answer(partial(["a", "b"], **counts), ["a", "b"])
    assert verdicts(found) == ["suspect", "suspect"]


def test_without_success_the_unnamed_are_tried_again() -> None:
    """They were not sent it, and nothing says that their tokens are wrong."""
    found = read_answer(partial(["a"], success=0, failure=2), ["a", "b"])
    assert verdicts(found) == ["suspect", "retry"]


@pytest.mark.parametrize("msg", ["", "Success", "[]", {"success": 1}])
def test_an_unreadable_partial_result_is_sent_to_nobody_twice(msg: Any) -> None:
    """Who failed is unknown, and some got it."""
    found = read_answer(answer("80100000", msg), ["a"])
    outcomes = [found] if isinstance(found, Outcome) else found
    assert [one.verdict for one in outcomes] == [Verdict.DELIVERED]


@pytest.mark.parametrize(
    ("code", "verdict", "slow_down"),
    [
        ("80100001", Verdict.REJECTED, False),
        ("80100003", Verdict.REJECTED, False),
        ("80100004", Verdict.REJECTED, False),
        ("80100013", Verdict.REJECTED, False),
        ("80100016", Verdict.REJECTED, False),
        ("80100017", Verdict.RETRY, False),
        ("80100018", Verdict.REJECTED, False),
        ("80200001", Verdict.MISCONFIGURED, True),
        ("80200003", Verdict.MISCONFIGURED, True),
        ("80200005", Verdict.MISCONFIGURED, True),
        ("80300002", Verdict.MISCONFIGURED, True),
        ("80300007", Verdict.SUSPECT, False),
        ("80300008", Verdict.REJECTED, False),
        ("80300010", Verdict.REJECTED, False),
        ("80300011", Verdict.MISCONFIGURED, False),
        ("80300013", Verdict.MISCONFIGURED, False),
        ("80600003", Verdict.RETRY, True),
        ("81000001", Verdict.RETRY, False),
    ],
)
@pytest.mark.parametrize("status", [200, 400])
def test_a_code_counts_whatever_the_status(
    code: str, verdict: Verdict, slow_down: bool, status: int
) -> None:
    """A 200 may carry every one of them."""
    found = read_answer(answer(code, status=status), ["a"])
    assert isinstance(found, Outcome)
    assert (found.verdict, found.slow_down) == (verdict, slow_down)


def test_every_code_is_tested_above() -> None:
    """18 codes beside success and partial success."""
    assert len(BY_CODE) == 18


@pytest.mark.parametrize(
    ("status", "verdict", "slow_down"),
    [
        (302, Verdict.MISCONFIGURED, True),
        (400, Verdict.REJECTED, False),
        (404, Verdict.MISCONFIGURED, True),
        (429, Verdict.RETRY, True),
        (500, Verdict.RETRY, False),
        (502, Verdict.RETRY, False),
        (503, Verdict.RETRY, True),
        (599, Verdict.RETRY, False),
    ],
)
@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"code": null}'])
def test_without_a_code_the_status_decides(
    status: int, verdict: Verdict, slow_down: bool, body: bytes
) -> None:
    """Gateways answer in HTML; a 404 is a wrong address and no dead token."""
    found = read_answer(Answer(status, body), ["a"])
    assert isinstance(found, Outcome)
    assert (found.verdict, found.slow_down) == (verdict, slow_down)


def test_flow_control_waits_as_long_as_it_says() -> None:
    """Retry-After wins; without it the worker's own pause begins."""
    waits = [
        found.retry_after_s
        for wait in ("9", None)
        if isinstance(found := read_answer(Answer(503, b"", wait), ["a"]), Outcome)
    ]
    assert waits == [9.0, None]


@pytest.mark.parametrize("status", [200, 204])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"ok",
        b"[]",
        b"{}",
        b'{"code":',
        b'{"code":0,"msg":"ok"}',
        b"<html>",
        b'{"code":"80000000","msg":"Succ',
        b'{"code":"80100000","msg":"{\\"succ',
    ],
)
def test_a_success_that_cannot_be_read_is_accepted(status: int, body: bytes) -> None:
    """All tokens of the request count as sent, under an id that nobody knows."""
    assert read_answer(Answer(status, body), ["a", "b"]) == ACCEPTED


def test_a_code_is_believed_also_where_the_body_is_cut_behind_it() -> None:
    """Huawei says in a 200 that nothing went: those must not be lost."""
    cut = Answer(200, b'{"code":"80300008","msg":"The size of mess')
    found = read_answer(cut, ["a"])
    assert isinstance(found, Outcome)
    assert found.verdict is Verdict.REJECTED
    assert is_stale_token(Answer(200, b'{"code":"80200003","msg":"OAu'))


def test_some_illegal_tokens_that_are_not_named_are_found_another_time() -> None:
    """Some were sent it; sending all again would ring those phones twice."""
    body = b'{"code":"80100000","msg":"oops","requestId":"r-1"}'
    assert read_answer(Answer(200, body), ["a", "b"]) == ACCEPTED


def test_an_unknown_code_is_tried_again() -> None:
    """A new code must lose no message; its words go to the log."""
    found = read_answer(answer("89999999", "news for secret-token"), ["secret-token"])
    assert isinstance(found, Outcome)
    assert (found.verdict, found.code) == (Verdict.RETRY, "unknown_code")
    assert found.detail == "200 89999999 news for <target>"


@pytest.mark.parametrize(
    ("given", "stale"),
    [
        (answer("80200001"), True),
        (answer("80200003", status=401), True),
        (answer("80200005"), True),
        (Answer(401, b""), True),
        (answer("80300002", status=401), False),
        (answer("80000000"), False),
        (Answer(503, b""), False),
    ],
)
def test_which_answers_are_about_the_access_token(given: Answer, stale: bool) -> None:
    """By code, or a 401 that says nothing else."""
    assert is_stale_token(given) is stale


def test_half_a_character_in_a_list_of_illegal_tokens_is_no_fault() -> None:
    """The rest of the answer counts as it would without."""
    body = b'{"code":"80100000","msg":"\\ud800","requestId":"r"}'
    assert read_answer(Answer(200, body), ["a", "b"]) == ACCEPTED
