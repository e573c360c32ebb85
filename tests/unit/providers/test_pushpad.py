from __future__ import annotations

import json
from typing import Any

import pytest

from tocsin.core.outcome import Outcome, Verdict
from tocsin.providers.http1 import Answer
from tocsin.providers.outcomes import ACCEPTED
from tocsin.providers.pushpad import read_answer


def created(**fields: Any) -> Answer:
    return Answer(201, json.dumps(fields).encode())


def test_users_that_the_answer_leaves_out_have_no_subscription() -> None:
    """They stay registered; the number becomes the message id."""
    found = read_answer(created(id=17, scheduled=3, uids=["a", "c"]), ["a", "b", "c"])
    assert isinstance(found, list)
    assert [(one.verdict, one.message_id, one.code) for one in found] == [
        (Verdict.DELIVERED, "17", ""),
        (Verdict.REJECTED, "", "not_subscribed"),
        (Verdict.DELIVERED, "17", ""),
    ]


@pytest.mark.parametrize("more", [{}, {"uids": None}])
def test_without_a_list_all_were_taken(more: dict[str, Any]) -> None:
    """An answer that says nothing of users denies none."""
    found = read_answer(created(id=17, **more), ["a", "b"])
    assert found == Outcome(Verdict.DELIVERED, message_id="17")


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"<html>"])
@pytest.mark.parametrize("status", [200, 201, 202])
def test_a_success_without_an_id_is_accepted(status: int, body: bytes) -> None:
    """Sending again would be a second push to every user of the request."""
    assert read_answer(Answer(status, body), ["a"]) == ACCEPTED


@pytest.mark.parametrize(
    ("status", "verdict", "slow_down"),
    [
        (400, Verdict.REJECTED, False),
        (401, Verdict.MISCONFIGURED, True),
        (402, Verdict.MISCONFIGURED, True),
        (403, Verdict.MISCONFIGURED, True),
        (404, Verdict.MISCONFIGURED, True),
        (422, Verdict.REJECTED, False),
        (429, Verdict.RETRY, True),
        (500, Verdict.RETRY, False),
    ],
)
def test_errors_by_status(status: int, verdict: Verdict, slow_down: bool) -> None:
    """The body is the reason, without the users in it."""
    found = read_answer(Answer(status, b"no uid-1"), ["uid-1"])
    assert isinstance(found, Outcome)
    assert (found.verdict, found.slow_down) == (verdict, slow_down)
    assert found.detail == f"{status} no <target>"


@pytest.mark.parametrize("id", [None, {}, ["x"], False])
def test_an_id_of_another_kind_is_none(id: Any) -> None:
    """Taken, under an id that nobody knows."""
    assert read_answer(created(id=id), ["a"]) == ACCEPTED
