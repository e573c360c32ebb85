"""Push room: what a provider's message must look like before it is accepted.

Only shape and size are checked. The content is passed on byte for byte; the provider
judges it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import orjson

from tocsin.core.errors import BadRequest
from tocsin.core.push import Body
from tocsin.core.push_services import SERVICES, InvalidHeader
from tocsin.push import checks

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)


def body_field(provider: str) -> tuple[str, str]:
    """The paths of a provider's body and of the JSON inside it."""
    field = SERVICES[provider].body
    return f"notification.{field.name}", f"notification.{field.name}.{field.content}"


def check_body(provider: str, body: Body, size_limit: int) -> None:
    """Check a body: JSON within the limit (bytes), headers that HTTP can carry.

    The rules of a single push service are in its `BodyField`.
    """
    expected = SERVICES[provider].body
    outer, field = body_field(provider)
    if expected.size_limit is not None:
        size_limit = min(size_limit, expected.size_limit(body.headers))
    size = len(body.message)
    if not size:
        raise BadRequest(field, "must not be empty")
    if size > size_limit:
        raise BadRequest(field, f"must be at most {size_limit} bytes long, has {size}")
    what = "JSON" if expected.any_json else "a JSON object"
    try:
        canonical = canonical_body(body.message)
    except ValueError:
        canonical = b""
    # No space comes before canonical JSON, so its first byte tells an object.
    if not (canonical.startswith(b"{") or (expected.any_json and canonical)):
        raise BadRequest(
            field, f"must be {what} in UTF-8, nested at most 250 levels deep"
        )
    _check_headers(f"{outer}.headers", body.headers)
    if expected.check_headers is not None:
        try:
            expected.check_headers(body.headers)
        except InvalidHeader as error:
            path = f"{outer}.headers{error.place}"
            raise BadRequest(path, error.reason) from None


def _check_headers(field: str, headers: Mapping[str, str]) -> None:
    """Check that HTTP can carry these names and values."""
    for name, value in headers.items():
        checks.check_text(field, name, checks.NAME_LENGTH, what="header name ")
        if not _HEADER_NAME.fullmatch(name):
            raise BadRequest(field, "header name has a forbidden character")
        path = checks.entry(field, name)
        checks.check_text(path, value, checks.META_VALUE_LENGTH, required=False)
        # A line break would end this header and begin another.
        if not value.isascii() or (value and not value.isprintable()):
            raise BadRequest(path, "must be printable ASCII text")


def canonical_body(message: bytes) -> bytes:
    """The same JSON with keys in order and no spaces, or `ValueError`."""
    parsed = orjson.loads(message)
    try:
        return orjson.dumps(parsed, option=orjson.OPT_SORT_KEYS)
    except TypeError as error:  # orjson's word for "nested too deeply"
        raise ValueError("nested too deeply") from error
