"""Watches the dead letters, and keeps the audit log short, beside a server.

It decides nothing: what is forgotten says `admin/letter_watch.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack

import structlog

from tocsin.admin.audit import AuditTrail
from tocsin.admin.letter_watch import Kind, LetterLimits, LetterWatch
from tocsin.app.lifecycle import start_beside
from tocsin.app.resources import Resources
from tocsin.core.errors import ApiError
from tocsin.telemetry.metrics import Metrics

INTERVAL_S = 15.0
LOOK_TIMEOUT_S = 300.0
AUDIT_EVERY = 240
"""Looks between two prunings of the audit log: an hour."""

_log = structlog.get_logger(__name__)


class LetterMetrics:
    """Turns what a watch sees into metrics."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._told: set[Kind] = set()

    def observe_letters(self, kept: Mapping[Kind, int], oldest_s: float) -> None:
        """See `LetterObserver`; a kind that is gone is told as 0."""
        for kind in self._told - kept.keys():
            self._metrics.push_dead_letters_kept.set(0, *kind)
        for kind, count in kept.items():
            self._metrics.push_dead_letters_kept.set(count, *kind)
        self._told |= kept.keys()
        self._metrics.push_dead_letter_oldest_age.set(oldest_s)

    def observe_pruned(self, kind: Kind, count: int) -> None:
        """See `LetterObserver`."""
        self._metrics.push_dead_letters_pruned.add(count, *kind)


def start_letter_watch(
    resources: Resources, audit: AuditTrail, stack: AsyncExitStack
) -> None:
    """Look now and then until `stack` is left."""
    settings = resources.config.push_notifications.dead_letters
    watch = None
    if resources.queue is not None:
        watch = LetterWatch(
            resources.queue,
            LetterMetrics(resources.metrics),
            clock=resources.clock,
            limits=LetterLimits(settings.max, settings.max_age),
        )
    keep_s = resources.config.admin.audit_retention
    start_beside(_look_for_ever(watch, audit, keep_s), stack)


async def _look_for_ever(
    watch: LetterWatch | None, audit: AuditTrail, keep_s: float
) -> None:
    looks = 0
    while True:
        try:
            # A store that hangs must not stop the looks that follow.
            async with asyncio.timeout(LOOK_TIMEOUT_S):
                if watch is not None:
                    await watch.look()
                if keep_s and looks % AUDIT_EVERY == 0:
                    await audit.prune(keep_s)
        except (ApiError, TimeoutError) as error:
            # A store that is away is reported by those who need it.
            _log.debug("dead letters not looked at", error=str(error))
        looks += 1
        await asyncio.sleep(INTERVAL_S)
