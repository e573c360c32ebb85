"""Tickets of services that tell the fate of a message only later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from tocsin.core.outcome import Outcome


@dataclass(frozen=True, slots=True)
class Ticket:
    """An accepted message whose fate the service tells only later, in a receipt.

    `id` is the service's. `device_id` and `token` are empty for raw recipients.
    `sent_at_ms` is Unix milliseconds from before the send began.
    """

    id: str
    provider: str
    integration: str
    sent_at_ms: int
    device_id: str = ""
    token: str = field(default="", repr=False)


class ReceiptStore(Protocol):
    """Tickets until their receipts have been acted on."""

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
        """Forget these; returns those that there were.

        The others were dropped by somebody who claimed them later: who asks for
        receipts longer than until `next_due_ms` is not the only one.
        """
        ...

    async def purge_overdue(self, *, due_before_ms: int, limit: int) -> int:
        """Forget what nobody claims any more; returns how many."""
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

        Those that the service has no receipt of yet are left out. One `Outcome`
        is the fault of the whole request; it is never raised.
        """
        ...
