from __future__ import annotations

import pytest

from tocsin.providers.retry_after import LONGEST_S, in_seconds, parse_retry_after

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
        ("1e20", LONGEST_S),
        ("1E+20", LONGEST_S),
        ("1e999999", LONGEST_S),
        ("2.5", 2.5),
        ("+7", 7.0),
        ("1e1", 10.0),
        ("120, 60", 120.0),
        ("30;comment", 30.0),
        ("nan", None),
        ("inf", None),
        ("-1e20", None),
        ("1_000", None),
        ("0x10", None),
        ("7 seconds", None),
        ("Fri, 15 Jan 99999 08:00:30 GMT", None),
        ("Fri, 15 Jan 0001 08:00:30 GMT", 0.0),
        ("Fri, 15 Jan 2027 08:00:30 +999999", None),
        ("Fri, 15 Jan 2027 08:00:30 -0000", 30.0),
        (",", None),
        ("\x00", None),
        ("9" * 400, LONGEST_S),
        ("Fri, 15 Jan 9999 08:00:30 GMT", LONGEST_S),
    ],
)
def test_retry_after_has_two_forms(value: str | None, wait_s: float | None) -> None:
    """Seconds or an HTTP date; a past date is now, rubbish nothing, a day the most."""
    assert parse_retry_after(value, NOW_S) == wait_s


@pytest.mark.parametrize(
    ("value", "date", "wait_s"),
    [
        ("Fri, 15 Jan 2027 08:00:30 GMT", "Fri, 15 Jan 2027 08:00:00 GMT", 30.0),
        ("Fri, 15 Jan 2027 07:00:00 GMT", "Fri, 15 Jan 2027 08:00:00 GMT", 0.0),
        ("Fri, 15 Jan 9999 08:00:00 GMT", "Fri, 15 Jan 2027 08:00:00 GMT", LONGEST_S),
        ("7", "Fri, 15 Jan 2027 08:00:00 GMT", 7.0),
        ("soon", "Fri, 15 Jan 2027 08:00:00 GMT", None),
        (None, "Fri, 15 Jan 2027 08:00:00 GMT", None),
    ],
)
def test_a_date_is_read_by_the_clock_of_who_wrote_it(
    value: str | None, date: str, wait_s: float | None
) -> None:
    """The answer's own Date is its now, however wrong this machine's clock is."""
    far_off_s = NOW_S + 7200
    assert parse_retry_after(in_seconds(value, date), far_off_s) == wait_s


def test_a_date_is_compared_with_now() -> None:
    """Where nobody says what time it is."""
    assert parse_retry_after("Fri, 01 Jan 2999 00:00:00 GMT") == LONGEST_S
    assert parse_retry_after("Fri, 15 Jan 1999 00:00:00 GMT") == 0.0
