"""One HTTP exchange as the imitated services see it; plain values, no sockets.

The connections turn bytes into a `Request` and a `Reply` into bytes; nothing here
may know which HTTP version carried it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

import orjson


class Ending(Enum):
    """What becomes of the exchange once the service has decided."""

    ANSWER = "answer"
    DROP = "drop"
    """Close the connection without a word, for everyone on it."""
    RESET = "reset"
    """Reset this stream only (HTTP/1.1: close)."""
    GOODBYE = "goodbye"
    """Close the connection by a GOAWAY with the body as debug data, and leave this
    request unprocessed (HTTP/1.1: close)."""
    SILENCE = "silence"
    """Never answer, keep the connection."""
    CUT = "cut"
    """Send the head and half of the body, then reset the stream (HTTP/1.1: close)."""
    STALL = "stall"
    """Send the head and half of the body, and nothing more; keep the connection."""


@dataclass(slots=True)
class Request:
    """A whole request. Header names are lower case; `path` has no query."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """What to answer, and after how long."""

    status: int
    body: bytes = b""
    content_type: str = "application/json; charset=UTF-8"
    headers: tuple[tuple[str, str], ...] = ()
    delay_s: float = 0.0
    ending: Ending = Ending.ANSWER


def json_reply(status: int, value: Any, **more: Any) -> Reply:
    """A reply with an indented JSON body, as Google writes it."""
    return Reply(status, orjson.dumps(value, option=orjson.OPT_INDENT_2), **more)


class Site(Protocol):
    """What a connection asks of the server that it belongs to."""

    fast_path: str
    """Requests to paths that begin so get `fast_reply` unread; empty: none do."""
    fast_reply: Reply

    @property
    def max_streams(self) -> int:
        """What SETTINGS announce."""
        ...

    @property
    def goaway_after(self) -> int:
        """Requests per connection until GOAWAY, 0 for never."""
        ...

    def answer(self, request: Request) -> Reply:
        """The reply to any request; unknown paths are answered too."""
        ...

    def count_fast(self, count: int) -> None:
        """So many requests were answered with `fast_reply`."""
        ...
