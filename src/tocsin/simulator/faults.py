"""What can be made to go wrong, and when; how it looks is the imitated service's job.

A target whose text starts with one of these words and a hyphen gets that fault. A
number behind the word says how many times before the target is served normally
(`flaky3-x` fails three times); without one it is the number of the table. `slow`
takes milliseconds instead.

| word           | times  | FCM answers                                                |
|----------------|--------|------------------------------------------------------------|
| `dead`         | always | 404 UNREGISTERED                                           |
| `badtoken`     | always | 400 INVALID_ARGUMENT, its text says the token is malformed |
| `badfield`     | always | 400 INVALID_ARGUMENT, field violation on `message.token`   |
| `badpayload`   | always | 400 INVALID_ARGUMENT, field violation on another field     |
| `toobig`       | always | 400 INVALID_ARGUMENT without details                       |
| `mismatch`     | always | 403 SENDER_ID_MISMATCH                                     |
| `thirdparty`   | always | 401 THIRD_PARTY_AUTH_ERROR                                 |
| `denied`       | always | 403 PERMISSION_DENIED without an FCM error code            |
| `lost`         | always | 404 NOT_FOUND without an FCM error code                    |
| `quota`        | always | 429 QUOTA_EXCEEDED of this device, no Retry-After          |
| `quotasec`     | always | the same with `Retry-After: 7`                             |
| `quotadate`    | always | the same with Retry-After as a date 30 s ahead             |
| `projectquota` | always | 429 RESOURCE_EXHAUSTED of the whole project                |
| `unavailable`  | always | 503 UNAVAILABLE with `Retry-After: 2`                      |
| `internal`     | always | 500 INTERNAL                                               |
| `html`         | always | 502 with an HTML page                                      |
| `gateway`      | always | 504 with an HTML page                                      |
| `flaky`        | 1      | 503 UNAVAILABLE                                            |
| `expired`      | 1      | 401 UNAUTHENTICATED, as for an expired access token        |
| `slow`         | always | the normal answer, 1000 ms later                           |
| `silent`       | always | nothing; the connection stays                              |
| `reset`        | 1      | the stream is reset                                        |
| `drop`         | 1      | accepts the message, then drops the whole connection       |
| `empty`        | always | accepts the message; the success has no body               |
| `page`         | always | accepts the message; the success has an HTML page as body  |
| `half`         | always | accepts the message; half of the success's body, well sent |
| `cut`          | always | accepts the message; the stream is reset within the body   |
| `stall`        | always | accepts the message; the body stops half-way for good      |
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

SLOW_MS = 1000


class Fault(StrEnum):
    """The words of the table."""

    DEAD = "dead"
    BAD_TOKEN = "badtoken"
    BAD_FIELD = "badfield"
    BAD_PAYLOAD = "badpayload"
    TOO_BIG = "toobig"
    MISMATCH = "mismatch"
    THIRD_PARTY = "thirdparty"
    DENIED = "denied"
    LOST = "lost"
    QUOTA = "quota"
    QUOTA_SECONDS = "quotasec"
    QUOTA_DATE = "quotadate"
    PROJECT_QUOTA = "projectquota"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"
    HTML = "html"
    GATEWAY = "gateway"
    FLAKY = "flaky"
    EXPIRED = "expired"
    SLOW = "slow"
    SILENT = "silent"
    RESET = "reset"
    DROP = "drop"
    EMPTY = "empty"
    PAGE = "page"
    HALF = "half"
    CUT = "cut"
    STALL = "stall"


ONCE = frozenset({Fault.FLAKY, Fault.EXPIRED, Fault.RESET, Fault.DROP})
"""Faults that pass after the first time unless a number says otherwise."""

SPOILT = frozenset({Fault.EMPTY, Fault.PAGE, Fault.HALF, Fault.CUT, Fault.STALL})
"""Faults of the answer alone: the message is accepted and delivered."""

_WORD = re.compile(r"([a-z]+)([0-9]{0,6})-")


class WrongFault(ValueError):
    """A control request names a fault, or gives a value, that does not exist."""


@dataclass(slots=True)
class TokenFault:
    """What the token endpoint does wrong, and for how many requests."""

    status: int
    error: str
    times: int


@dataclass(slots=True)
class FaultPlan:
    """Which fault a request meets. Times that are `None` mean always."""

    latency_ms: int = 0
    max_streams: int = 100
    goaway_after: int = 0
    token_lifetime_s: int = 3599
    token: TokenFault | None = None
    _forced: tuple[Fault, int | None] | None = None
    _seen: dict[str, int] = field(default_factory=dict)

    def choose(self, target: str) -> tuple[Fault, int] | None:
        """The fault for this request, with the milliseconds of a slow one."""
        if self._forced is not None:
            fault, left = self._forced
            # Counted down over all requests, whatever their targets.
            if left is not None:
                self._forced = (fault, left - 1) if left > 1 else None
            return fault, SLOW_MS
        match = _WORD.match(target)
        if match is None:
            return None
        word, number = match.groups()
        if word not in _FAULTS:
            return None
        fault = _FAULTS[word]
        if fault is Fault.SLOW:
            return fault, int(number) if number else SLOW_MS
        times = int(number) if number else (1 if fault in ONCE else None)
        if times is not None:
            seen = self._seen.get(target, 0)
            if seen >= times:
                return None
            self._seen[target] = seen + 1
        return fault, 0

    def take_token_fault(self) -> TokenFault | None:
        """The fault of the next request to the token endpoint, counted down."""
        fault = self.token
        if fault is not None:
            fault.times -= 1
            if fault.times <= 0:
                self.token = None
        return fault

    def change(self, wish: dict[str, Any]) -> None:
        """Apply a control request's body; raises `WrongFault`, changing nothing.

        `send`: {"fault": word, "times": n or null}, whatever the target; null ends it.
        `token`: {"status": n, "error": word, "times": n}; null ends it.
        `latency_ms`, `max_streams`, `goaway_after` (requests per connection, 0 never),
        `token_lifetime_s`: numbers.
        """
        numbers = {
            name: _number(wish, name, least)
            for name, least in _NUMBERS.items()
            if name in wish
        }
        unknown = wish.keys() - _NUMBERS.keys() - {"send", "token"}
        if unknown:
            raise WrongFault(f"unknown: {', '.join(sorted(unknown))}")
        forced = _parse_forced(wish.get("send"))
        token = _parse_token(wish.get("token"))
        if "send" in wish:
            self._forced = forced
        if "token" in wish:
            self.token = token
        for name, value in numbers.items():
            setattr(self, name, value)


_FAULTS = {fault.value: fault for fault in Fault}
_NUMBERS = {
    "latency_ms": 0,
    "max_streams": 1,
    "goaway_after": 0,
    "token_lifetime_s": 1,
}


def _number(source: dict[str, Any], name: str, least: int) -> int:
    value = source[name]
    if type(value) is not int or value < least:
        raise WrongFault(f"{name}: a whole number from {least} up is needed")
    return value


def _parse_forced(wish: Any) -> tuple[Fault, int | None] | None:
    if wish is None:
        return None
    if not isinstance(wish, dict) or wish.get("fault") not in _FAULTS:
        raise WrongFault(f"send.fault: one of {', '.join(_FAULTS)}")
    times = None if wish.get("times") is None else _number(wish, "times", 1)
    return _FAULTS[wish["fault"]], times


def _parse_token(wish: Any) -> TokenFault | None:
    if wish is None:
        return None
    if not isinstance(wish, dict):
        raise WrongFault("token: an object is needed")
    filled = {"times": 1, "error": "", **wish}
    return TokenFault(
        _number({"status": 500, **filled}, "status", 400),
        str(filled["error"]),
        _number(filled, "times", 1),
    )
