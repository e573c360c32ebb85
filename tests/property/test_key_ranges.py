from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tocsin.storage.rows import text_after

_WORDS = st.text(st.characters(codec="utf-8"), max_size=6)


@given(prefix=_WORDS.filter(bool), other=_WORDS)
def test_range_is_the_prefix_in_byte_order(prefix: str, other: str) -> None:
    """A text lies in the range exactly when it starts with the prefix."""
    end = text_after(prefix)
    for text in (other, prefix + other):
        raw = text.encode()
        inside = raw >= prefix.encode() and (end is None or raw < end.encode())
        assert inside == text.startswith(prefix)
