from __future__ import annotations

import pytest

from tocsin.providers.retry_after import LONGEST_S, parse_retry_after

NOW_S = 1_800_000_000.0


@pytest.mark.parametrize(
    ("value", "wait_s"),
    [
        ("7", 7.0),
        (" 0 ", 0.0),
        ("Fri, 15 Jan 2027 08:00:30 GMT", 30.0),
        ("Fri, 15 Jan 2027 07:00:00 GMT", 0.0),
        ("", None),
        (None, None),
        ("soon", None),
        ("-5", None),
        ("\u0667", None),
        ("Fri, 99 Foo 2027", None),
        ("86401", LONGEST_S),
        ("9" * 400, LONGEST_S),
        ("Fri, 15 Jan 9999 08:00:30 GMT", LONGEST_S),
    ],
)
def test_retry_after_has_two_forms(value: str | None, wait_s: float | None) -> None:
    """Seconds or an HTTP date; a past date is now, rubbish nothing, a day the most."""
    assert parse_retry_after(value, NOW_S) == wait_s
