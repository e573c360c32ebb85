"""A user's JSON message, to be sent on with nothing changed but its target.

Pure bytes, for every provider whose body is one JSON object; it knows none of them.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any


class InvalidMessage(ValueError):
    """The stored message is no JSON object, so it cannot be sent to anybody."""


class JsonTemplate:
    """A JSON object without the keys that name its target, as bytes.

    A message that has none of these keys is kept byte for byte. From any other they
    are removed, and the rest is written anew.
    """

    __slots__ = ("_rest",)

    def __init__(self, message: bytes, target_keys: Collection[str]) -> None:
        """Raises `InvalidMessage`."""
        fields = parse_message(message)
        if not fields.keys().isdisjoint(target_keys):
            fields = {k: v for k, v in fields.items() if k not in target_keys}
            message = json.dumps(fields, separators=(",", ":")).encode()
        rest = message[message.index(b"{") + 1 :]
        self._rest = b"," + rest if fields else rest

    def with_fields(self, fields: bytes) -> bytes:
        """The object with `fields` in front: encoded members without their braces."""
        return b"{" + fields + self._rest


def parse_message(message: bytes) -> dict[str, Any]:
    """The message as an object; raises `InvalidMessage`."""
    try:
        fields = json.loads(message)
    except (ValueError, RecursionError) as error:
        raise InvalidMessage(f"the message is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise InvalidMessage("the message is not a JSON object")
    return fields


def parse_object(answer: bytes) -> dict[str, Any]:
    """A service's answer as an object; empty if it is not one (a gateway's page)."""
    try:
        fields = json.loads(answer)
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}
