"""What comes back from a request, for the HTTP/2 room: a response or a failure.

Values and errors only; what to do about a failure is not decided here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from tocsin.http2.hpack import FieldBlock


class Response:
    """A complete answer. `status` is the final one; `body` is never cut.

    Only as the `begun` of a `Failure` it is what there was of one.
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
    """A request without an answer.

    `maybe_sent` is True when the server may have acted on it, so that sending again
    may do the thing twice. `error_code` is the peer's HTTP/2 error code where one
    came; `goaway_debug` is the text of its GOAWAY (APNs puts its reason there).
    `begun` is what came of an answer that never became whole: its head, whose status
    is the server's last word on the request, and a body that may be cut anywhere.
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

    `retry_after_s` is how long the pool itself will not try again.
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
