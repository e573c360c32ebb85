"""What those who are traced see of tracing. Part of `telemetry`.

It imports no tracing library: without one, and while tracing is off, callers have
`None` in place of a `Tracer`. `opentelemetry.py` implements it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from enum import Enum
from typing import Protocol

Value = str | int | bool
"""What an attribute may hold: never a token, a key or a payload."""


class SpanKind(Enum):
    """Which side of a conversation a span is about."""

    SERVER = "server"
    CLIENT = "client"
    PRODUCER = "producer"
    CONSUMER = "consumer"


class Span(Protocol):
    """A step under way."""

    @property
    def traceparent(self) -> str:
        """Its context as it travels, also where it is not recorded."""
        ...

    def set(self, attributes: Mapping[str, Value]) -> None:
        """Add to what is told of it."""
        ...

    def fail(self, kind: str) -> None:
        """It failed; `kind` is a word and never the text of an error."""
        ...


class Tracer(Protocol):
    """Makes spans."""

    def span(
        self,
        kind: SpanKind,
        name: str,
        attributes: Mapping[str, Value],
        *,
        parent: str = "",
        link: str = "",
        is_root: bool = False,
    ) -> AbstractContextManager[Span]:
        """A span that lasts as long as the block.

        It continues `parent`, a context that came from elsewhere; without one it is
        part of the span around it, unless `is_root`. With `link` it begins a trace of
        its own that points to that context, and it is not recorded where that was not.
        An exception from the block ends it as failed, by the name of its class.
        """
        ...

    def current(self) -> str:
        """The context of the recorded span around the caller; "" without one."""
        ...
