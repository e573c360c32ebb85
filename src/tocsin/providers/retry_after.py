"""How long a provider asks to be left alone. Part of `providers`.

Pure text reading; it must not decide what follows.
"""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime

QUOTA_WAIT_S = 60.0
"""For a 429 that does not say how long to wait."""


LONGEST_S = 86_400.0
"""The longest wait that is believed. A slip of a service, or something in front of
it, must not silence a credential for years."""


def parse_retry_after(value: str | None, now_s: float | None = None) -> float | None:
    """Seconds to wait from either form of Retry-After; `None` if there is none.

    Never more than `LONGEST_S`.
    """
    if not value:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return min(LONGEST_S, float(text))
    try:
        due_s = parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None
    wait_s = due_s - (time.time() if now_s is None else now_s)
    return min(LONGEST_S, max(0.0, wait_s))
