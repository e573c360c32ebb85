"""What became of a push, row by row, and what the rows add up to. Pure values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple

NOTIFICATIONS = "notifications"
"""The kind of rows, as metrics and ClickHouse name it."""


class PushStatus(StrEnum):
    """What happened to one recipient: workers report the first two, apps the others."""

    SENT = "sent"
    """The provider accepted the message."""
    FAILED = "failed"
    """The provider did not; a retry may still turn it into `sent`."""
    DELIVERED = "delivered"
    """The app got the message."""
    INTERACTED = "interacted"
    """A person opened it."""


class SendEvent(StrEnum):
    """What became of a send as a whole: rows without a recipient, counted by nobody."""

    SCHEDULED = "scheduled"
    """It was accepted for later."""
    WAITING = "waiting"
    """A time window or a rate limit holds some of it back."""
    EXPIRED = "expired"
    """Its end came before all of it was sent."""
    CANCELLED = "cancelled"
    """It was taken back."""
    UNMATCHED = "unmatched"
    """Its filter matched no device of a provider."""


class NotificationRow(NamedTuple):
    """One result of one recipient; the columns of the documents, in their order.

    `recipient` is the topic or the condition; of a token only what
    `mark_of_token` leaves. `time_ms` is Unix milliseconds. A tuple on purpose:
    tens of thousands are made each second.
    """

    uid: str
    provider: str
    type: str
    recipient: str
    device_id: str
    platform: str
    user: str
    msg_id: str
    status: str
    error_message: str
    error_code: str
    time_ms: int


@dataclass(frozen=True, slots=True)
class EventSum:
    """All events of one kind, provider and reason: the last time, the last due time.

    Both are Unix milliseconds; `due_ms` is 0 where nothing is due.
    """

    event: SendEvent
    provider: str
    reason: str
    due_ms: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class Funnel:
    """What became of one send.

    `sent` are recipients whose provider accepted the message, `delivered` and
    `interacted` devices that said so themselves, each counted once however
    often it was said. `failed` are recipients that never became `sent`, by the
    code of the last try.
    """

    uid: str
    sent: int = 0
    delivered: int = 0
    interacted: int = 0
    failed: Mapping[str, int] = field(default_factory=dict)
    events: Sequence[EventSum] = ()

    @property
    def has_results(self) -> bool:
        """Whether any recipient, or an app, has been heard of."""
        counts = (self.sent, self.delivered, self.interacted, *self.failed.values())
        return any(counts)


@dataclass(frozen=True, slots=True)
class SendState:
    """What a funnel's numbers do not say: a state, a sentence, and until when.

    `due_ms` is Unix milliseconds, 0 where nothing is waited for.
    """

    state: str
    note: str
    due_ms: int = 0


class RowsRefused(Exception):
    """A store will never take these rows, however often it is asked."""


WINDOW, RATE, BREAKER = "time_window", "rate_limit", "breaker"
ONLINE_FIRST, SEND_AT = "online_first", "send_at"
"""Reasons to wait."""
_WAITS_FOR: Mapping[str, str] = {
    WINDOW: "for the time window of its last recipients",
    RATE: "for its rate limit",
    BREAKER: "for its credential, which the provider refuses or slows down",
    ONLINE_FIRST: "for who is online in its channel",
}


def event_row(
    event: SendEvent,
    uid: str,
    *,
    at_ms: int,
    due_ms: int = 0,
    provider: str = "",
    type: str = "",
    reason: str = "",
    send_uid: str = "",
) -> NotificationRow:
    """The row of an event. `send_uid` is the send's own uid, if `uid` is another."""
    return NotificationRow(
        uid=uid,
        provider=provider,
        type=type,
        recipient="",
        device_id="",
        platform="",
        user="",
        msg_id=send_uid if send_uid != uid else "",
        status=event.value,
        error_message=str(due_ms) if due_ms else "",
        error_code=reason,
        time_ms=at_ms,
    )


def read_events(rows: Iterable[tuple[Any, ...]]) -> tuple[EventSum, ...]:
    """What `event_row` wrote, as a store has summed it up, in order.

    A row is status, provider, reason, the greatest due time as text, the last time.
    """
    return tuple(
        EventSum(
            SendEvent(status),
            provider,
            reason,
            int(due) if due.isdigit() else 0,
            int(at_ms),
        )
        for status, provider, reason, due, at_ms in sorted(rows)
    )


def find_state(funnel: Funnel, now_ms: int) -> SendState | None:
    """What there is to say beside the numbers; `None` where these say it all."""
    of = {
        kind: [one for one in funnel.events if one.event is kind] for kind in SendEvent
    }
    # The order counts: what ended a send says more than what it once waited for.
    if of[SendEvent.CANCELLED]:
        note = f"cancelled at {_moment(_last(of[SendEvent.CANCELLED]))}"
        if funnel.has_results:
            note += "; what had begun before was sent"
        return SendState("cancelled", note)
    waits = [*of[SendEvent.SCHEDULED], *of[SendEvent.WAITING]]
    last = max(waits, key=lambda one: one.due_ms, default=None)
    if last is not None and last.due_ms > now_ms:
        return _waiting(last)
    if of[SendEvent.EXPIRED]:
        when = _moment(_last(of[SendEvent.EXPIRED]))
        what = "before all of it was" if funnel.has_results else "nothing was"
        return SendState("expired", f"expired by {when}, {what} sent")
    if funnel.has_results:
        return None
    if of[SendEvent.UNMATCHED]:
        providers = ", ".join(sorted({one.provider for one in of[SendEvent.UNMATCHED]}))
        note = f"reached nobody: the filter matched no device of {providers}"
        return SendState("unmatched", note)
    if last is None:
        return None
    note = f"was due at {_moment(last.due_ms)}, and has no result yet"
    return SendState("due", note, last.due_ms)


def _waiting(last: EventSum) -> SendState:
    when = _moment(last.due_ms)
    if last.event is SendEvent.SCHEDULED and last.reason != ONLINE_FIRST:
        return SendState("scheduled", f"scheduled for {when}", last.due_ms)
    what = _WAITS_FOR.get(last.reason, "")
    return SendState("waiting", f"waits until {when} {what}".rstrip(), last.due_ms)


def _last(events: Sequence[EventSum]) -> int:
    return max(one.at_ms for one in events)


def _moment(ms: int) -> str:
    try:
        moment = datetime.fromtimestamp(ms // 1000, UTC)
    except (OverflowError, ValueError, OSError):  # further away than calendars go
        return f"Unix second {ms // 1000}"
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")
