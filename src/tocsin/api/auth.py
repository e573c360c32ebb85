"""API room: who a call comes from by its key, and whether that one may call.

Keys are kept and compared as hashes only; what was sent is never logged or returned.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from urllib.parse import parse_qs

from tocsin.core.api_methods import API_METHODS
from tocsin.core.errors import ApiError, PermissionDenied, RateLimited
from tocsin.core.rates import RateLimit, take_token

REFUSED_CALL = "call refused: the request does not carry the configured key"
"""The log line of both doors; the method or path and the `peer` are its fields."""

ADMIN_KEY = "admin.key"
"""The name under which the key of operators stands in the audit log."""

_SCHEME = b"apikey "

Metadata = Iterable[tuple[str, str | bytes]]


@dataclass(frozen=True, slots=True)
class AccessKey:
    """A key that opens a door.

    `digest` is the SHA-256 of the key. `name` is empty for a door's single key. `rate`
    limits the calls of whoever has it, in this process.
    """

    name: str
    digest: bytes
    methods: frozenset[str] = API_METHODS
    rate: RateLimit | None = None


def key_bytes(text: str) -> bytes:
    """The bytes of a header value; aiohttp decodes bytes that are not UTF-8 so."""
    return text.encode("utf-8", "surrogateescape")


def digest_of(key: str) -> bytes:
    """What a door keeps of a key."""
    return hashlib.sha256(key_bytes(key)).digest()


class Caller:
    """Whoever has a certain key, or anybody where no key is needed (`ANYBODY`)."""

    def __init__(
        self,
        name: str = "",
        methods: frozenset[str] = API_METHODS,
        rate: RateLimit | None = None,
    ) -> None:
        self.name = name
        self.methods = methods
        self.rate = rate
        self._full_at_us = 0

    def admit(self, method: str) -> ApiError | None:
        """Count a call of this method in; or say why it may not be made now.

        `method` is the name in snake case, after `admin.` for the operators' service.
        """
        if method not in self.methods:
            return PermissionDenied(f"{method}: not among the methods of this key")
        return None if self.rate is None else self._take(self.rate)

    def _take(self, rate: RateLimit) -> ApiError | None:
        now_us = time.monotonic_ns() // 1000
        allowed_us, (self._full_at_us,) = take_token(
            (self._full_at_us,), (rate,), now_us
        )
        return RateLimited((allowed_us - now_us) / 1e6) if allowed_us else None

    def succeed(self, other: Caller) -> None:
        """Go on with what the other has used up, where the limit is the same."""
        if self.rate == other.rate:
            self._full_at_us = other._full_at_us


ANYBODY = Caller()

CALLER: ContextVar[Caller] = ContextVar("caller")
"""Who the gRPC call of this task comes from; set before its handler is looked up."""


class KeyRing:
    """The keys of one door. They may be replaced at any time.

    Without a key nobody comes in, unless `insecure`, which lets everybody in.
    """

    def __init__(
        self, keys: Iterable[AccessKey] = (), *, insecure: bool = False
    ) -> None:
        self._callers: dict[bytes, Caller] = {}
        self._insecure = False
        self.replace(keys, insecure=insecure)

    @property
    def is_closed(self) -> bool:
        """Whether no call can ever pass."""
        return not self._callers and not self._insecure

    @property
    def is_open(self) -> bool:
        """Whether every call passes without a key."""
        return self._insecure

    @property
    def names(self) -> list[str]:
        """Those of the named keys, in their order."""
        return [each.name for each in self._callers.values() if each.name]

    def replace(self, keys: Iterable[AccessKey], *, insecure: bool = False) -> None:
        """Let in who has one of these from now on, and nobody else.

        A key that stays, by its name, gets no new calls beyond its rate.
        """
        before = {each.name: each for each in self._callers.values()}
        self._insecure = insecure
        self._callers = {
            key.digest: Caller(key.name, key.methods, key.rate) for key in keys
        }
        for caller in self._callers.values():
            if caller.name in before:
                caller.succeed(before[caller.name])

    def find(self, key: bytes) -> Caller | None:
        """Who has this key.

        The time of the look-up says nothing about any key: what is looked up is a hash,
        and it is found by a hash of that again. An empty key is nobody's.
        """
        return self._callers.get(hashlib.sha256(key).digest()) if key else None


class KeyGuard:
    """Reads the key of a gRPC call: `authorization` metadata of `apikey <key>`."""

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys

    def identify(self, metadata: Metadata | None) -> Caller | None:
        """Who has the key in the first `authorization` value; `None` for a stranger."""
        if self._keys.is_open:
            return ANYBODY
        for name, value in metadata or ():
            if name == "authorization":
                given = value if isinstance(value, bytes) else value.encode()
                if not given.startswith(_SCHEME):
                    return None
                return self._keys.find(given[len(_SCHEME) :])
        return None


class HttpKeyGuard:
    """Reads the key of an HTTP request, in any of its three forms."""

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys

    def identify(self, headers: Mapping[str, str], query: str) -> Caller | None:
        """Who has the key in headers (names in any case) or the raw query string.

        `X-API-Key` is looked at first, and `Authorization` only where that is empty or
        missing. If the header's key does not fit, `api_key` of the query is tried.
        `None` for a stranger.
        """
        keys = self._keys
        if keys.is_open:
            return ANYBODY
        given = headers.get("X-API-Key") or _after_scheme(headers)
        caller = keys.find(key_bytes(given)) if given else None
        if caller is None and query:
            caller = keys.find(key_bytes(_from_query(query)))
        return caller


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
