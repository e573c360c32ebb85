"""Tickets of services that report only later what became of a message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from tocsin.core.outcome import Outcome


@dataclass(frozen=True, slots=True)
class Ticket:
    """An accepted message for which the service has a receipt only later.

    `id` is given by the service. `device_id` and `token` are empty for raw recipients.
    `sent_at_ms` (Unix milliseconds) is from before the send began, so that a device
    that registers during the send is not removed.
    """

    id: str
    provider: str
    integration: str
    sent_at_ms: int
    device_id: str = ""
    token: str = field(default="", repr=False)


class ReceiptStore(Protocol):
    """Keeps tickets until their receipts have been acted on."""

    async def add(self, tickets: Sequence[Ticket], *, due_at_ms: int) -> None:
        """Keep them, due at that Unix millisecond; a known id changes nothing."""
        ...

    async def claim(
        self, integration: str, *, now_ms: int, next_due_ms: int, limit: int
    ) -> list[Ticket]:
        """Up to `limit` due tickets, the longest due first.

        They are due again at `next_due_ms` unless dropped. Of several claims at
        once each ticket goes to one.
        """
        ...

    async def drop(self, tickets: Sequence[Ticket]) -> list[Ticket]:
        """Delete these tickets; returns those that still existed.

        The others were claimed again and dropped by another process, which happens if
        fetching the receipts took until after `next_due_ms`.
        """
        ...

    async def purge_overdue(self, *, due_before_ms: int, limit: int) -> int:
        """Delete tickets that nobody claims any more; returns how many."""
        ...


@runtime_checkable
class ReceiptSource(Protocol):
    """A provider whose success is only a ticket: `message_id` is its id."""

    name: str
    integration: str
    receipt_delay_s: float
    receipt_batch_size: int

    async def fetch_receipts(
        self, ids: Sequence[str]
    ) -> Mapping[str, Outcome] | Outcome:
        """What became of up to `receipt_batch_size` tickets, by id.

        Tickets without a receipt so far are left out. A single `Outcome` instead of a
        mapping is a fault of the whole request; it is never raised.
        """
        ...
