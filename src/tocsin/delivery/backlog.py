"""Watches how much waits in each lane, and tells of lanes that nobody works on."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from tocsin.core.elapsed import elapsed_s
from tocsin.core.errors import ApiError
from tocsin.core.lanes import LaneChoice, parse_queue_name, queue_names
from tocsin.core.ports.queue import JobConsumer
from tocsin.telemetry.metrics import Metrics

UNSERVED_AFTER_S = 30.0
"""Work that waits for so long, and gets no less, is taken by no worker."""

_log = structlog.get_logger(__name__)


class BacklogWatch:
    """The queues of these providers, whether or not this worker takes from them."""

    def __init__(
        self,
        queue: JobConsumer,
        metrics: Metrics,
        providers: Sequence[str],
        lanes: LaneChoice,
    ) -> None:
        self._queue = queue
        self._metrics = metrics
        self._lanes = lanes
        self._places = {
            name: parse_queue_name(name)
            for provider in providers
            for name in queue_names(provider)
        }
        # Queues of other workers by name: how much waited last, and since when it has
        # not become less; told of already.
        self._stuck: dict[str, tuple[int, float]] = {}
        self._told: set[str] = set()
        for name, place in self._places.items():
            if lanes.takes(place.provider, place.priority):
                # There from the start, so that a scrape finds every lane.
                metrics.push_consuming_inflight_jobs.add(0, place.provider, name)

    async def look(self) -> None:
        """Set the gauges; a queue that is away is left to those who need it."""
        try:
            waiting = await self._queue.waiting(list(self._places), only_due=True)
        except ApiError:
            return
        for name, count in waiting.items():
            place = self._places[name]
            self._metrics.push_queue_consuming_lag.set(count, place.provider, name)
            if not self._lanes.takes(place.provider, place.priority):
                self._look_for_worker(name, count)

    def _look_for_worker(self, name: str, count: int) -> None:
        before, since_s = self._stuck.get(name, (0, 0.0))
        if not count or not before or count < before:
            since_s = elapsed_s()
            self._told.discard(name)
        self._stuck[name] = count, since_s
        if count and name not in self._told and self._is_stuck(since_s):
            self._told.add(name)
            _log.warning(
                "work waits in a lane that no worker seems to take: start a worker"
                " whose worker.lanes has it",
                queue=name,
                waiting=count,
                this_worker=list(self._lanes.texts),
            )

    def _is_stuck(self, since_s: float) -> bool:
        return elapsed_s() - since_s >= UNSERVED_AFTER_S
