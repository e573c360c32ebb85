"""How many removals are too many."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.core.removals import RecentRemovals, RemovalLimit

LIMIT = RemovalLimit()


@pytest.mark.parametrize(
    ("used", "wanted", "living", "allowed"),
    [
        (0, 50, 50, 50),
        (0, 51, 50, 50),
        (0, 51, 255, 51),
        (50, 1, 200, 0),
        (50, 1, 205, 1),
        (0, 1000, 1000, 200),
        (200, 1, 800, 0),
        (0, 0, 0, 0),
    ],
)
def test_a_fifth_or_fifty(used: int, wanted: int, living: int, allowed: int) -> None:
    """Whichever is more, counting those that went in the window already."""
    assert LIMIT.allowed(used, wanted, living) == allowed


@given(
    share=st.integers(1, 100).map(lambda percent: percent / 100),
    least=st.integers(0, 100),
    used=st.integers(0, 10**6),
    wanted=st.integers(0, 10**6),
    living=st.integers(0, 10**7),
)
def test_counting_further_would_allow_no_more(
    share: float, least: int, used: int, wanted: int, living: int
) -> None:
    """As many living devices as are needed make all acceptable; fewer may not."""
    limit = RemovalLimit(share, 3_600_000, least)
    needed = limit.living_needed(used, wanted)
    allowed = limit.allowed(used, wanted, living)
    assert 0 <= allowed <= wanted
    # One more than needed, for what floats make of a share.
    if living >= needed + 1 / share:
        assert allowed == wanted
    if used + allowed > least:
        assert allowed == 0 or used + allowed <= share * (living + used) or share >= 1


def test_the_window_slides() -> None:
    """Old parts are forgotten, within a sixtieth."""
    recent = RecentRemovals()
    for minute in range(90):
        recent.add(LIMIT, minute * 60_000, 1)
    assert 60 <= recent.used(LIMIT, 90 * 60_000) <= 61
    assert RecentRemovals.read(recent.to_text()) == recent
    assert recent.used(LIMIT, 10**12) == 0
    recent.add(LIMIT, 0, 0)
    assert recent.to_text() == ""
