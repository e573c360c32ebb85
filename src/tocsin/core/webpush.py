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
from typing import Any

from tocsin.core.endpoints import EndpointRules, parse_endpoint
from tocsin.core.push_services import InvalidHeader
from tocsin.core.tokens import Tokens

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
# The curve P-256 of RFC 8291: y² = x³ - 3x + b over the field of `_PRIME`.
_PRIME = 2**256 - 2**224 + 2**192 + 2**96 - 1
_B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
_POINT_LENGTH = 65
_AUTH_LENGTH = 16


def _invalid(name: str, reason: str) -> InvalidHeader:
    """A header of the push that no push service would take; `name` is its name."""
    return InvalidHeader(name, reason, place=f".{name}", text=f"{name} {reason}")


@dataclass(frozen=True, slots=True)
class PushHeaders:
    """What RFC 8030 lets a sender say. Empty text means that nothing was said."""

    ttl_s: int = DEFAULT_TTL_S
    urgency: str = ""
    topic: str = ""


@dataclass(frozen=True, slots=True)
class WebPushTarget:
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


def parse_target(target: str) -> WebPushTarget:
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
    return WebPushTarget(endpoint, p256dh, auth)


class Subscriptions(Tokens):
    """Tokens that browsers hand out: a URL, and keys to encrypt for it.

    A caller brings both as a PushSubscription; the registry keeps the URL as token.
    """

    length_factor = 2
    has_keys = True

    def __init__(self) -> None:
        super().__init__(normalise_endpoint)

    def register(self, text: str, rules: EndpointRules) -> tuple[str, str]:
        """See `Tokens.register`."""
        return parse_subscription(text, rules)

    def read_target(self, text: str, rules: EndpointRules) -> str:
        """See `Tokens.read_target`."""
        return make_target(*parse_subscription(text, rules))

    def selected(self, text: str) -> str:
        """A selector may be the stored URL or the subscription it came from."""
        return self.stored(text)

    def make_target(self, token: str, keys: str) -> str:
        """See `Tokens.make_target`."""
        return make_target(token, keys)

    def stored(self, target: str) -> str:
        """See `Tokens.stored`."""
        if not target.startswith("{"):
            return target
        try:
            endpoint = json.loads(target)["endpoint"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return target
        return endpoint if isinstance(endpoint, str) else target

    def origin(self, target: str) -> str:
        """The origin of the browser's push service; each origin answers for itself."""
        match = _ORIGIN.match(target)
        return match[1] if match is not None else ""


def normalise_endpoint(url: str) -> str:
    """A push URL with its origin in one spelling; any other text stays as it is."""
    try:
        endpoint = parse_endpoint(url, allow_address=True)
    except ValueError:
        return url
    return endpoint.origin + endpoint.path


def parse_subscription(text: str, rules: EndpointRules) -> tuple[str, str]:
    """URL and keys of a PushSubscription in JSON, both in one spelling.

    The keys are JSON text `{"p256dh": …, "auth": …}`. Never resolves or calls the URL.
    Raises ValueError naming the part at fault.
    """
    subscription = _parse_object(text)
    endpoint = subscription.get("endpoint")
    keys = subscription.get("keys")
    if not isinstance(endpoint, str) or not endpoint:
        raise ValueError("endpoint of the subscription is missing")
    if not isinstance(keys, dict):
        raise ValueError("keys of the subscription are missing")  # noqa: TRY004 - one error for one rule
    try:
        parts = rules.check(endpoint)
    except ValueError as error:
        raise ValueError(f"endpoint {error}") from None
    point = _parse_key(keys, "p256dh")
    if len(point) != _POINT_LENGTH or not _on_curve(point):
        raise ValueError("keys.p256dh is not an uncompressed P-256 point")
    auth = _parse_key(keys, "auth")
    if len(auth) != _AUTH_LENGTH:
        raise ValueError(f"keys.auth is not {_AUTH_LENGTH} bytes long")
    # In one spelling, so that a browser is one device and one target.
    kept = {"p256dh": encode_key(point), "auth": encode_key(auth)}
    return parts.origin + parts.path, json.dumps(kept, separators=(",", ":"))


def _parse_object(text: str) -> dict[str, Any]:
    try:
        subscription = json.loads(text)
    except (ValueError, RecursionError):
        subscription = None
    if not isinstance(subscription, dict):
        raise ValueError("must be a PushSubscription as a JSON string")  # noqa: TRY004 - one error for one rule
    return subscription


def _parse_key(keys: dict[str, Any], name: str) -> bytes:
    value = keys.get(name)
    if not value:
        raise ValueError(f"keys.{name} is missing")
    try:
        return decode_key(value)
    except ValueError as error:
        raise ValueError(f"keys.{name} {error}") from None


def _on_curve(point: bytes) -> bool:
    # 4 marks an uncompressed point. All of this in plain integers: core has no
    # library.
    if point[0] != 4:
        return False
    x = int.from_bytes(point[1:33], "big")
    y = int.from_bytes(point[33:], "big")
    if x >= _PRIME or y >= _PRIME:
        return False
    return (y * y - (x * x * x - 3 * x + _B)) % _PRIME == 0


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
            raise _invalid(known, "is given twice, in two spellings")
        found[known] = value.strip()
    ttl_s = DEFAULT_TTL_S
    if "TTL" in found:
        if not _SECONDS.fullmatch(found["TTL"]) or int(found["TTL"]) > _MAX_TTL_S:
            raise _invalid("TTL", f"must be seconds from 0 to {_MAX_TTL_S}")
        ttl_s = int(found["TTL"])
    urgency = found.get("Urgency", "").lower()
    if "Urgency" in found and urgency not in URGENCIES:
        raise _invalid("Urgency", f"must be one of {', '.join(URGENCIES)}")
    topic = found.get("Topic", "")
    if "Topic" in found and not _TOPIC.fullmatch(topic):
        raise _invalid("Topic", "must be 1 to 32 characters of base64url")
    return PushHeaders(ttl_s, urgency, topic)


_NAMES = {"ttl": "TTL", "urgency": "Urgency", "topic": "Topic"}
