"""Push room: what a provider's message must look like before it is accepted.

Only its shape and size: the content is the provider's business and is passed on
byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import orjson

from tocsin.core import apns
from tocsin.core.errors import BadRequest
from tocsin.core.push import Body
from tocsin.core.webpush import MAX_PAYLOAD_BYTES, InvalidHeader, parse_headers
from tocsin.push import checks

_BODY_FIELDS: Mapping[str, tuple[str, str]] = {
    "fcm": ("fcm", "message"),
    "hms": ("hms", "message"),
    "apns": ("apns", "payload"),
    "webpush": ("webpush", "payload"),
    "expo": ("expo", "message"),
    "one-signal": ("one_signal", "message"),
    "push-webhook": ("push_webhook", "message"),
    "pusher-beams": ("pusher_beams", "message"),
    "pushpad": ("pushpad", "message"),
}

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)


def body_field(provider: str) -> tuple[str, str]:
    """The paths of a provider's body and of the JSON inside it."""
    name, content = _BODY_FIELDS[provider]
    return f"notification.{name}", f"notification.{name}.{content}"


def check_body(provider: str, body: Body, size_limit: int) -> None:
    """A JSON object within the limit (bytes), with headers that HTTP can carry.

    A Web Push payload is any JSON, as it goes to the page's own code. It and one for
    APNs are bounded by what the push services take, their headers are checked.
    """
    outer, field = body_field(provider)
    webpush = provider == "webpush"
    if webpush:
        size_limit = min(size_limit, MAX_PAYLOAD_BYTES)
    elif provider == "apns":
        size_limit = min(size_limit, apns.payload_limit(body.headers))
    size = len(body.message)
    if not size:
        raise BadRequest(field, "must not be empty")
    if size > size_limit:
        raise BadRequest(field, f"must be at most {size_limit} bytes long, has {size}")
    what = "JSON" if webpush else "a JSON object"
    try:
        canonical = canonical_body(body.message)
    except ValueError:
        canonical = b""
    if not (canonical.startswith(b"{") or (webpush and canonical)):
        raise BadRequest(
            field, f"must be {what} in UTF-8, nested at most 250 levels deep"
        )
    for name, value in body.headers.items():
        checks.check_text(
            f"{outer}.headers", name, checks.NAME_LENGTH, what="header name "
        )
        if not _HEADER_NAME.fullmatch(name):
            raise BadRequest(
                f"{outer}.headers", "header name has a forbidden character"
            )
        path = checks.entry(f"{outer}.headers", name)
        checks.check_text(path, value, checks.META_VALUE_LENGTH, required=False)
        # Line breaks would end the header and begin another.
        if not value.isascii() or (value and not value.isprintable()):
            raise BadRequest(path, "must be printable ASCII text")
    if webpush:
        try:
            parse_headers(body.headers)
        except InvalidHeader as error:
            raise BadRequest(f"{outer}.headers.{error.name}", error.reason) from None
    elif provider == "apns":
        try:
            apns.parse_headers(body.headers)
        except apns.InvalidHeader as error:
            path = checks.entry(f"{outer}.headers", error.name)
            raise BadRequest(path, error.reason) from None


def canonical_body(message: bytes) -> bytes:
    """The same JSON with keys in order and no spaces, or `ValueError`."""
    parsed = orjson.loads(message)
    try:
        return orjson.dumps(parsed, option=orjson.OPT_SORT_KEYS)
    except TypeError as error:  # orjson's word for "nested too deeply"
        raise ValueError("nested too deeply") from error
