"""A request under way and its answer or failure, for the HTTP/2 room.

Values and errors only; what to do about a failure is not decided here. One `Exchange`
and one `Response` is made for every push: they have slots, and each field costs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from tocsin.http2.head import RequestHead
from tocsin.http2.hpack import FieldBlock


class Response:
    """A complete answer. `status` is the final one; `body` is whole.

    As the `begun` of a `Failure` it is incomplete: see there.
    """

    __slots__ = ("_fields", "body", "status")

    def __init__(self, fields: FieldBlock, body: bytes) -> None:
        self._fields = fields
        self.status = fields.status
        self.body = body

    def header(self, name: bytes | str) -> str | None:
        """The first value under the name, in any case, or None."""
        if isinstance(name, str):
            name = name.encode("latin-1")
        name = name.lower()
        for key, value in self._fields.fields:
            if key == name:
                return value.decode("latin-1")
        return None

    @property
    def headers(self) -> Sequence[tuple[str, str]]:
        """All (name, value) in order, names in lower case, no pseudo-headers."""
        return self._fields.text

    def __repr__(self) -> str:
        return f"<Response {self.status}, {len(self.body)} bytes>"


class FailureKind(StrEnum):
    """How a request ended without an answer."""

    CONNECT = "connect"
    """No connection could be made."""
    TIMEOUT = "timeout"
    """The deadline passed; the connection may be well."""
    RESET = "reset"
    """The server gave this one request up."""
    CLOSED = "closed"
    """The connection went away."""
    REFUSED = "refused"
    """The server sent it back unprocessed, again and again."""
    PROTOCOL = "protocol"
    """The server broke HTTP/2, or the request cannot be sent to it."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A request without a complete answer.

    `maybe_sent` is True when the server may have acted on the request, so that sending
    it again may do that twice. `error_code` is the peer's HTTP/2 error code, if one
    came; `goaway_debug` is the text of its GOAWAY (APNs puts its reason there).
    `begun` is an answer that was cut off: its status is valid, its body may end
    anywhere.
    """

    kind: FailureKind
    maybe_sent: bool
    detail: str
    error_code: int | None = None
    goaway_debug: bytes = b""
    begun: Response | None = None


class Http2Error(Exception):
    """Base of what this room raises."""


class Http2ConnectError(Http2Error):
    """No connection can be made now; `reason` says why.

    The pool itself tries again after `retry_after_s` seconds at the earliest.
    """

    def __init__(self, reason: str, retry_after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_s = retry_after_s


class Http2RequestError(Http2Error):
    """A request failed; `failure` says how."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.kind}: {failure.detail}")
        self.failure = failure


OnDone = Callable[[Response | Failure], None]


class Partial:
    """A response body that came in more than one frame."""

    __slots__ = ("data", "unacknowledged")

    def __init__(self) -> None:
        self.data = bytearray()
        self.unacknowledged = 0


class Exchange:
    """A request with its deadline (loop time), and the part of its answer that came.

    It outlives a connection: if the server did not process it, it is sent again on
    another one; `tries` counts those.
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
        """Keep this body, the only piece of it, for `begun`."""
        self.partial = Partial()
        self.partial.data += body

    @property
    def begun(self) -> Response | None:
        """The incomplete answer, once its final head has come."""
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
