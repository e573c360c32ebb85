"""The provider of a dry run: takes everything, contacts nobody, answers success.

It keeps the pace of a real one, so that all around it works as it would.
"""

from __future__ import annotations

import asyncio

import structlog

from tocsin.core.outcome import DELIVERED
from tocsin.core.ports.providers import Batch, Pace, Report

IN_FLIGHT = 100
"""Recipients that wait for their answers together, as on one connection."""

_log = structlog.get_logger(__name__)


class DryRunProvider:
    """Stands in for one configured credential; it needs none itself."""

    def __init__(
        self, name: str, *, batch_size: int, latency_s: float = 0, integration: str = ""
    ) -> None:
        """`latency_s` passes between a request and its answer."""
        self.name = name
        self.integration = integration or name
        self.batch_size = batch_size
        self._latency_s = latency_s

    async def send(self, batch: Batch, report: Report, pace: Pace) -> None:
        """As the port says, without the sending."""
        sent = 0
        waiting: list[int] = []
        for index in batch.pending:
            if not pace.ready():
                # The pace may wait for these very answers: report them first.
                sent += await self._answer(waiting, report)
                if not await pace.wait():
                    break
            waiting.append(index)
            if len(waiting) == IN_FLIGHT:
                sent += await self._answer(waiting, report)
        sent += await self._answer(waiting, report)
        _log.info("dry run: nothing was sent", provider=self.name, recipients=sent)

    async def close(self) -> None:
        """Nothing was opened."""

    async def _answer(self, waiting: list[int], report: Report) -> int:
        # Also with 0: it gives other tasks of this loop their turn.
        await asyncio.sleep(self._latency_s)
        for index in waiting:
            report(index, DELIVERED)
        answered = len(waiting)
        waiting.clear()
        return answered
