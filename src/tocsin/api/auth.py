"""API room: checks whether a call carries the key.

It compares in constant time, so that the time tells nothing of the key, and never logs
or returns what was sent.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from urllib.parse import parse_qs

REFUSED_CALL = "call refused: the request does not carry the configured key"
"""The log line of both doors; the method or path and the `peer` are its fields."""

ADMIN_KEY = "admin.key"
"""The name under which the key of operators stands in the audit log."""

Metadata = Iterable[tuple[str, str | bytes]]


class KeyGuard:
    """Compares the `authorization` metadata with `apikey <key>`.

    Without a configured key no call passes, unless `insecure`, which lets all pass.
    """

    def __init__(self, key: str, *, insecure: bool = False) -> None:
        self._expected = f"apikey {key}".encode() if key else None
        self._insecure = insecure

    def operator(self, metadata: Metadata | None) -> str:
        """The name of the key for operators that this call carries, else empty."""
        return ADMIN_KEY if self.allows(metadata) else ""

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


class HttpKeyGuard:
    """Compares the key of an HTTP request, in any of its three forms.

    Without a configured key no call passes, unless `insecure`, which lets all pass.
    """

    def __init__(self, key: str, *, insecure: bool = False) -> None:
        self._expected = _raw(key) if key else None
        self._insecure = insecure

    def operator(self, headers: Mapping[str, str], query: str) -> str:
        """The name of the key for operators that this call carries, else empty."""
        return ADMIN_KEY if self.allows(headers, query) else ""

    @property
    def is_closed(self) -> bool:
        """Whether no call can ever pass."""
        return self._expected is None and not self._insecure

    @property
    def is_open(self) -> bool:
        """Whether every call passes without a key."""
        return self._insecure

    def allows(self, headers: Mapping[str, str], query: str) -> bool:
        """Whether headers (names in any case) or the raw query string hold the key.

        `X-API-Key` is looked at first, and `Authorization` only where that is empty or
        missing. If the header's key does not fit, `api_key` of the query is tried.
        """
        if self._insecure:
            return True
        expected = self._expected
        if expected is None:
            return False
        given = headers.get("X-API-Key") or _after_scheme(headers)
        if given and hmac.compare_digest(_raw(given), expected):
            return True
        return bool(query) and hmac.compare_digest(_raw(_from_query(query)), expected)


def _raw(text: str) -> bytes:
    """The bytes of a header value; aiohttp decodes bytes that are not UTF-8 so."""
    return text.encode("utf-8", "surrogateescape")


def _after_scheme(headers: Mapping[str, str]) -> str:
    parts = headers.get("Authorization", "").split()
    if len(parts) == 2 and parts[0].lower() == "apikey":
        return parts[1]
    return ""


def _from_query(query: str) -> str:
    try:
        values = parse_qs(query, max_num_fields=100, errors="surrogateescape")
    except ValueError:  # more than `max_num_fields`
        return ""
    return values.get("api_key", [""])[0]
