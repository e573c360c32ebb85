"""Outcomes that concern a whole batch at once.

It must not choose a verdict; callers bring theirs.
"""

from __future__ import annotations

from collections.abc import Iterable

from tocsin.core.outcome import Outcome
from tocsin.core.ports import Report


def report_all(indexes: Iterable[int], outcome: Outcome, report: Report) -> None:
    """The same outcome for each of these."""
    for index in indexes:
        report(index, outcome)
