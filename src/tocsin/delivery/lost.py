"""Finds out where a job went that left a worker's hands, and says what happened.

It decides nothing; it tells only what the queue itself says.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import structlog

from tocsin.core.errors import ApiError
from tocsin.core.ports.queue import Delivery, JobConsumer
from tocsin.delivery.reports import count_recipients
from tocsin.telemetry.metrics import Metrics


class Whereabouts(StrEnum):
    """What became of the entry; also the `reason` of the metric."""

    TAKEN_OVER = "taken_over"
    GONE = "gone"
    DATA_LOST = "data_lost"
    UNKNOWN = "unknown"


_WORDS = {
    Whereabouts.TAKEN_OVER: "job was taken over by another worker while this one was at"
    " work on it",
    Whereabouts.GONE: "job left the queue while this worker was at work on it: another"
    " worker ended it, or an earlier try whose answer was lost, or somebody deleted it",
    Whereabouts.DATA_LOST: "the queue lost its data, and this job with it: what was not"
    " sent of it is lost",
    Whereabouts.UNKNOWN: "job is not in this worker's hands any more, and the queue"
    " cannot be asked why",
}

_log = structlog.get_logger("tocsin.delivery")


class LostJobs:
    """Knows for each job in hand from which data of the queue it came."""

    def __init__(self, queue: JobConsumer, metrics: Metrics) -> None:
        self._queue = queue
        self._metrics = metrics
        self._epoch = ""
        self._epochs: dict[str, str] = {}
        self._found: dict[str, Whereabouts] = {}

    async def look(self) -> None:
        """Ask which data the queue holds; raises `ApiError` while it is away."""
        self._epoch = epoch = (await self._queue.position()).epoch
        # What came into hand before the first look came from what is there now.
        for receipt, known in self._epochs.items():
            self._epochs[receipt] = known or epoch

    def begin(self, delivery: Delivery) -> None:
        """A job came into the hands of this worker."""
        self._epochs[delivery.receipt] = self._epoch

    def end(self, delivery: Delivery) -> None:
        """Its work has ended, whichever way."""
        self._epochs.pop(delivery.receipt, None)
        self._found.pop(delivery.receipt, None)

    async def find(self, deliveries: Sequence[Delivery]) -> dict[str, Whereabouts]:
        """Where these went, by receipt; to be asked as soon as they are lost."""
        try:
            queued = await self._queue.find_queued(deliveries)
            epoch = (await self._queue.position()).epoch
        except ApiError:
            return {}
        found: dict[str, Whereabouts] = {}
        for delivery in deliveries:
            before = self._epochs.get(delivery.receipt, "")
            if delivery.receipt in queued:
                where = Whereabouts.TAKEN_OVER
            elif before and before != epoch:
                where = Whereabouts.DATA_LOST
            else:
                where = Whereabouts.GONE
            found[delivery.receipt] = where
        # What has ended meanwhile is asked about by nobody any more.
        self._found.update(
            {receipt: found[receipt] for receipt in found if receipt in self._epochs}
        )
        return found

    async def tell(self, delivery: Delivery, *, unsent: int | None = None) -> None:
        """Say once what happened to a job that could not be settled here."""
        where = self._found.get(delivery.receipt)
        if where is None:
            found = await self.find([delivery])
            where = found.get(delivery.receipt, Whereabouts.UNKNOWN)
        job = delivery.job
        self._metrics.push_lost_jobs.add(1, job.provider, where.value)
        log = _log.error if where is Whereabouts.DATA_LOST else _log.warning
        more: dict[str, object] = {} if unsent is None else {"unsent": unsent}
        log(
            _WORDS[where],
            push_id=job.push_id,
            job_id=job.id,
            queue=job.queue,
            recipients=count_recipients(job),
            reason=where.value,
            **more,
        )
