"""Push room: the Web Push subscription that browsers hand out as JSON.

Pure; it never resolves or calls the endpoint.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tocsin.core.endpoints import EndpointRules
from tocsin.core.errors import BadRequest
from tocsin.core.webpush import decode_key, encode_key, make_target

# The curve P-256 of RFC 8291: y² = x³ - 3x + b over the field of `_PRIME`.
_PRIME = 2**256 - 2**224 + 2**192 + 2**96 - 1
_B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
_POINT_LENGTH = 65
_AUTH_LENGTH = 16


@dataclass(frozen=True, slots=True)
class Subscription:
    """Where to push, and the keys as JSON text `{"p256dh": …, "auth": …}`."""

    endpoint: str
    keys: str

    @property
    def target(self) -> str:
        """The one string that a send to it carries."""
        return make_target(self.endpoint, self.keys)


def parse_subscription(field: str, text: str, rules: EndpointRules) -> Subscription:
    """A checked subscription, or `BadRequest` naming `field` and the part."""
    subscription = _parse_object(field, text)
    endpoint = subscription.get("endpoint")
    keys = subscription.get("keys")
    if not isinstance(endpoint, str) or not endpoint:
        raise BadRequest(field, "endpoint of the subscription is missing")
    if not isinstance(keys, dict):
        raise BadRequest(field, "keys of the subscription are missing")
    try:
        parts = rules.check(endpoint)
    except ValueError as error:
        raise BadRequest(field, f"endpoint {error}") from None
    point = _parse_key(field, keys, "p256dh")
    if len(point) != _POINT_LENGTH or not _on_curve(point):
        raise BadRequest(field, "keys.p256dh is not an uncompressed P-256 point")
    auth = _parse_key(field, keys, "auth")
    if len(auth) != _AUTH_LENGTH:
        raise BadRequest(field, f"keys.auth is not {_AUTH_LENGTH} bytes long")
    # In one spelling, so that a browser is one device and one target.
    kept = {"p256dh": encode_key(point), "auth": encode_key(auth)}
    text = json.dumps(kept, separators=(",", ":"))
    return Subscription(parts.origin + parts.path, text)


def _parse_object(field: str, text: str) -> dict[str, Any]:
    try:
        subscription = json.loads(text)
    except (ValueError, RecursionError):
        subscription = None
    if not isinstance(subscription, dict):
        raise BadRequest(field, "must be a PushSubscription as a JSON string")
    return subscription


def _parse_key(field: str, keys: dict[str, Any], name: str) -> bytes:
    value = keys.get(name)
    if not value:
        raise BadRequest(field, f"keys.{name} is missing")
    try:
        return decode_key(value)
    except ValueError as error:
        raise BadRequest(field, f"keys.{name} {error}") from None


def _on_curve(point: bytes) -> bool:
    if point[0] != 4:
        return False
    x = int.from_bytes(point[1:33], "big")
    y = int.from_bytes(point[33:], "big")
    if x >= _PRIME or y >= _PRIME:
        return False
    return (y * y - (x * x * x - 3 * x + _B)) % _PRIME == 0
