"""One request on its way, for the HTTP/2 room: what is sent, and what came so far.

Plain data with slots: one is made for every push, so each field costs.
"""

from __future__ import annotations

from collections.abc import Callable

from tocsin.http2.answer import Failure, Response
from tocsin.http2.head import RequestHead
from tocsin.http2.hpack import FieldBlock

OnDone = Callable[[Response | Failure], None]


class Partial:
    """A response body that came in more than one frame."""

    __slots__ = ("data", "unacknowledged")

    def __init__(self) -> None:
        self.data = bytearray()
        self.unacknowledged = 0


class Exchange:
    """A request with its deadline (loop time) and its answer as far as it is there.

    It outlives a connection: when the server did not process it, it is sent again on
    another one, and `tries` counts that.
    """

    __slots__ = ("body", "deadline", "fields", "head", "on_done", "partial", "tries")

    def __init__(
        self, head: RequestHead, body: bytes, on_done: OnDone, deadline: float
    ) -> None:
        self.head = head
        self.body = body
        self.on_done = on_done
        self.deadline = deadline
        self.fields: FieldBlock | None = None
        self.partial: Partial | None = None
        self.tries = 0

    def keep(self, body: bytes) -> None:
        """Remember what came of the body, in one piece."""
        self.partial = Partial()
        self.partial.data += body

    @property
    def begun(self) -> Response | None:
        """What there is of an answer whose final head has come."""
        if self.fields is None:
            return None
        return Response(self.fields, bytes(self.partial.data) if self.partial else b"")


class Unsent:
    """A request body that waits for the peer's window."""

    __slots__ = ("body", "sent", "window")

    def __init__(self, body: bytes, window: int) -> None:
        self.body = body
        self.sent = 0
        self.window = window
