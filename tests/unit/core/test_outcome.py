from __future__ import annotations

import pytest

from tocsin.core.outcome import DETAIL_LIMIT, ID_LIMIT, Outcome, Verdict


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("No such token: ü 😀", "No such token: ü 😀"),
        ("two\nlines\tand a\0NUL", "two lines and a\ufffdNUL"),
        ("half \ud83d of a character", "half \ufffd of a character"),
        ("x" * 5000, "x" * DETAIL_LIMIT),
    ],
)
def test_words_of_providers_can_be_written_down(said: str, kept: str) -> None:
    """Rows and dead letters are UTF-8 without NULs; one such word would stop a job."""
    assert Outcome(Verdict.RETRY, "x", said).detail == kept


@pytest.mark.parametrize("id", ["a\0b", "\ud800", "x" * (ID_LIMIT + 1), "a\nb"])
def test_what_cannot_be_an_id_is_none(id: str) -> None:
    """A part of an id would be another id."""
    assert Outcome(Verdict.DELIVERED, message_id=id) == Outcome(Verdict.DELIVERED)
    assert Outcome(Verdict.DELIVERED, message_id="0:1%2").message_id == "0:1%2"
