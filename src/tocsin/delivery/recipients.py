"""Stage one: turns a filter into batches, one page a delivery.

A page and the position behind it are written in one atomic step, so a crash
repeats no batch and leaves none out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import structlog

from tocsin.core.device import TargetPage
from tocsin.core.ports import Clock, Delivery, DeviceStore, JobQueue
from tocsin.core.push import Expand, Job, Send, TargetKind, queue_name
from tocsin.delivery.settlement import FollowUp, Settlement

PAGE_SIZE = 5000
"""Devices read at once: large enough for speed, small enough for memory."""
AHEAD_BATCHES = 64
"""Waiting batches of a provider beyond which expanding pauses. It bounds what a
broadcast puts into the queue, and how long a small send waits behind it."""
PAUSE_MS = 100

_log = structlog.get_logger("tocsin.delivery")


class Expander:
    """Works on `Expand` deliveries."""

    def __init__(
        self,
        *,
        queue: JobQueue,
        devices: DeviceStore | None,
        batch_sizes: Mapping[str, int],
        settlement: Settlement,
        clock: Clock,
    ) -> None:
        self._queue = queue
        self._devices = devices
        self._batch_sizes = batch_sizes
        self._settlement = settlement
        self._clock = clock

    async def work_on(self, delivery: Delivery) -> None:
        """Write the batches of one page, and the job of the next page."""
        job = delivery.job
        assert isinstance(job.work, Expand)  # noqa: S101 - narrows for mypy; the queue name decides
        if self._devices is None:
            reason = "this worker has no database to read recipients from"
            await self._queue.settle(delivery, dead=[(job, reason)])
            return
        if job.expire_at_ms and self._clock.now_ms() >= job.expire_at_ms:
            self._settlement.expire(job, 1)
            await self._queue.settle(delivery)
            return
        if await self._is_far_ahead(job.provider):
            due_ms = self._clock.now_ms() + PAUSE_MS
            await self._queue.settle(delivery, follow=[(job, due_ms)])
            return
        page = await self._devices.fetch_targets(
            job.work.filter,
            provider=job.provider,
            cursor=job.work.cursor,
            limit=PAGE_SIZE,
        )
        await self._queue.settle(delivery, follow=self._split(job, job.work, page))
        if not page.cursor:
            _log.info(
                "recipients expanded",
                push_id=job.push_id,
                request_id=job.correlation_id,
                provider=job.provider,
                pages=job.work.page + 1,
            )

    async def _is_far_ahead(self, provider: str) -> bool:
        name = queue_name("send", provider)
        return (await self._queue.waiting([name]))[name] >= AHEAD_BATCHES

    def _split(self, job: Job, work: Expand, page: TargetPage) -> list[FollowUp]:
        size = self._batch_sizes[job.provider]
        follow: list[FollowUp] = []
        for number, start in enumerate(range(0, len(page.device_ids), size)):
            end = start + size
            batch = Send(
                kind=TargetKind.TOKEN,
                targets=tuple(page.tokens[start:end]),
                device_ids=tuple(page.device_ids[start:end]),
                platforms=tuple(page.platforms[start:end]),
            )
            id = f"{job.push_id}:{job.provider}:{work.page}:{number}"
            follow.append((job.with_work(batch, id=id), 0))
        if page.cursor:
            rest = replace(work, cursor=page.cursor, page=work.page + 1)
            id = f"{job.push_id}:{job.provider}:x{rest.page}"
            follow.append((job.with_work(rest, id=id), 0))
        return follow
