"""Prefixes as ranges."""

from __future__ import annotations

import pytest

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
