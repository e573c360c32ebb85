"""Ids that sort in creation order, so that they serve as cursors. Pure.

Layout of 24 characters of the alphabet below: 10 of Unix milliseconds, 5 of a
counter that keeps order within a millisecond of one process, 1 of kind or
provider, 8 random. Text order (byte-wise, collation "C") is creation order.
"""

from __future__ import annotations

import secrets
import threading
import time
import uuid

from tocsin.core.push_services import SERVICES

# In byte order, five bits a character; without i, l, o and u.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUES = frozenset(_ALPHABET)
_LENGTH = 24
_STAMP, _LOW = (1 << 48) - 1, (1 << 62) - 1

_LETTERS = {"device_topic": "t", "user_topic": "n"}
"""What marks ids of rows other than devices, whose service has a letter."""


def _encode(value: int, width: int) -> str:
    chars = []
    for _ in range(width):
        chars.append(_ALPHABET[value & 31])
        value >>= 5
    return "".join(reversed(chars))


class IdSource:
    """Makes ids in strictly rising order, even when the clock steps back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last_ms = 0
        self._counter = 0

    def new(self, kind: str) -> str:
        """A fresh id; `kind` is a push service, `device_topic` or `user_topic`."""
        letter = _LETTERS.get(kind) or SERVICES[kind].id_letter
        # Threads share the source: time and counter change together.
        with self._lock:
            now = time.time_ns() // 1_000_000
            if now > self._last_ms:
                # From 20 random of 25 bits, so that there is room to
                # count up in a millisecond.
                self._last_ms, self._counter = now, secrets.randbelow(1 << 20)
            else:
                self._counter += 1
            stamp, count = self._last_ms, self._counter
        return (
            _encode(stamp, 10)
            + _encode(count, 5)
            + letter
            + _encode(secrets.randbits(40), 8)
        )


def new_send_id() -> str:
    """A UUID of version 7: it sorts by the millisecond in which it was made.

    So a send is found in its log, and the log is purged, by the order of this one key.
    """
    stamp = time.time_ns() // 1_000_000 & _STAMP
    random = secrets.randbits(74)
    value = stamp << 80 | 7 << 76 | (random >> 62) << 64 | 2 << 62 | random & _LOW
    return str(uuid.UUID(int=value))


def send_ids_from(at_ms: int) -> str:
    """The lowest id that `new_send_id` makes from this Unix millisecond on."""
    return str(uuid.UUID(int=(max(0, at_ms) & _STAMP) << 80))


def is_id(text: str) -> bool:
    """Whether a server could have made this id."""
    return len(text) == _LENGTH and _VALUES.issuperset(text)


new_id = IdSource().new
"""The process-wide source."""
