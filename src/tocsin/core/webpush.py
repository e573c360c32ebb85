"""A Web Push subscription as a target of sends, and the headers of a push. Pure.

The registry keeps the endpoint as the token and the keys beside it; a send needs
both, so its target is one string that holds them.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii as _quote

PROVIDER = "webpush"

MAX_PAYLOAD_BYTES = 3993
"""What fits into the 4096 bytes that every push service takes (RFC 8291 §4)."""
DEFAULT_TTL_S = 2_419_200
"""Four weeks."""

URGENCIES = ("very-low", "low", "normal", "high")

_SECONDS = re.compile(r"[0-9]{1,10}")
_MAX_TTL_S = 2**31 - 1
_TOPIC = re.compile(r"[A-Za-z0-9_-]{1,32}")
_KEYS_START = '{"endpoint":'
_ORIGIN = re.compile(r'\{"endpoint":"(https://[^/?#"\\]+)')
_POINT_LENGTH = 65
_AUTH_LENGTH = 16


class InvalidHeader(ValueError):
    """A header of the push that no push service would take; `name` is its name."""

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason
        super().__init__(f"{name} {reason}")


@dataclass(frozen=True, slots=True)
class PushHeaders:
    """What RFC 8030 lets a sender say. Empty text means that nothing was said."""

    ttl_s: int = DEFAULT_TTL_S
    urgency: str = ""
    topic: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """A subscription to encrypt for: the URL, a 65-byte point, a 16-byte secret."""

    endpoint: str
    p256dh: bytes
    auth: bytes


def make_target(endpoint: str, keys: str) -> str:
    """The target string of a subscription: a PushSubscription as compact JSON.

    `keys` is the stored JSON text `{"p256dh": …, "auth": …}`; it may be empty where
    the device was stored without keys, and then no push can be encrypted for it.
    """
    return f'{_KEYS_START}{_quote(endpoint)},"keys":{keys or "{}"}}}'


def parse_target(target: str) -> Target:
    """The parts of a target string; ValueError never repeats them."""
    try:
        subscription = json.loads(target)
        endpoint, keys = subscription["endpoint"], subscription["keys"]
        p256dh, auth = decode_key(keys["p256dh"]), decode_key(keys["auth"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError("the target is no subscription with keys") from None
    if not isinstance(endpoint, str):
        raise ValueError("the endpoint of the target is no text")  # noqa: TRY004 - one error for one rule
    if len(p256dh) != _POINT_LENGTH or len(auth) != _AUTH_LENGTH:
        raise ValueError("the keys of the target have the wrong length")
    return Target(endpoint, p256dh, auth)


def origin_of(provider: str, target: str) -> str:
    """The push service behind a target of Web Push; empty for other providers.

    One credential sends to several services there, and each answers for itself.
    """
    if provider != PROVIDER:
        return ""
    match = _ORIGIN.match(target)
    return match[1] if match is not None else ""


def stored_token(provider: str, target: str) -> str:
    """What the registry keeps as the token of a device that a send went to."""
    if provider != PROVIDER or not target.startswith("{"):
        return target
    try:
        endpoint = json.loads(target)["endpoint"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return target
    return endpoint if isinstance(endpoint, str) else target


def decode_key(text: object) -> bytes:
    """Bytes of base64url, padded or not, as browsers and libraries write it."""
    if not isinstance(text, str) or not text.isascii():
        raise ValueError("is not base64url")
    plain = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except binascii.Error:
        raise ValueError("is not base64url") from None


def encode_key(key: bytes) -> str:
    """Base64url without padding, as browsers write it."""
    return base64.urlsafe_b64encode(key).decode().rstrip("=")


def parse_headers(headers: Mapping[str, str]) -> PushHeaders:
    """TTL, Urgency and Topic in any case; others are not looked at.

    Raises `InvalidHeader`, also for one that is given twice.
    """
    found: dict[str, str] = {}
    for name, value in headers.items():
        known = _NAMES.get(name.lower())
        if known is None:
            continue
        if known in found:
            raise InvalidHeader(known, "is given twice, in two spellings")
        found[known] = value.strip()
    ttl_s = DEFAULT_TTL_S
    if "TTL" in found:
        if not _SECONDS.fullmatch(found["TTL"]) or int(found["TTL"]) > _MAX_TTL_S:
            raise InvalidHeader("TTL", f"must be seconds from 0 to {_MAX_TTL_S}")
        ttl_s = int(found["TTL"])
    urgency = found.get("Urgency", "").lower()
    if "Urgency" in found and urgency not in URGENCIES:
        raise InvalidHeader("Urgency", f"must be one of {', '.join(URGENCIES)}")
    topic = found.get("Topic", "")
    if "Topic" in found and not _TOPIC.fullmatch(topic):
        raise InvalidHeader("Topic", "must be 1 to 32 characters of base64url")
    return PushHeaders(ttl_s, urgency, topic)


_NAMES = {"ttl": "TTL", "urgency": "Urgency", "topic": "Topic"}
