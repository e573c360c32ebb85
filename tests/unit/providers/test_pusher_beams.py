from __future__ import annotations

import json

import pytest

from tocsin.core.outcome import Outcome, Verdict
from tocsin.providers.http1 import Answer
from tocsin.providers.outcomes import ACCEPTED
from tocsin.providers.pusher_beams import read_answer


def test_a_publish_id_is_that_of_all_users() -> None:
    """Beams says nothing of single users."""
    found = read_answer(Answer(200, b'{"publishId": "p-1"}'), ["a", "b"])
    assert found == Outcome(Verdict.DELIVERED, message_id="p-1")


@pytest.mark.parametrize("body", [b"", b"{}", b'{"publishId": 1}', b"<html>"])
def test_a_200_without_an_id_is_accepted_all_the_same(body: bytes) -> None:
    """Sending again would be a second push to every user of the request."""
    assert read_answer(Answer(200, body), ["a"]) == ACCEPTED


@pytest.mark.parametrize(
    ("status", "verdict", "slow_down"),
    [
        (400, Verdict.REJECTED, False),
        (401, Verdict.MISCONFIGURED, True),
        (404, Verdict.MISCONFIGURED, True),
        (413, Verdict.REJECTED, False),
        (422, Verdict.REJECTED, False),
        (429, Verdict.RETRY, True),
        (500, Verdict.RETRY, False),
        (503, Verdict.RETRY, False),
    ],
)
def test_errors_by_status(status: int, verdict: Verdict, slow_down: bool) -> None:
    """With Beams' own words for the log, without the users."""
    error = {"error": "Bad", "description": "about user-1"}
    found = read_answer(Answer(status, json.dumps(error).encode()), ["user-1"])
    assert (found.verdict, found.slow_down) == (verdict, slow_down)
    assert found.detail == f"{status} Bad about <target>"
