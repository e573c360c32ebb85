from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tocsin.providers.retry_after import LONGEST_S, in_seconds, parse_retry_after

NOW_S = 1_800_000_000.0


@given(value=st.text(max_size=40), date=st.none() | st.text(max_size=40))
def test_no_text_is_an_error(value: str, date: str | None) -> None:
    """Whatever stands in the headers, it is a bounded wait or none."""
    wait_s = parse_retry_after(in_seconds(value, date), NOW_S)
    assert wait_s is None or 0 <= wait_s <= LONGEST_S


@given(value=st.floats() | st.integers() | st.datetimes())
def test_no_number_is_an_error(value: object) -> None:
    """Neither as Python writes numbers and times."""
    wait_s = parse_retry_after(str(value), NOW_S)
    assert wait_s is None or 0 <= wait_s <= LONGEST_S
