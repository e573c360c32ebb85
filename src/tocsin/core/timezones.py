"""What phones and browsers call their time zone, and the zone that is meant.

Pure but for the zone database. Of fixed offsets whole hours become IANA's names,
whose sign is turned round (`GMT+03:00` is `Etc/GMT-3`); others stay an offset.
"""

from __future__ import annotations

import re
import zoneinfo
from datetime import timedelta, timezone, tzinfo
from functools import cache, lru_cache
from urllib.parse import unquote

from tocsin.core.windows_zones import WINDOWS_ZONES

_LONGEST = 255
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+)*", re.ASCII)
_NAME_INSIDE = re.compile(r"[A-Za-z]+(?:/[A-Za-z][A-Za-z0-9_+-]*)+", re.ASCII)
_NO_ZONE = frozenset({"localtime", "posixrules", "factory", "posix", "right"})
"""Files of the zone database that tell of the machine they are on, or of nothing."""
_OFFSET = re.compile(
    r"(?P<word>GMT|UTC|UT|)\s*(?P<sign>[+-])\s*"
    r"(?:(?P<h>[0-9]{1,2}):(?P<m>[0-9]{2})(?::00)?|(?P<hh>[0-9]{2})(?P<mm>[0-9]{2})"
    r"|(?P<only>[0-9]{1,2}))",
    re.ASCII | re.IGNORECASE,
)
_WEST, _EAST = -12 * 60, 14 * 60
"""Minutes; no place on Earth keeps a time beyond."""


@lru_cache(maxsize=4096)
def usable_timezone(text: str) -> str:
    """The zone in what a device says, as `find_zone` takes it; empty without one."""
    if len(text) > _LONGEST:
        return ""
    text = text.strip().strip("\"'").strip().replace("\\/", "/")
    if "%" in text:
        text = unquote(text)
    text = text.removeprefix(":")  # POSIX marks the name of a file so
    for folder in ("posix/", "right/"):
        text = text.removeprefix(folder)
    if not text:
        return ""
    if text in {"Z", "z"}:
        return "UTC"
    minutes = _parse_offset(text)
    if minutes is not None:
        return _name_offset(minutes)
    return _find_name(text) or _find_described_offset(text)


@lru_cache(maxsize=1024)
def find_zone(name: str) -> tzinfo | None:
    """The zone of a stored name, or `None` for a name that this machine lacks."""
    usable = usable_timezone(name)
    if not usable:
        return None
    minutes = _parse_offset(usable)
    if minutes is not None:
        return timezone(timedelta(minutes=minutes))
    return _load(usable)


def _find_name(text: str) -> str:
    if _load(text) is not None:
        return text
    lowered = text.lower()
    if found := _by_lower_case().get(lowered.replace(" ", "_"), ""):
        return found
    if lowered in WINDOWS_ZONES:
        return WINDOWS_ZONES[lowered]
    # Apple's description of a zone: `Europe/Berlin (GMT+2) offset 7200`.
    inside = _NAME_INSIDE.search(text) if "(" in text else None
    return _find_name(inside[0]) if inside is not None else ""


def _find_described_offset(text: str) -> str:
    """The offset before Apple's or JavaScript's description of it.

    `GMT+0300 (fixed)`, `GMT+0300 (Moscow Standard Time)`. Not Windows' `(UTC+01:00)
    Berlin`: for half of the year the offset there is another.
    """
    before, bracket, _ = text.partition("(")
    minutes = _parse_offset(before.strip()) if bracket else None
    return "" if minutes is None else _name_offset(minutes)


def _load(name: str) -> tzinfo | None:
    if not _NAME.fullmatch(name) or name.partition("/")[0].lower() in _NO_ZONE:
        return None
    try:
        return zoneinfo.ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # a folder, no zone file, no file
        return None


@cache
def _by_lower_case() -> dict[str, str]:
    """All zones by their names in lower case.

    Built only when a name is in no file as it was written: it reads the database.
    """
    names = zoneinfo.available_timezones()
    return {n.lower(): n for n in names if n.partition("/")[0].lower() not in _NO_ZONE}


def _parse_offset(text: str) -> int | None:
    """Minutes east of UTC, as people mean it; `None` where it is no offset.

    A bare number of one digit or of three is no offset: minutes or hours may be meant.
    """
    plain = text.replace("\N{MINUS SIGN}", "-").replace("\N{PLUS-MINUS SIGN}", "+")
    match = _OFFSET.fullmatch(plain)
    if match is None:
        return None
    hours = match["h"] or match["hh"] or match["only"]
    if match["only"] and not match["word"] and len(hours) < 2:
        return None
    minutes = int(match["m"] or match["mm"] or 0)
    total = (int(hours) * 60 + minutes) * (-1 if match["sign"] == "-" else 1)
    return total if minutes < 60 and _WEST <= total <= _EAST else None


def _name_offset(minutes: int) -> str:
    if not minutes:
        return "UTC"
    if minutes % 60 == 0:
        # IANA's names have the sign turned round: this is west for plus.
        return f"Etc/GMT{-minutes // 60:+d}"
    hours, rest = divmod(abs(minutes), 60)
    return f"UTC{'-' if minutes < 0 else '+'}{hours:02d}:{rest:02d}"
