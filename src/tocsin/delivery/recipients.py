"""Stage one: turns a filter into batches, one page a delivery.

A page and the position behind it are written in one atomic step, so a crash
repeats no batch and leaves none out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import structlog

from tocsin.core.device import Detail, TargetPage
from tocsin.core.ports import Clock, Delivery, DeviceStore, JobQueue
from tocsin.core.push import Expand, Job, Payload, Send, TargetKind, queue_name
from tocsin.delivery.limits import EXPIRED, NO_TIMEZONE
from tocsin.delivery.settlement import FollowUp, Settlement
from tocsin.delivery.windows import sort_by_window

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
        payload = None
        if Detail.TIMEZONE in job.work.details:
            payload = await self._queue.fetch_payload(job.push_id)
            if payload is None:
                reason = "the payload is not stored any more"
                await self._queue.settle(delivery, dead=[(job, reason)])
                return
        page = await self._devices.fetch_targets(
            job.work.filter,
            provider=job.provider,
            cursor=job.work.cursor,
            limit=PAGE_SIZE,
            details=sorted(job.work.details),
        )
        await self._write(delivery, job.work, page, payload)
        if not page.cursor:
            _log.info(
                "recipients expanded",
                push_id=job.push_id,
                request_id=job.correlation_id,
                provider=job.provider,
                pages=job.work.page + 1,
            )

    async def _write(
        self,
        delivery: Delivery,
        work: Expand,
        page: TargetPage,
        payload: Payload | None,
    ) -> None:
        job = delivery.job
        whole = Send(
            kind=TargetKind.TOKEN,
            targets=tuple(page.tokens),
            device_ids=tuple(page.device_ids),
            platforms=tuple(page.platforms),
            users=tuple(page.users),
            timezones=tuple(page.timezones),
            locales=tuple(page.locales),
            metas=tuple(page.metas),
        )
        if payload is None or payload.window is None:
            await self._queue.settle(
                delivery, follow=self._follow(job, work, page, [(0, whole)])
            )
            return
        found = sort_by_window(
            payload.window,
            whole.timezones,
            range(len(whole.targets)),
            self._clock.now_ms(),
        )
        expired: list[int] = []
        groups = [(0, whole.subset(found.now))]
        for due_ms, indexes in sorted(found.later.items()):
            if job.expire_at_ms and due_ms >= job.expire_at_ms:
                expired += indexes
            else:
                groups.append((due_ms, whole.subset(indexes)))
        follow = self._follow(job, work, page, groups)
        if await self._queue.settle(delivery, follow=follow):
            part = job.with_work(whole, id=f"{job.id}:dropped")
            for code, indexes in ((EXPIRED, expired), (NO_TIMEZONE, found.nowhere)):
                if indexes:
                    self._settlement.drop(part, payload, indexes, code)

    async def _is_far_ahead(self, provider: str) -> bool:
        name = queue_name("send", provider)
        # Batches that are due later must not stop the walk: it may be for hours.
        waiting = await self._queue.waiting([name], only_due=True)
        return waiting[name] >= AHEAD_BATCHES

    def _follow(
        self,
        job: Job,
        work: Expand,
        page: TargetPage,
        groups: Iterable[tuple[int, Send]],
    ) -> list[FollowUp]:
        """Batches of all groups, each with its due time, and the next page."""
        size = self._batch_sizes[job.provider]
        follow: list[FollowUp] = []
        for due_ms, group in groups:
            for start in range(0, len(group.targets), size):
                batch = group.slice(start, start + size)
                id = f"{job.push_id}:{job.provider}:{work.page}:{len(follow)}"
                follow.append((job.with_work(batch, id=id), due_ms))
        if page.cursor:
            rest = replace(work, cursor=page.cursor, page=work.page + 1)
            id = f"{job.push_id}:{job.provider}:x{rest.page}"
            follow.append((job.with_work(rest, id=id), 0))
        return follow
