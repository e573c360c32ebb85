from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.support.analytics import decode_row, row

from tocsin.analytics.text_rows import encode_rows


@given(st.lists(st.tuples(st.text(), st.text()), max_size=5))
def test_whatever_a_field_holds_comes_back(texts: list[tuple[str, str]]) -> None:
    """No text can end its field or its line; only NUL is lost."""
    rows = [row(user=user, error_message=words) for user, words in texts]
    lines = encode_rows(rows, in_seconds=False).decode().split("\n")
    assert lines.pop() == ""
    assert [(decode_row(line)[6], decode_row(line)[9]) for line in lines] == [
        (user.replace("\0", ""), words.replace("\0", "")) for user, words in texts
    ]
