"""API room: whether a call carries the key.

It compares in constant time and never logs or returns what was sent.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable

Metadata = Iterable[tuple[str, str | bytes]]


class KeyGuard:
    """Compares the `authorization` metadata with `apikey <key>`.

    Without a key nobody passes, unless `insecure`, which lets everybody pass.
    """

    def __init__(self, key: str, *, insecure: bool = False) -> None:
        self._expected = f"apikey {key}".encode() if key else None
        self._insecure = insecure

    @property
    def is_closed(self) -> bool:
        """Whether no call can ever pass."""
        return self._expected is None and not self._insecure

    @property
    def is_open(self) -> bool:
        """Whether every call passes without a key."""
        return self._insecure

    def allows(self, metadata: Metadata | None) -> bool:
        """Whether the first `authorization` value is the key."""
        if self._insecure:
            return True
        if self._expected is None:
            return False
        for name, value in metadata or ():
            if name == "authorization":
                given = value if isinstance(value, bytes) else value.encode()
                return hmac.compare_digest(given, self._expected)
        return False
