"""The request body of one FCM send: the user's message with its target put in.

Pure bytes; it must not change the message beyond the target.
"""

from __future__ import annotations

import json
import re
from json.encoder import encode_basestring_ascii as _quote

from tocsin.core.push import TargetKind
from tocsin.providers.json_message import InvalidMessage, parse_message

__all__ = [
    "TARGET_KEYS",
    "BodyTemplate",
    "InvalidMessage",
    "RenderedBodies",
    "parse_message",
]

TARGET_KEYS = ("token", "fid", "topic", "condition")
"""The keys of a message that name its target; FCM takes exactly one."""


_OBJECT = re.compile(rb'\s*\{(?=\s*")')
# A key may be written with escapes; then only reading tells what it is. One search
# for each is ten times faster than one pattern for all.
_TARGET_SIGNS = (*(b'"%b"' % key.encode() for key in TARGET_KEYS), b"\\u")


class BodyTemplate:
    """Everything of a request body but the target, as bytes.

    A message that names no target is kept byte for byte. From any other the target
    keys are removed, and the rest is written anew.
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
        opening = _opening(validate_only=validate_only)
        target = _quote(kind.value).encode() + b":"
        self._before = opening + message[:start] + target
        self._after = (b"," if fields else b"") + message[start:] + b"}"

    def build(self, target: str) -> bytes:
        """The body for one target."""
        return self._before + _quote(target).encode() + self._after


class RenderedBodies:
    """Puts each target into a message of its own.

    A message that might name a target itself is parsed and written anew; in the
    others only the opening brace has to be found, which is far cheaper.
    """

    __slots__ = ("_kind", "_opening", "_target", "_validate_only")

    def __init__(self, kind: TargetKind, *, validate_only: bool) -> None:
        self._kind = kind
        self._validate_only = validate_only
        self._opening = _opening(validate_only=validate_only)
        self._target = _quote(kind.value).encode() + b":"

    def build(self, message: bytes, target: str) -> bytes:
        """The body for one target; raises `InvalidMessage`."""
        brace = _OBJECT.match(message)
        if brace is None or any(sign in message for sign in _TARGET_SIGNS):
            whole = BodyTemplate(message, self._kind, validate_only=self._validate_only)
            return whole.build(target)
        start = brace.end()
        return b"".join(
            (
                self._opening,
                message[:start],
                self._target,
                _quote(target).encode(),
                b",",
                message[start:],
                b"}",
            )
        )


def _opening(*, validate_only: bool) -> bytes:
    return b'{"validate_only":true,"message":' if validate_only else b'{"message":'
