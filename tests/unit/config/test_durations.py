import pytest

from tocsin.config.durations import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("15m", 900),
        ("168h", 604_800),
        ("1h30m", 5400),
        ("0s", 0),
        ("0", 0),
        (0, 0),
        ("1.5h", 5400),
        (".5s", 0.5),
        ("500ms", 0.5),
        ("250us", 0.00025),
        ("250µs", 0.00025),
        ("1ns", 1e-9),
        (" 2s ", 2),
    ],
)
def test_a_duration_is_read_as_seconds(text: object, seconds: float) -> None:
    """Every unit of the documents, joined units and a bare zero are understood."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "bad",
    [
        *("", " ", "30", "s", "1d", "-1s", "1s-", "1 s", "1h 30m", "1,5s", "٣s"),
        *(30, True, False, None, [], {}, -1.0, float("nan"), float("inf")),
        "9999999999999h",
    ],
)
def test_what_is_no_duration_is_refused(bad: object) -> None:
    """A number without unit, a sign or an unknown unit is an error, never a guess."""
    with pytest.raises(ValueError, match="must be"):
        parse_duration(bad)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (90, "1m30s"),
        (86_400, "24h"),
        (0.5, "500ms"),
        (0.00025, "250us"),
        (61.5, "1m1.5s"),
        (60.25, "1m0.25s"),
        (100, "1m40s"),
    ],
)
def test_a_duration_is_shown_shortly_and_reads_back(seconds: float, text: str) -> None:
    """The text in the reference and in logs is one that a file may hold."""
    assert format_duration(seconds) == text
    assert parse_duration(text) == seconds
