"""Starts asking for receipts, where a provider gives tickets and a database is."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack

import structlog

from tocsin.app.lifecycle import Stopper, start_beside
from tocsin.app.resources import Resources, removal_limit
from tocsin.core.ports.providers import PushProvider
from tocsin.core.ports.receipts import ReceiptSource
from tocsin.delivery.receipts import ReceiptPoller, TicketKeeper
from tocsin.delivery.removal import DeviceRemoval

OVERDUE_KEPT_S = 3 * 86_400
"""Tickets unclaimed for this long belong to a provider that was taken out."""

_log = structlog.get_logger(__name__)


async def start_receipts(
    resources: Resources,
    providers: Mapping[str, PushProvider],
    stack: AsyncExitStack,
    stopper: Stopper,
) -> TicketKeeper | None:
    """What keeps the tickets of these providers, if any has some; `stack` stops it."""
    sources = {
        name: provider
        for name, provider in providers.items()
        if isinstance(provider, ReceiptSource)
    }
    if not sources:
        return None
    if resources.receipts is None:
        _log.info(
            "without a database nobody asks for receipts: what a provider says later"
            " of accepted messages stays unknown",
            providers=sorted(sources),
        )
        return None
    poller = ReceiptPoller(
        resources.receipts,
        list(sources.values()),
        removal=DeviceRemoval(
            resources.devices,
            resources.metrics,
            resources.verdicts,
            limit=removal_limit(resources.config),
        ),
        clock=resources.clock,
        metrics=resources.metrics,
    )
    start_beside(
        poller.poll_for_ever(),
        stack,
        on_death=lambda: stopper.fail("the receipt poller died"),
    )
    return TicketKeeper(resources.receipts, sources)


async def purge_overdue(resources: Resources, limit: int) -> None:
    """Forget tickets that no worker asks for any more."""
    if resources.receipts is None:
        return
    before_ms = resources.clock.now_ms() - OVERDUE_KEPT_S * 1000
    purge = resources.receipts.purge_overdue
    while await purge(due_before_ms=before_ms, limit=limit) == limit:
        pass
