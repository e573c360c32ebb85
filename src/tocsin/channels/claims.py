"""The claims of a token, read from its payload. Part of `channels`.

It must not verify signatures and knows no key. What it reads may be forged: `tokens.py`
decides when it may be trusted.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tocsin.protocol.json_text import split_members

OVERRIDES = (
    "presence",
    "join_leave",
    "force_push_join_leave",
    "force_recovery",
    "force_positioning",
)


class TokenInvalid(Exception):
    """The token is malformed, wrongly signed, or not for this use.

    `is_proven`: its signature is good. Then the client is told what is wrong with it;
    without, only the log is.
    """

    is_proven = False


class TokenExpired(Exception):
    """The token has expired, or its `nbf` is in the future."""


@dataclass(frozen=True, slots=True)
class SubscriptionClaims:
    """A subscription that a token grants.

    `expire_at` is Unix seconds, 0 for never. `client` is empty for any. In a
    connection token's `subs`, `user` and `expire_at` are not set.
    """

    user: str
    channel: str
    client: str = ""
    expire_at: int = 0
    info: bytes = b""
    data: bytes = b""
    overrides: Mapping[str, bool] = field(default_factory=dict)
    token_id: str = ""
    issued_at: int = 0


@dataclass(frozen=True, slots=True)
class ConnectionClaims:
    """Who connects; an empty `user` is an anonymous one.

    `expire_at` is Unix seconds, 0 for never. `info` is JSON or binary, `meta`
    JSON, both may be empty. `subs` wins over `channels`. `token_id` and
    `issued_at` are `jti` and `iat`, 0 where the token has none.
    """

    user: str
    expire_at: int = 0
    info: bytes = b""
    meta: bytes = b""
    channels: tuple[str, ...] = ()
    subs: Mapping[str, SubscriptionClaims] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    token_id: str = ""
    issued_at: int = 0


class TokenPayload:
    """A token's payload, read claim by claim; every getter raises `TokenInvalid`."""

    def __init__(self, text: str) -> None:
        try:
            self._members = split_members(text)
        except ValueError:
            raise TokenInvalid("payload is not a JSON object") from None

    def text(self, name: str) -> str:
        """A text claim; empty where absent or null."""
        value = self._value(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise TokenInvalid(f"claim {name} is not a text")
        return value

    def seconds(self, name: str) -> float | None:
        """A Unix time; `None` where absent or null."""
        value = self._value(name)
        if value is None:
            return None
        # `bool` is a kind of `int` in Python.
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TokenInvalid(f"claim {name} is not a number")
        if abs(value) > 2**53:  # also infinity, which a long exponent gives
            raise TokenInvalid(f"claim {name} is out of range")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts; for `aud`, which RFC 7519 lets be one text, that too."""
        value = self._value(name)
        if value is None:
            return ()
        if name == "aud" and isinstance(value, str):
            return (value,)
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
        raise TokenInvalid(f"claim {name} is not a list of texts")

    def text_map(self, name: str) -> dict[str, str]:
        """An object of texts; empty where absent or null."""
        value = self._value(name)
        if value is None:
            return {}
        if isinstance(value, dict) and all(isinstance(v, str) for v in value.values()):
            return value
        raise TokenInvalid(f"claim {name} is not an object of texts")

    def raw(self, name: str) -> bytes:
        """A claim's own JSON bytes, or what `b64<name>` holds; empty without both.

        The bytes are as the token has them: a client gets them unchanged.
        """
        encoded = self.text(f"b64{name}")
        if encoded:
            try:
                return base64.b64decode(encoded, validate=True)
            except (binascii.Error, ValueError):
                raise TokenInvalid(f"claim b64{name} is not base64") from None
        text = self._members.get(name, "null")
        return b"" if text == "null" else _encode(text, name)

    def overrides(self) -> dict[str, bool]:
        """`override`: option → value, without those that are not given."""
        value = self._value("override")
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise TokenInvalid("claim override is not an object")
        found: dict[str, bool] = {}
        for option in OVERRIDES:
            given = value.get(option)
            if given is None:
                continue
            setting = given.get("value", False) if isinstance(given, dict) else None
            if not isinstance(setting, bool):
                raise TokenInvalid(f"claim override.{option} is not an object")
            found[option] = setting
        return found

    def subs(self) -> dict[str, SubscriptionClaims]:
        """`subs`: channel → what the token grants there."""
        text = self._members.get("subs", "null")
        if text == "null":
            return {}
        try:
            members = split_members(text)
        except ValueError:
            raise TokenInvalid("claim subs is not an object") from None
        for channel in members:
            _encode(channel, "subs")  # raises for half a character in a name
        return {channel: _read_sub(channel, sub) for channel, sub in members.items()}

    def expiry(self) -> int:
        """When the connection or subscription ends, in Unix seconds; 0 is never.

        It is `expire_at`, also where that is 0 or less, and without it `exp`.
        """
        expire_at = self.seconds("expire_at")
        if expire_at is None:
            expire_at = self.seconds("exp") or 0
        return max(0, int(expire_at))

    def _value(self, name: str) -> Any:
        text = self._members.get(name)
        if text is None:
            return None
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):  # thousands of digits, thousands of levels
            raise TokenInvalid(f"claim {name} cannot be read") from None
        if "\\u" in text:  # only an escape can hold half of a surrogate pair
            _encode(json.dumps(value, ensure_ascii=False), name)
        return value


def read_connection(payload: TokenPayload, *, user_claim: str) -> ConnectionClaims:
    """The claims of a connection token; raises `TokenInvalid`."""
    if payload.text("channel"):
        raise TokenInvalid("a connection token must not have a channel claim")
    return ConnectionClaims(
        user=payload.text(user_claim or "sub"),
        expire_at=payload.expiry(),
        info=payload.raw("info"),
        meta=payload.raw("meta"),
        channels=payload.texts("channels"),
        subs=payload.subs(),
        labels=payload.text_map("labels"),
        token_id=payload.text("jti"),
        issued_at=int(payload.seconds("iat") or 0),
    )


def read_subscription(payload: TokenPayload, *, user_claim: str) -> SubscriptionClaims:
    """The claims of a subscription token; raises `TokenInvalid`."""
    channel = payload.text("channel")
    if not channel:
        raise TokenInvalid("a subscription token needs a channel claim")
    return SubscriptionClaims(
        user=payload.text(user_claim or "sub"),
        channel=channel,
        client=payload.text("client"),
        expire_at=payload.expiry(),
        info=payload.raw("info"),
        data=payload.raw("data"),
        overrides=payload.overrides(),
        token_id=payload.text("jti"),
        issued_at=int(payload.seconds("iat") or 0),
    )


def _read_sub(channel: str, text: str) -> SubscriptionClaims:
    if text == "null":
        return SubscriptionClaims(user="", channel=channel)
    sub = TokenPayload(text)
    return SubscriptionClaims(
        user="",
        channel=channel,
        info=sub.raw("info"),
        data=sub.raw("data"),
        overrides=sub.overrides(),
    )


def _encode(text: str, name: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        raise TokenInvalid(f"claim {name} is not Unicode") from None
