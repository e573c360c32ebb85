"""Payloads of publications and infos: base64 and the format check. Part of `channels`.

It must not change a byte of what it lets through.
"""

from __future__ import annotations

import base64
import binascii

from tocsin.core.channel import ChannelOptions
from tocsin.core.errors import BadRequest
from tocsin.protocol.json_text import is_json

# The published server, written in Go, skips line ends in base64.
_LINE_ENDS = str.maketrans("", "", "\r\n")
_BLANK = b" \t\r\n"


def decode_payload(plain: bytes, encoded: str, field: str) -> bytes:
    """The bytes of a request: those of `encoded`, base64, unless it is empty.

    Raises `BadRequest` that names `field`, the one of the base64.
    """
    if not encoded:
        return plain
    try:
        return base64.b64decode(encoded.translate(_LINE_ENDS), validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest(field, "must be base64 with padding") from None


def check_data(data: bytes, options: ChannelOptions) -> None:
    """The namespace's `publication_data_format`; raises `BadRequest`."""
    if (fault := find_data_fault(data, options.publication_data_format)) is not None:
        raise BadRequest("data", fault)


def find_data_fault(data: bytes, format: str) -> str | None:
    """Why the data does not fit, or `None`. Formats are the configuration's."""
    if format == "":
        return None if data else "must not be empty"
    if format == "binary":
        return None
    if not is_json(data):
        return "must be JSON"
    if format == "json_object" and not data.lstrip(_BLANK).startswith(b"{"):
        return "must be a JSON object"
    return None
