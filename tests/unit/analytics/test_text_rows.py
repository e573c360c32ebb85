from __future__ import annotations

import pytest
from tests.support.analytics import NOW_MS, decode_row, row

from tocsin.analytics.text_rows import encode_rows


def test_plain_rows_are_lines_of_fields() -> None:
    """Twelve fields in the order of the columns, the time as asked for."""
    line = encode_rows([row()], in_seconds=False).decode()
    assert line.count("\t") == 11
    assert line.endswith(f"\t{NOW_MS}\n")
    assert (
        encode_rows([row()], in_seconds=True).decode().endswith(f"{NOW_MS // 1000}\n")
    )


@pytest.mark.parametrize("evil", ["\\N", "\\.", "a\tb\tc", "\n\\.\n"])
def test_words_of_the_format_stay_text(evil: str) -> None:
    """A null mark or an end mark in a field is that text."""
    text = encode_rows([row(msg_id=evil), row()], in_seconds=False).decode()
    first, second, end = text.split("\n")
    assert decode_row(first)[7] == evil
    assert (decode_row(second)[0], end) == ("u1", "")


def test_half_a_character_becomes_a_mark() -> None:
    """Text that no database takes does not take its neighbours along."""
    data = encode_rows([row(user="\ud83d"), row(user="ok")], in_seconds=False)
    assert data.count(b"\n") == 2
