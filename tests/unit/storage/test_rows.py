"""Prefixes as ranges."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.storage.rows import text_after


@pytest.mark.parametrize(
    ("prefix", "after"),
    [
        ("abc", "abd"),
        ("50%", "50&"),
        ("é", "ê"),
        ("a\U0010ffff", "b"),
        ("\U0010ffff", None),
        ("\ud7ff", "\ue000"),
    ],
)
def test_least_text_above_a_prefix(prefix: str, after: str | None) -> None:
    """The last character is counted up; the highest one is dropped before."""
    assert text_after(prefix) == after


_WORDS = st.text(st.characters(codec="utf-8"), max_size=6)


@given(prefix=_WORDS.filter(bool), other=_WORDS)
def test_range_is_the_prefix_in_byte_order(prefix: str, other: str) -> None:
    """A text lies in the range exactly when it starts with the prefix."""
    end = text_after(prefix)
    for text in (other, prefix + other):
        raw = text.encode()
        inside = raw >= prefix.encode() and (end is None or raw < end.encode())
        assert inside == text.startswith(prefix)
