"""Durations as the configuration writes them (`30s`, `1h30m`). Part of `config`.

It must not know any key: it turns text into seconds and back.
"""

from __future__ import annotations

import re
from decimal import Decimal

_UNIT_NS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_PART = re.compile(
    r"(\d{1,19}(?:\.\d{0,9})?|\.\d{1,9})(ns|us|µs|μs|ms|s|m|h)", re.ASCII
)
_LIMIT_NS = 2**63 - 1
_HINT = "must be a duration with its unit, such as 500ms, 30s, 15m or 1h30m"


def parse_duration(value: object) -> float:
    """Seconds of a duration text; raises `ValueError` with words for a person.

    `0` needs no unit; any other bare number is refused, since nobody can tell
    what its author meant. Negative durations are refused: no key has a use for
    them. A `float` that is passed is taken as seconds (defaults in code).
    """
    if isinstance(value, float):
        return _checked(value)
    if value == 0 and not isinstance(value, bool):
        return 0.0
    if not isinstance(value, str):
        raise ValueError(_HINT)  # noqa: TRY004 - pydantic collects ValueError only
    text = value.strip()
    if text == "0":
        return 0.0
    total_ns = Decimal(0)
    position = 0
    while position < len(text):
        part = _PART.match(text, position)
        if part is None:
            raise ValueError(_HINT)
        total_ns += Decimal(part[1]) * _UNIT_NS[part[2]]
        position = part.end()
    if not text:
        raise ValueError(_HINT)
    if total_ns > _LIMIT_NS:
        raise ValueError("must be at most 292 years")
    return float(total_ns / 10**9)


def _checked(seconds: float) -> float:
    if not 0 <= seconds * 10**9 <= _LIMIT_NS:
        raise ValueError(_HINT)
    return seconds


def format_duration(seconds: float) -> str:
    """The shortest text that `parse_duration` reads back: `90.0` is `1m30s`."""
    # Through the shortest digits: for years, a product of floats is off by nanoseconds.
    total_ns = round(Decimal(repr(seconds)) * 10**9)
    if total_ns == 0:
        return "0s"
    out = []
    for unit in ("h", "m"):
        count, total_ns = divmod(total_ns, _UNIT_NS[unit])
        if count:
            out.append(f"{count}{unit}")
    if total_ns >= _UNIT_NS["s"] or (out and total_ns):
        out.append(_decimal(total_ns, "s"))
    elif total_ns:
        unit = next(u for u in ("ms", "us", "ns") if total_ns >= _UNIT_NS[u])
        out.append(_decimal(total_ns, unit))
    return "".join(out)


def _decimal(total_ns: int, unit: str) -> str:
    number = format(Decimal(total_ns) / _UNIT_NS[unit], "f")
    if "." in number:
        number = number.rstrip("0").rstrip(".")
    return number + unit
