"""When a device may be reached, by its own clock. Pure but for the zone database."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta, tzinfo

from tocsin.core.push import TimeWindow
from tocsin.core.timezones import find_zone

_DAYS_AHEAD = 4
"""A zone may leave out a whole day, and a clock change may swallow a window."""
_HOUR_MS = 3_600_000


@dataclass(slots=True)
class Sorted:
    """Indexes of recipients by when they may be sent to.

    `later` is by due Unix milliseconds; `nowhere` have no timezone and are dropped.
    """

    now: list[int] = field(default_factory=list)
    later: dict[int, list[int]] = field(default_factory=dict)
    nowhere: list[int] = field(default_factory=list)


def sort_by_window(
    window: TimeWindow, timezones: Sequence[str], indexes: Iterable[int], now_ms: int
) -> Sorted:
    """Sort recipients; `timezones` is empty where none is known of any."""
    found = Sorted()
    opens: dict[str, int | None] = {}
    for index in indexes:
        name = timezones[index] if timezones else ""
        if name not in opens:
            zone = find_zone(name)
            opens[name] = None if zone is None else opens_at_ms(window, zone, now_ms)
        due_ms = opens[name]
        if due_ms is None:
            target = found.now if window.no_tz_send_now else found.nowhere
        else:
            target = found.later.setdefault(due_ms, []) if due_ms else found.now
        target.append(index)
    return found


def opens_at_ms(window: TimeWindow, zone: tzinfo, now_ms: int) -> int:
    """Unix milliseconds of the window's next start, or 0 while it is open.

    A start that a clock change leaves out is the moment an hour later, where the
    window still holds it, else that day has none. Of a start that comes twice the
    first counts.
    """
    now = datetime.fromtimestamp(now_ms // 1000, zone)
    if _is_open(window, now):
        return 0
    start = time(window.after_s // 3600, window.after_s // 60 % 60, window.after_s % 60)
    for ahead in range(_DAYS_AHEAD):
        day = now.date() + timedelta(days=ahead)
        for fold in (0, 1):
            wall = datetime.combine(day, start.replace(fold=fold), tzinfo=zone)
            due_s = int(wall.timestamp())
            if due_s * 1000 > now_ms and _is_open(
                window, datetime.fromtimestamp(due_s, zone)
            ):
                return due_s * 1000
    return now_ms + _HOUR_MS  # no zone is that odd; look again then


def _is_open(window: TimeWindow, at: datetime) -> bool:
    second = at.hour * 3600 + at.minute * 60 + at.second
    if window.after_s <= window.before_s:
        return window.after_s <= second <= window.before_s
    return second >= window.after_s or second <= window.before_s
