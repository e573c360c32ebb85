"""Outcomes that all providers share: of a whole batch, and of unreadable successes.

What a service's own answers mean stands in its own file.
"""

from __future__ import annotations

from collections.abc import Iterable

from tocsin.core.outcome import Outcome, Verdict
from tocsin.core.ports.providers import Report

ACCEPTED = Outcome(Verdict.DELIVERED, "unreadable_answer")
"""A success whose body is cut, missing, or not the service's own.

The status was said after the message was taken, and sending again would be a second
push on the phone: it counts as accepted, under an id that nobody knows.
"""


def is_success(status: int) -> bool:
    """Whether a status says that the message was taken, whatever the body says."""
    return 200 <= status < 300


def read_id(value: object) -> str:
    """An id out of a JSON answer; "" for a value of a kind that no id is of."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def report_all(indexes: Iterable[int], outcome: Outcome, report: Report) -> None:
    """The same outcome for each of these."""
    for index in indexes:
        report(index, outcome)
