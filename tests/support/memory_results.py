"""Results in memory; see `tests/contracts/test_result_store.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tocsin.core.ports.clock import Clock
from tocsin.core.ports.results import ResultPage
from tocsin.core.results import ResultEvent, ResultFilter


class MemoryResults:
    """`ResultStore`; `failures` are raised by the next calls of `add`, in order."""

    def __init__(self, clock: Clock) -> None:
        self.events: list[ResultEvent] = []
        self.failures: list[Exception] = []
        self.fetches = 0
        self._clock = clock
        self._last = 0
        self._forgotten = 0

    async def add(self, events: Sequence[ResultEvent]) -> None:
        if self.failures:
            raise self.failures.pop(0)
        for event in events:
            self._last += 1
            at_ms = self._clock.now_ms()
            kept = replace(event, position=self._last, recorded_at_ms=at_ms)
            self.events.append(kept)

    async def fetch(
        self, after: int, *, limit: int, chosen: ResultFilter | None = None
    ) -> ResultPage:
        self.fetches += 1
        wanted = chosen or ResultFilter()
        fits = [e for e in self.events if e.position > after and wanted.fits(e)]
        events = fits[:limit]
        full = len(events) == limit
        reached = events[-1].position if full else max(self._last, after)
        return ResultPage(events, reached, self._last, self._forgotten)

    async def forget(self, *, before_ms: int, limit: int) -> int:
        count = 0
        while (
            count < limit and self.events and self.events[0].recorded_at_ms < before_ms
        ):
            self._forgotten = self.events.pop(0).position
            count += 1
        return count
