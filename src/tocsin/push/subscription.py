"""Push room: the Web Push subscription that browsers hand out as JSON.

Pure; it never resolves or calls the endpoint.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tocsin.core.errors import BadRequest

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


def parse_subscription(field: str, text: str) -> Subscription:
    """A checked subscription, or `BadRequest` naming `field` and the part."""
    subscription = _parse_object(field, text)
    endpoint = subscription.get("endpoint")
    keys = subscription.get("keys")
    if not isinstance(endpoint, str) or not endpoint:
        raise BadRequest(field, "endpoint of the subscription is missing")
    if not isinstance(keys, dict):
        raise BadRequest(field, "keys of the subscription are missing")
    _check_endpoint(field, endpoint)
    point = _parse_key(field, keys, "p256dh")
    if len(point) != _POINT_LENGTH or not _on_curve(point):
        raise BadRequest(field, "keys.p256dh is not an uncompressed P-256 point")
    if len(_parse_key(field, keys, "auth")) != _AUTH_LENGTH:
        raise BadRequest(field, f"keys.auth is not {_AUTH_LENGTH} bytes long")
    kept = {"p256dh": keys["p256dh"], "auth": keys["auth"]}
    return Subscription(endpoint, json.dumps(kept, separators=(",", ":")))


def _parse_object(field: str, text: str) -> dict[str, Any]:
    try:
        subscription = json.loads(text)
    except (ValueError, RecursionError):
        subscription = None
    if not isinstance(subscription, dict):
        raise BadRequest(field, "must be a PushSubscription as a JSON string")
    return subscription


def _check_endpoint(field: str, endpoint: str) -> None:
    """The always-on part of the rules against requests into private networks."""
    reason = "endpoint must be an https URL with a host name"
    # Controls and spaces are refused first: urlsplit drops some of them silently.
    if not endpoint.isascii() or not endpoint.isprintable() or " " in endpoint:
        raise BadRequest(field, reason)
    try:
        url = urlsplit(endpoint)
        host = url.hostname or ""
        _ = url.port  # parsed lazily; a bad one raises here
    except ValueError:
        raise BadRequest(field, reason) from None
    if url.scheme != "https" or not host or "@" in url.netloc or _is_address(host):
        raise BadRequest(field, reason)


def _is_address(host: str) -> bool:
    # Resolvers read `127.1` and `0x7f000001` as addresses too: a name's last
    # label is never a number.
    last = host.rstrip(".").rpartition(".")[2]
    if not last or last.isdigit() or last.startswith("0x"):
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _parse_key(field: str, keys: dict[str, Any], name: str) -> bytes:
    value = keys.get(name)
    if not isinstance(value, str) or not value.isascii():
        raise BadRequest(field, f"keys.{name} is missing")
    plain = value.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest(field, f"keys.{name} is not base64url") from None


def _on_curve(point: bytes) -> bool:
    if point[0] != 4:
        return False
    x = int.from_bytes(point[1:33], "big")
    y = int.from_bytes(point[33:], "big")
    if x >= _PRIME or y >= _PRIME:
        return False
    return (y * y - (x * x * x - 3 * x + _B)) % _PRIME == 0
