"""The request body of one FCM send: the user's message with its target put in.

Pure bytes; it must not change the message beyond the target.
"""

from __future__ import annotations

import json
from json.encoder import encode_basestring_ascii as _quote

from tocsin.core.push import TargetKind
from tocsin.providers.json_message import InvalidMessage, parse_message

__all__ = ["TARGET_KEYS", "BodyTemplate", "InvalidMessage", "parse_message"]

TARGET_KEYS = ("token", "fid", "topic", "condition")
"""The keys of a message that name its target; FCM takes exactly one."""


class BodyTemplate:
    """Everything of a request body but the target, as bytes.

    A message without a target of its own is kept byte for byte; from one that has
    some they are taken out, and the rest is written anew.
    """

    __slots__ = ("_after", "_before")

    def __init__(
        self, message: bytes, kind: TargetKind, *, validate_only: bool
    ) -> None:
        """Raises `InvalidMessage`."""
        fields = parse_message(message)
        if not fields.keys().isdisjoint(TARGET_KEYS):
            for key in TARGET_KEYS:
                fields.pop(key, None)
            message = json.dumps(fields, separators=(",", ":")).encode()
        start = message.index(b"{") + 1
        opening = (
            b'{"validate_only":true,"message":' if validate_only else b'{"message":'
        )
        target = _quote(kind.value).encode() + b":"
        self._before = opening + message[:start] + target
        self._after = (b"," if fields else b"") + message[start:] + b"}"

    def build(self, target: str) -> bytes:
        """The body for one target."""
        return self._before + _quote(target).encode() + self._after
