"""What became of a push, row by row, and what the rows add up to. Pure values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

NOTIFICATIONS = "notifications"
"""The kind of rows, as metrics and ClickHouse name it."""


class PushStatus(StrEnum):
    """Who says what: the first two are workers' words, the others the app's."""

    SENT = "sent"
    """The provider accepted the message."""
    FAILED = "failed"
    """The provider did not; a retry may still turn it into `sent`."""
    DELIVERED = "delivered"
    """The app got the message."""
    INTERACTED = "interacted"
    """A person opened it."""


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


class RowsRefused(Exception):
    """A store will never take these rows, however often it is asked."""
