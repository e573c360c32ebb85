"""The closed table of API errors. It knows no transport.

Services raise these; only `api/errors.py` turns them into a reply field, a gRPC
status or an HTTP status. Codes and texts are the published ones.
"""

from __future__ import annotations

from typing import ClassVar


class ApiError(Exception):
    """Base of the table, and the error of its first row."""

    code: ClassVar[int] = 100
    text: ClassVar[str] = "internal server error"
    temporary: ClassVar[bool] = True

    def __init__(self, detail: str = "") -> None:
        """`detail` is appended to the published text after a colon."""
        self.detail = detail
        super().__init__(self.message)

    @property
    def message(self) -> str:
        """What the caller reads: the published text, then where."""
        return f"{self.text}: {self.detail}" if self.detail else self.text


class InternalError(ApiError):
    """Something failed on our side; its cause is in the log.

    `reason` is for logs only, such as a driver's own words: callers are told
    no address. It holds no token, payload or password.
    """

    def __init__(self, detail: str = "", reason: str = "") -> None:
        self.reason = reason
        super().__init__(detail)


class QueueUnavailable(InternalError):
    """The queue cannot be reached now; what was under way may have happened.

    A caller repeats with the same `push_id`, a worker at its next turn.
    """

    def __init__(self, reason: str = "") -> None:
        super().__init__("queue is unavailable", reason)


class StatementRefused(InternalError):
    """A store is there and will not do just this: repeating it changes nothing."""


class BrokerUnavailable(InternalError):
    """The broker cannot be reached now; it may have taken the last command."""

    def __init__(self, reason: str = "") -> None:
        super().__init__("broker is unavailable", reason)


class DependencyLost(InternalError):
    """What this process works on takes no writes, or is not what others find there.

    Raised by readiness checks alone: `detail` is told to who asks, path included.
    """


class UnknownChannel(ApiError):
    """The channel names a namespace that is not configured."""

    code = 102
    text = "unknown channel"
    temporary = False


class PermissionDenied(ApiError):
    """The key opens the door, and not for this method."""

    code = 103
    text = "permission denied"
    temporary = False


class NotFound(ApiError):
    """The thing that the request names does not exist."""

    code = 104
    text = "not found"
    temporary = False


class BadRequest(ApiError):
    """A field of the request is wrong; nothing was changed."""

    code = 107
    text = "bad request"
    temporary = False

    def __init__(self, field: str, reason: str) -> None:
        """`field` is the path of the field as the schema spells it."""
        self.field = field
        self.reason = reason
        super().__init__(f"{field}: {reason}")


class NotAvailable(ApiError):
    """The feature is off, or not built into this release."""

    code = 108
    text = "not available"
    temporary = False


class QueueFull(NotAvailable):
    """The backlog is at its limit; nothing was accepted, try again later."""

    temporary = True

    def __init__(self) -> None:
        super().__init__("queue is full")


class RateLimited(NotAvailable):
    """The key's rate is used up; nothing was done, try again later."""

    temporary = True

    def __init__(self, retry_after_s: float) -> None:
        """`retry_after_s` is how long it takes until the next call is let in."""
        self.retry_after_s = retry_after_s
        super().__init__(
            f"the rate of this key is used up; try again in {retry_after_s:.3g} s"
        )


class UnrecoverablePosition(ApiError):
    """The stream epoch of the request is not the current one."""

    code = 112
    text = "unrecoverable position"
    temporary = False


class Conflict(ApiError):
    """The request contradicts what is stored."""

    code = 113
    text = "conflict"
    temporary = False


ERRORS: tuple[type[ApiError], ...] = (
    InternalError,
    QueueUnavailable,
    UnknownChannel,
    PermissionDenied,
    NotFound,
    BadRequest,
    NotAvailable,
    QueueFull,
    RateLimited,
    UnrecoverablePosition,
    Conflict,
)
"""Every class that may reach a caller; `api/errors.py` must map each code."""
