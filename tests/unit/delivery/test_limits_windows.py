from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from tocsin.core.push import TimeWindow
from tocsin.core.timezones import find_zone, usable_timezone
from tocsin.delivery.limits import opens_at_ms, sort_by_window


def clock(text: str) -> int:
    hours, minutes, seconds = map(int, text.split(":"))
    return hours * 3600 + minutes * 60 + seconds


def window(after: str, before: str) -> TimeWindow:
    return TimeWindow(clock(after), clock(before))


def at_ms(text: str, zone: str) -> int:
    """Unix milliseconds of a wall time with its offset, or in the zone."""
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        at = at.replace(tzinfo=ZoneInfo(zone))
    return int(at.timestamp() * 1000)


OPEN = ""
CASES = [
    # zone, window, now, when it opens (empty: it is open)
    ("UTC", ("09:00:00", "18:00:00"), "2026-05-04T09:00:00", OPEN),
    ("UTC", ("09:00:00", "18:00:00"), "2026-05-04T18:00:00", OPEN),
    ("UTC", ("09:00:00", "18:00:00"), "2026-05-04T18:00:01", "2026-05-05T09:00:00"),
    ("UTC", ("09:00:00", "18:00:00"), "2026-05-04T08:59:59", "2026-05-04T09:00:00"),
    ("UTC", ("00:00:00", "23:59:59"), "2026-05-04T23:59:59", OPEN),
    (
        "Asia/Tokyo",
        ("09:00:00", "18:00:00"),
        "2026-05-04T20:00:00",
        "2026-05-05T09:00:00",
    ),
    # over midnight
    ("UTC", ("22:00:00", "06:00:00"), "2026-05-04T23:30:00", OPEN),
    ("UTC", ("22:00:00", "06:00:00"), "2026-05-04T05:59:00", OPEN),
    ("UTC", ("22:00:00", "06:00:00"), "2026-05-04T06:00:01", "2026-05-04T22:00:00"),
    ("UTC", ("22:00:00", "06:00:00"), "2026-05-04T12:00:00", "2026-05-04T22:00:00"),
    # a month and a year end in between
    ("UTC", ("09:00:00", "10:00:00"), "2026-12-31T11:00:00", "2027-01-01T09:00:00"),
    # New York, 2026-03-08: 02:00 becomes 03:00. The start at 02:30 does not exist.
    (
        "America/New_York",
        ("02:30:00", "05:00:00"),
        "2026-03-08T01:00:00-05:00",
        "2026-03-08T03:30:00-04:00",
    ),
    # The whole window falls into the gap: that day has none.
    (
        "America/New_York",
        ("02:10:00", "02:50:00"),
        "2026-03-08T01:00:00-05:00",
        "2026-03-09T02:10:00-04:00",
    ),
    # New York, 2026-11-01: 02:00 becomes 01:00, so 01:30 comes twice.
    (
        "America/New_York",
        ("01:30:00", "05:00:00"),
        "2026-11-01T00:30:00-04:00",
        "2026-11-01T01:30:00-04:00",
    ),
    ("America/New_York", ("01:30:00", "05:00:00"), "2026-11-01T01:40:00-05:00", OPEN),
    # Between the two: the first start is over, so the second one counts.
    (
        "America/New_York",
        ("01:30:00", "01:45:00"),
        "2026-11-01T01:10:00-05:00",
        "2026-11-01T01:30:00-05:00",
    ),
    # Lord Howe Island moves by half an hour.
    (
        "Australia/Lord_Howe",
        ("02:15:00", "04:00:00"),
        "2026-10-04T01:00:00+10:30",
        "2026-10-04T02:45:00+11:00",
    ),
    # Samoa left out 2011-12-30.
    (
        "Pacific/Apia",
        ("09:00:00", "10:00:00"),
        "2011-12-29T12:00:00-10:00",
        "2011-12-31T09:00:00+14:00",
    ),
]


@pytest.mark.parametrize(("zone", "span", "now", "opens"), CASES)
def test_when_a_window_opens(
    zone: str, span: tuple[str, str], now: str, opens: str
) -> None:
    """The device's own clock decides, also over midnight and when clocks change."""
    expected = at_ms(opens, zone) if opens else 0
    now_ms = at_ms(now, zone)
    assert opens_at_ms(window(*span), ZoneInfo(zone), now_ms) == expected


def test_recipients_are_sorted_by_their_zones() -> None:
    """One group for each moment; an unknown zone counts as none."""
    span = window("09:00:00", "18:00:00")
    now_ms = at_ms("2026-05-04T12:00:00", "UTC")
    zones = ["UTC", "Asia/Tokyo", "", "Asia/Seoul", "No/Such", "Europe/Berlin"]
    found = sort_by_window(span, zones, range(6), now_ms)
    tokyo_morning = at_ms("2026-05-05T09:00:00", "Asia/Tokyo")
    assert found.now == [0, 5]
    assert found.later == {tokyo_morning: [1, 3]}
    assert found.nowhere == [2, 4]
    at_once = TimeWindow(span.after_s, span.before_s, no_tz_send_now=True)
    assert sort_by_window(at_once, zones, [2, 4], now_ms).now == [2, 4]
    assert sort_by_window(span, (), [0, 1], now_ms).nowhere == [0, 1]


@pytest.mark.parametrize(
    ("said", "offset"),
    [("GMT+03:00", "+03:00"), ("GMT-09:30", "-09:30"), ("UTC+5:45", "+05:45")],
)
def test_windows_of_fixed_offsets(said: str, offset: str) -> None:
    """Three hours east of Greenwich it is later there, whatever POSIX calls that."""
    stored = usable_timezone(said)
    span = window("09:00:00", "18:00:00")
    now_ms = at_ms(f"2026-05-04T08:59:58{offset}", "UTC")
    found = sort_by_window(span, [stored, said], [0, 1], now_ms)
    assert found.later == {now_ms + 2000: [0, 1]}
    assert sort_by_window(span, [stored], [0], now_ms + 2000).now == [0]


@pytest.mark.parametrize("name", ["localtime", "posixrules", "Factory", "Europe", "?"])
def test_rows_of_before_do_not_stop_a_batch(name: str) -> None:
    """What was stored without being a zone is as nothing, and harms no other."""
    span = window("00:00:00", "23:59:59")
    found = sort_by_window(span, [name, "UTC"], [0, 1], at_ms("2026-05-04", "UTC"))
    assert (found.nowhere, found.now) == ([0], [1])


@pytest.mark.parametrize("name", ["", "No/Such", "America", "../etc/passwd", "\0"])
def test_names_that_are_no_zone(name: str) -> None:
    """Whatever a device brings, it is a zone or it is none."""
    assert find_zone(name) is None
