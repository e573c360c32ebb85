from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tocsin.core.timezones import find_zone, usable_timezone


@given(st.text(max_size=60) | st.from_regex(r"[A-Za-z/+:0-9 -]{0,20}", fullmatch=True))
def test_whatever_is_said_a_zone_comes_out_or_nothing(said: str) -> None:
    """What is stored is found again, and is the same when it is read again."""
    kept = usable_timezone(said)
    assert usable_timezone(kept) == kept
    assert (find_zone(kept) is None) == (kept == "")
