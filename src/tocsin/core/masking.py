"""How a token is shown to people: never in clear. Pure."""

from __future__ import annotations

import hashlib

_SHOWN = 4
_SHORT = 16
"""Of a shorter one nothing is shown."""


def mask_target(target: str) -> str:
    """Enough of a token to tell it from others, and too little to send to it."""
    digest = hashlib.sha256(target.encode("utf-8", "surrogateescape")).hexdigest()
    start = target[:_SHOWN] if len(target) >= _SHORT else ""
    return f"{start}… ({len(target)} characters, sha256 {digest[:12]})"
