"""What phones and browsers really call their time zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tocsin.core.timezones import find_zone, usable_timezone
from tocsin.core.windows_zones import WINDOWS_ZONES


@pytest.mark.parametrize(
    "name",
    [
        "UTC",
        "GMT",
        "Europe/Nicosia",
        "Asia/Calcutta",
        "US/Pacific",
        "Etc/GMT-3",
        "America/Argentina/Buenos_Aires",
        "EST5EDT",
        "Etc/GMT+12",
        "America/Port-au-Prince",
    ],
)
def test_a_zone_stays_as_it_was_written(name: str) -> None:
    """Old names too: the database knows what they are called now."""
    assert usable_timezone(name) == name


@pytest.mark.parametrize(
    ("said", "kept", "minutes"),
    [
        ("GMT+03:00", "Etc/GMT-3", 180),
        ("GMT+3", "Etc/GMT-3", 180),
        ("UTC+3", "Etc/GMT-3", 180),
        ("utc+03", "Etc/GMT-3", 180),
        ("+03:00", "Etc/GMT-3", 180),
        ("+0300", "Etc/GMT-3", 180),
        ("GMT-8:00", "Etc/GMT+8", -480),
        ("UTC\N{MINUS SIGN}5", "Etc/GMT+5", -300),
        ("GMT+14:00", "Etc/GMT-14", 840),
        ("GMT-12:00", "Etc/GMT+12", -720),
        ("GMT+05:30", "UTC+05:30", 330),
        ("+05:45", "UTC+05:45", 345),
        ("GMT-0330", "UTC-03:30", -210),
        ("GMT-09:30:00", "UTC-09:30", -570),
        ("GMT+00:00", "UTC", 0),
        ("GMT+0300 (fixed)", "Etc/GMT-3", 180),
        ("GMT-0330 (Newfoundland Standard Time)", "UTC-03:30", -210),
        ("-00:00", "UTC", 0),
        ("Z", "UTC", 0),
    ],
)
def test_offsets_are_read_as_people_mean_them(
    said: str, kept: str, minutes: int
) -> None:
    """East is plus; IANA's names of them have the sign of POSIX."""
    assert usable_timezone(said) == kept
    assert usable_timezone(kept) == kept
    zone = find_zone(kept)
    assert zone is not None
    offset = datetime(2026, 7, 1, tzinfo=UTC).astimezone(zone).utcoffset()
    assert offset == timedelta(minutes=minutes)


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("europe/nicosia", "Europe/Nicosia"),
        ("EUROPE/BERLIN", "Europe/Berlin"),
        ("utc", "UTC"),
        ("America/New York", "America/New_York"),
        ("Europe%2FBerlin", "Europe/Berlin"),
        ("Europe\\/Berlin", "Europe/Berlin"),
        (" Asia/Tokyo\n", "Asia/Tokyo"),
        (":Asia/Tokyo", "Asia/Tokyo"),
        ("posix/Asia/Tokyo", "Asia/Tokyo"),
        ("right/Asia/Tokyo", "Asia/Tokyo"),
        ("Europe/Berlin (GMT+2) offset 7200 (Daylight)", "Europe/Berlin"),
        ("Local Time Zone (Asia/Tokyo (JST) offset 32400)", "Asia/Tokyo"),
        ("Pacific Standard Time", "America/Los_Angeles"),
        ("w. europe standard time", "Europe/Berlin"),
    ],
)
def test_other_spellings_find_their_zone(said: str, kept: str) -> None:
    """Of case, of systems, of descriptions."""
    assert usable_timezone(said) == kept


@pytest.mark.parametrize(
    "said",
    [
        "",
        " ",
        "localtime",
        "LocalTime",
        "posixrules",
        "Factory",
        "posix",
        "right",
        "posix/localtime",
        "Europe",
        "Europe/",
        "../../etc/passwd",
        "/etc/localtime",
        "Europe/../Europe/Berlin",
        "tzdata.zi",
        "leapseconds",
        "zone.tab",
        "Mars/Olympus",
        "IST",
        "PST",
        "Etc/Unknown",
        "GMT+15",
        "GMT-13:00",
        "+14:01",
        "+05:60",
        "+99:99",
        "-180",
        "-330",
        "+5",
        "5",
        "10800",
        "UTC+5.5",
        "\x00",
        "UTC\x00",
        "\ud800",
        "A" * 300,
        "null",
        "(UTC+03:00) Istanbul",
    ],
)
def test_what_is_no_zone_is_nothing(said: str) -> None:
    """It is as a device that says nothing: no guess sends at night."""
    assert usable_timezone(said) == ""
    assert find_zone(said) is None


def test_every_zone_of_windows_is_one_here() -> None:
    """The table has no name that this machine's database lacks."""
    lacking = [zone for zone in WINDOWS_ZONES.values() if find_zone(zone) is None]
    assert lacking == []
