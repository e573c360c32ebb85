"""Keeps tickets of accepted messages, fetches their receipts, and acts on them.

For services that answer a send with a ticket only. A message whose receipt says that it
failed is counted but not sent again, since the service had accepted it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence

import structlog

from tocsin.core.device import DeadToken
from tocsin.core.errors import ApiError
from tocsin.core.outcome import TOKEN_LETTERS, Outcome, Result, Verdict
from tocsin.core.ports.clock import Clock
from tocsin.core.ports.receipts import ReceiptSource, ReceiptStore, Ticket
from tocsin.core.push_services import SERVICES
from tocsin.delivery.credentials import CredentialState
from tocsin.delivery.outages import Outages
from tocsin.delivery.removal import DeviceRemoval
from tocsin.delivery.run import Run
from tocsin.telemetry.metrics import Metrics

GIVE_UP_AFTER_MS = 24 * 3_600_000
"""Services keep receipts for about a day (Expo says 24 hours), so there is none for a
ticket that is older."""
MISSING = Outcome(Verdict.RETRY, "receipt_missing", "no receipt within a day")
LONGEST_NAP_S = 30.0

_log = structlog.get_logger(__name__)


class TicketKeeper:
    """Stores the tickets of new results, before their progress is recorded."""

    def __init__(
        self,
        store: ReceiptStore,
        sources: Mapping[str, ReceiptSource],
        outages: Outages | None = None,
    ) -> None:
        """`sources` are the providers that give tickets, by integration."""
        self._outages = outages or Outages()
        self._store = store
        self._sources = sources

    async def keep(self, run: Run, results: Sequence[Result]) -> None:
        """Remember accepted messages; if the store is away, only receipts are lost."""
        source = self._sources.get(run.job.credential)
        if source is None:
            return
        targets, device_ids = run.recipients.targets, run.recipients.device_ids
        tickets = [
            Ticket(
                id=outcome.message_id,
                provider=source.name,
                integration=source.integration,
                sent_at_ms=run.started_ms,
                device_id=device_ids[index] if device_ids else "",
                token=targets[index] if device_ids else "",
            )
            for index, outcome, _ in results
            if outcome.verdict is Verdict.DELIVERED and outcome.message_id
        ]
        if not tickets:
            return
        due_at_ms = run.started_ms + int(source.receipt_delay_s * 1000)
        try:
            await self._store.add(tickets, due_at_ms=due_at_ms)
        except ApiError as error:
            self._outages.note(
                error, doing="keep tickets: nobody asks what became of these messages"
            )


class ReceiptPoller:
    """Asks each source for the receipts that are due, as long as its task lives."""

    def __init__(
        self,
        store: ReceiptStore,
        sources: Sequence[ReceiptSource],
        *,
        removal: DeviceRemoval,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._sources = sources
        self._removal = removal
        self._clock = clock
        self._metrics = metrics
        self._credentials: dict[str, CredentialState] = {}

    async def poll_for_ever(self) -> None:
        """Ask whenever something is due; a store that is away is tried again."""
        delays = [source.receipt_delay_s for source in self._sources]
        # Half a delay: no receipt is asked for more than half a delay late.
        nap_s = min(LONGEST_NAP_S, *(delay / 2 for delay in delays))
        while True:
            for source in self._sources:
                try:
                    while await self.poll(source):
                        pass
                except ApiError as error:
                    _log.warning(
                        "receipts not asked for, trying again",
                        provider=source.name,
                        error=error.message,
                    )
            await asyncio.sleep(nap_s)

    async def poll(self, source: ReceiptSource) -> bool:
        """Act on the receipts of one request; returns whether more may be due."""
        now_ms = self._clock.now_ms()
        limit = source.receipt_batch_size
        # Claiming moves their due time on: nobody else asks for these meanwhile, and
        # those without a receipt are asked for again after another delay.
        tickets = await self._store.claim(
            source.integration,
            now_ms=now_ms,
            next_due_ms=now_ms + int(source.receipt_delay_s * 1000),
            limit=limit,
        )
        if not tickets:
            return False
        receipts = await source.fetch_receipts([ticket.id for ticket in tickets])
        if isinstance(receipts, Outcome):
            _log.warning(
                "receipts not read, asking again after the delay",
                provider=source.name,
                integration=source.integration,
                tickets=len(tickets),
                code=receipts.code,
                detail=receipts.detail,
            )
            return False
        await self._act(source, tickets, receipts, now_ms)
        return len(tickets) == limit

    async def _act(
        self,
        source: ReceiptSource,
        tickets: Sequence[Ticket],
        receipts: Mapping[str, Outcome],
        now_ms: int,
    ) -> None:
        ended: list[tuple[Ticket, Outcome]] = []
        for ticket in tickets:
            outcome = receipts.get(ticket.id)
            if outcome is None and now_ms - ticket.sent_at_ms > GIVE_UP_AFTER_MS:
                outcome = MISSING
            if outcome is not None:
                ended.append((ticket, outcome))
        # Dropped last: after a crash in between the receipt is read again.
        await self._remove_dead(source, ended, now_ms)
        dropped = await self._store.drop([ticket for ticket, _ in ended])
        # Whoever drops a ticket counts it: another process may have claimed it too,
        # if this one took longer than the delay.
        mine = {ticket.id for ticket in dropped}
        self._count([(ticket, said) for ticket, said in ended if ticket.id in mine])

    async def _remove_dead(
        self,
        source: ReceiptSource,
        ended: Sequence[tuple[Ticket, Outcome]],
        now_ms: int,
    ) -> None:
        credential = self._credentials.setdefault(
            source.integration, CredentialState(source.name, source.integration)
        )
        for _, outcome in ended:
            if outcome.verdict in TOKEN_LETTERS:
                credential.note(outcome, now_ms)
        dead = [
            (ticket, outcome)
            for ticket, outcome in ended
            if outcome.verdict is Verdict.UNREGISTERED
        ]
        known = await self._removal.share(credential, now_ms, at_once=bool(dead))
        if dead and credential.is_flooded():
            codes = [outcome.code for _, outcome in dead]
            await self._removal.hold_flood(credential, codes)
        elif known:
            await self._removal.remove(
                credential,
                [
                    DeadToken(
                        device_id=ticket.device_id,
                        token=SERVICES.tokens_of(ticket.provider).comparable(
                            ticket.token
                        ),
                        before_ms=ticket.sent_at_ms,
                        reason=f"{ticket.provider}: {outcome.code}",
                    )
                    for ticket, outcome in dead
                    if ticket.device_id
                ],
            )

    def _count(self, ended: Sequence[tuple[Ticket, Outcome]]) -> None:
        counts = Counter(
            (ticket.provider, outcome.verdict, outcome.code)
            for ticket, outcome in ended
        )
        for (provider, verdict, code), count in counts.items():
            sent = "true" if verdict is Verdict.DELIVERED else "false"
            self._metrics.push_receipts.add(count, provider, sent, code)
            if verdict is Verdict.MISCONFIGURED:
                _log.error(
                    "accepted messages were not delivered: check the provider's keys",
                    provider=provider,
                    code=code,
                    count=count,
                )
