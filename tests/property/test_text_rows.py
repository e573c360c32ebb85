from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.support.analytics import row

from tocsin.analytics.text_rows import encode_rows

UNESCAPED = {"\\\\": "\\", "\\t": "\t", "\\n": "\n", "\\r": "\r"}


def decode(line: str) -> list[str]:
    """Read a line back as PostgreSQL and ClickHouse do."""
    fields = []
    for field in line.split("\t"):
        text, at = "", 0
        while at < len(field):
            pair = field[at : at + 2]
            text += UNESCAPED.get(pair, field[at])
            at += 2 if pair in UNESCAPED else 1
        fields.append(text)
    return fields


@given(st.lists(st.tuples(st.text(), st.text()), max_size=5))
def test_whatever_a_field_holds_comes_back(texts: list[tuple[str, str]]) -> None:
    """No text can end its field or its line; only NUL is lost."""
    rows = [row(user=user, error_message=words) for user, words in texts]
    lines = encode_rows(rows, in_seconds=False).decode().split("\n")
    assert lines.pop() == ""
    assert [(decode(line)[6], decode(line)[9]) for line in lines] == [
        (user.replace("\0", ""), words.replace("\0", "")) for user, words in texts
    ]
