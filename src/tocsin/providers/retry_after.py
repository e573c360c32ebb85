"""How long a provider asks to be left alone. Part of `providers`.

Pure text reading; it must not decide what follows.
"""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime

QUOTA_WAIT_S = 60.0
"""For a 429 that does not say how long to wait."""


def parse_retry_after(value: str | None, now_s: float | None = None) -> float | None:
    """Seconds to wait from either form of Retry-After; `None` if there is none."""
    if not value:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        due_s = parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None
    return max(0.0, due_s - (time.time() if now_s is None else now_s))
