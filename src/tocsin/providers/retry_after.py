"""Reads Retry-After: how long a provider asks us to wait.

Pure text reading; it must not decide what follows.
"""

from __future__ import annotations

import re
import time
from email.utils import parsedate_to_datetime

QUOTA_WAIT_S = 60.0
"""For a 429 that does not say how long to wait."""


LONGEST_S = 86_400.0
"""The longest wait that is believed, in seconds. A mistake of a service, or of a proxy
in front of it, must not silence a credential for years."""

# Digits as the RFC wants them, and what programs write (1.5, 1e2); of several values
# the first.
_SECONDS = re.compile(
    r"\+?([0-9]+(?:\.[0-9]*)?(?:[eE]\+?[0-9]+)?)\s*(?:[,;].*)?", re.DOTALL
)


def parse_retry_after(value: str | None, now_s: float | None = None) -> float | None:
    """Seconds to wait from either form of Retry-After; `None` if there is none.

    Never less than 0 nor more than `LONGEST_S`, and never an error.
    """
    if not value:
        return None
    text = value.strip()
    if seconds := _SECONDS.fullmatch(text):
        return min(LONGEST_S, float(seconds[1]))
    due_s = _parse_date(text)
    if due_s is None:
        return None
    wait_s = due_s - (time.time() if now_s is None else now_s)
    return min(LONGEST_S, max(0.0, wait_s))


def in_seconds(value: str | None, date: str | None) -> str | None:
    """Retry-After in seconds, where it is a date and the answer has a Date as well.

    Both dates come from the service's clock, so that this machine's does not matter.
    """
    if value and date and not _SECONDS.fullmatch(value.strip()):
        due_s, sent_s = _parse_date(value.strip()), _parse_date(date.strip())
        if due_s is not None and sent_s is not None:
            return f"{max(0.0, due_s - sent_s):.0f}"
    return value


def _parse_date(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, IndexError, ArithmeticError, OSError):
        return None
