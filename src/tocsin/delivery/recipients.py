"""Stage one: turns a filter into batches, one page for each delivery.

The batches of a page and the job of the next page are written in one atomic step, so
a crash neither repeats nor leaves out a batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import structlog

from tocsin.core.analytics import WINDOW, SendEvent
from tocsin.core.breaker import Cause
from tocsin.core.device import Detail
from tocsin.core.lanes import send_queues
from tocsin.core.ports.clock import Clock
from tocsin.core.ports.devices import DeviceStore
from tocsin.core.ports.queue import Delivery, JobConsumer
from tocsin.core.push import (
    Expand,
    ExpandJob,
    OnlineCheck,
    Payload,
    RecipientPage,
    Recipients,
    Send,
    TargetKind,
    TimeWindow,
)
from tocsin.delivery.accounting import cut, ended_in_page, page_of
from tocsin.delivery.limits import NO_TIMEZONE, sort_by_window
from tocsin.delivery.online import OnlineUsers, PutOff
from tocsin.delivery.outages import DATABASE, Outages
from tocsin.delivery.reports import EXPIRED, EventLog, LostJobs, find_uid
from tocsin.delivery.settlement import FollowUp, Settlement, no_integration
from tocsin.delivery.shares import CredentialShares
from tocsin.delivery.waiting import wait_with_walk

PAGE_SIZE = 5000
"""Devices read at once: large enough for speed, small enough for memory."""
AHEAD_BATCHES = 64
"""Expanding pauses while this many batches of its lane wait. It bounds what a
broadcast puts into the queue, and how long a small one waits behind it."""
PAUSE_MS = 100
"""How long it pauses before it looks again."""
LONG_PAUSE_MS = 1000
"""The same where the credential is slow."""

_log = structlog.get_logger(__name__)


class Expander:
    """Works on `Expand` deliveries."""

    def __init__(
        self,
        *,
        queue: JobConsumer,
        devices: DeviceStore | None,
        batch_sizes: Mapping[str, int],
        settlement: Settlement,
        clock: Clock,
        online: OnlineUsers | None = None,
        events: EventLog | None = None,
        outages: Outages | None = None,
        lost: LostJobs | None = None,
        shares: CredentialShares | None = None,
    ) -> None:
        """`batch_sizes` are recipients per batch by integration.

        `online` is `None` where this process cannot look into channels.
        """
        self._outages = outages or Outages()
        self._lost = lost
        self._shares = shares
        self._queue = queue
        self._devices = devices
        self._batch_sizes = batch_sizes
        self._settlement = settlement
        self._reports = settlement.reports
        self._settlement = settlement
        self._clock = clock
        self._online = online
        self._events = events or EventLog(None, clock)

    async def work_on(self, delivery: Delivery, job: ExpandJob) -> None:
        """Write the batches of one page, and the job of the next page."""
        if self._devices is None:
            reason = "no_database: this worker cannot read recipients"
            await self._bury(delivery, job, reason)
            return
        if job.credential not in self._batch_sizes:
            await self._bury(delivery, job, no_integration(job))
            return
        if job.expire_at_ms and self._clock.now_ms() >= job.expire_at_ms:
            payload = await self._payload_for_events(job)
            if not await self._queue.settle(delivery):
                await self._tell_lost(delivery)
            else:
                self._reports.expire(job, 1)
                self._events.tell(SendEvent.EXPIRED, job, payload)
                _log.info(
                    "send expired before its recipients were read",
                    push_id=job.push_id,
                    request_id=job.correlation_id,
                    provider=job.provider,
                    integration=job.credential,
                )
            return
        if (halt := await self._settlement.trials.find_halt(job)) is not None:
            # With its position: what replays it goes on where it stopped.
            await self._bury(delivery, job, halt.reason())
            return
        if await self._waits_for_credential(delivery, job):
            return
        try:
            await self._expand(delivery, job, self._devices)
        except PutOff as later:
            follow = [(later.job, later.due_ms)]
            if not await self._queue.settle(delivery, follow=follow):
                await self._tell_lost(delivery)

    async def _waits_for_credential(self, delivery: Delivery, job: ExpandJob) -> bool:
        """Whether the walk stands still, since its batches could only wait."""
        breakers = self._settlement.breakers
        credential = breakers.credential(job.provider, job.credential)
        breaker = credential.breaker
        # Once a probe is due the walk goes on, page by page: it may be the only work
        # that is left to probe with. In a storm it goes on too, to find living tokens.
        if (
            breaker is None
            or breaker.cause is Cause.STORM
            or not breakers.must_wait(credential)
        ):
            return False
        found = wait_with_walk(
            job,
            breaker,
            now_ms=self._clock.now_ms(),
            max_wait_s=self._settlement.retry.max_wait_s,
        )
        if isinstance(found, str):
            await self._bury(delivery, job, found)
        elif not await self._queue.settle(
            delivery, follow=[(found, breakers.due_ms(credential))]
        ):
            await self._tell_lost(delivery)
        return True

    async def _expand(
        self, delivery: Delivery, job: ExpandJob, devices: DeviceStore
    ) -> None:
        work = job.work
        # Decided before the walk waits for the sending, so that a full queue does not
        # move the moment at which a user counts as online.
        is_decided = await self._decide(job, work.online)
        if (pause_ms := await self._find_pause(job)) > 0:
            raise PutOff(job, self._clock.now_ms() + pause_ms)
        payload = None
        # It holds the window, and is reported with the users that are left out.
        if Detail.TIMEZONE in work.details or work.online is not None:
            payload = await self._queue.fetch_payload(job.push_id)
            if payload is None:
                reason = "the payload is not stored any more"
                await self._bury(delivery, job, reason)
                return
        details = set(work.details)
        if work.online is not None or self._settlement.results is not None:
            details.add(Detail.USER)
        page = await devices.fetch_targets(
            work.filter,
            provider=job.provider,
            cursor=work.cursor,
            limit=PAGE_SIZE,
            details=sorted(details),
        )
        page = cut(work, page)
        self._outages.fine(DATABASE)
        # Read now: the queue drops a payload with its last job, which may be this one.
        if payload is None and _is_empty(work, page):
            payload = await self._payload_for_events(job)
        spared = await self._find_spared(job, work.online, page)
        # The channel engine answered, so a later outage has the whole patience again.
        # Where it was spent, it stays spent: the pages after this one do not wait.
        if is_decided and spared is not None:
            job = replace(job, first_try_at_ms=0)
        await self._write(delivery, job, page, payload, spared or [])

    def _log_page(
        self,
        job: ExpandJob,
        page: RecipientPage,
        payload: Payload | None,
        *,
        batches: int,
        spared: int,
    ) -> None:
        """Log the page, with the uid if the payload was read for another reason."""
        more: dict[str, object] = {} if payload is None else {"uid": payload.uid}
        if spared:
            more["online"] = spared
        _log.info(
            "recipients expanded",
            push_id=job.push_id,
            request_id=job.correlation_id,
            provider=job.provider,
            integration=job.credential,
            page=job.work.page + 1,
            recipients=len(page.recipients),
            batches=batches,
            is_last=not page.cursor,
            **more,
        )

    async def _bury(self, delivery: Delivery, job: ExpandJob, reason: str) -> None:
        uid = await find_uid(self._queue, job.push_id)
        if await self._queue.settle(delivery, dead=[(job, reason)]):
            self._reports.bury(job, reason, uid)
        else:
            await self._tell_lost(delivery)

    async def _tell_lost(self, delivery: Delivery) -> None:
        if self._lost is not None:
            await self._lost.tell(delivery)

    async def _decide(self, job: ExpandJob, check: OnlineCheck | None) -> bool:
        """Whether it is decided who is spared; `False` if the engine stayed away."""
        if check is None:
            return True
        if self._online is not None:
            return await self._online.decide(job, check)
        _log.warning(
            "this worker cannot look into channels, so the push goes to everybody; set"
            " engine.type redis here and on the servers",
            push_id=job.push_id,
            channel=check.channel,
        )
        return True

    async def _find_spared(
        self, job: ExpandJob, check: OnlineCheck | None, page: RecipientPage
    ) -> list[int] | None:
        """Indexes of recipients whose user was reached in the channel.

        `None` if the engine stayed away: then nobody is spared.
        """
        if check is None or self._online is None:
            return []
        reached = await self._online.find(job, check, page.recipients.users)
        if reached is None:
            return None
        users = page.recipients.users
        return [index for index, user in enumerate(users) if user in reached]

    async def _write(
        self,
        delivery: Delivery,
        job: ExpandJob,
        page: RecipientPage,
        payload: Payload | None,
        spared: list[int],
    ) -> None:
        """Settle the page: its batches, and the next page as a continuation of `job`.

        `spared` are indexes of recipients to leave out.
        """
        whole = page.recipients
        left_out = set(spared)
        rest = [i for i in range(len(whole)) if i not in left_out]
        groups: list[tuple[int, list[int]]] = [(0, rest)]
        dropped: dict[str, list[int]] = {}
        if payload is not None and payload.window is not None:
            groups, dropped = self._sort(job, payload.window, whole, rest)
        parts = [(due_ms, _subset(whole, some)) for due_ms, some in groups]
        follow = self._follow(job, page, parts)
        whole_page = job.batch(Send(TargetKind.TOKEN, whole), id=f"{job.id}:dropped")
        results = self._settlement.results
        if results is not None and payload is not None and (dropped or spared):
            await results.left_out(whole_page, payload, dropped, spared)
        if not await self._queue.settle(
            delivery,
            follow=follow,
            ended=ended_in_page(dropped, len(spared)),
            page=page_of(job, page),
        ):
            await self._tell_lost(delivery)
            return
        batches = len(follow) - bool(page.cursor)
        self._log_page(job, page, payload, batches=batches, spared=len(spared))
        if payload is None:
            return
        self._tell(job, page, payload, max((due_ms for due_ms, _ in groups), default=0))
        for code, indexes in dropped.items():
            self._reports.drop(whole_page, payload, indexes, code)
        if spared:
            self._reports.spare(whole_page, payload, spared)

    async def _payload_for_events(self, job: ExpandJob) -> Payload | None:
        """The payload, for the uid of an event; `None` where no events are kept."""
        if not self._events.is_on:
            return None
        return await self._queue.fetch_payload(job.push_id)

    def _tell(
        self, job: ExpandJob, page: RecipientPage, payload: Payload, due_ms: int
    ) -> None:
        if _is_empty(job.work, page):
            self._events.tell(SendEvent.UNMATCHED, job, payload)
        if due_ms:
            self._events.tell(
                SendEvent.WAITING, job, payload, due_ms=due_ms, reason=WINDOW
            )

    def _sort(
        self, job: ExpandJob, window: TimeWindow, whole: Recipients, indexes: list[int]
    ) -> tuple[list[tuple[int, list[int]]], dict[str, list[int]]]:
        """Indexes by due time (0 for now), and dropped ones by code."""
        found = sort_by_window(window, whole.timezones, indexes, self._clock.now_ms())
        expired: list[int] = []
        groups = [(0, found.now)]
        for due_ms, late in sorted(found.later.items()):
            if job.expire_at_ms and due_ms >= job.expire_at_ms:
                expired += late
            else:
                groups.append((due_ms, late))
        dropped = {EXPIRED: expired, NO_TIMEZONE: found.nowhere}
        return groups, {code: some for code, some in dropped.items() if some}

    async def _find_pause(self, job: ExpandJob) -> int:
        """Milliseconds that the walk waits for the sending, 0 for none."""
        if self._shares is not None and self._shares.is_full(job):
            return LONG_PAUSE_MS  # its batches would be put back
        queues = send_queues(job.provider, job.priority)
        # Batches that are due later must not stop the walk: they may wait for hours.
        waiting = await self._queue.waiting(queues, only_due=True)
        return PAUSE_MS if sum(waiting.values()) >= AHEAD_BATCHES else 0

    def _follow(
        self,
        job: ExpandJob,
        page: RecipientPage,
        groups: Iterable[tuple[int, Recipients]],
    ) -> list[FollowUp]:
        """Batches of all groups, each with its due time, and the next page."""
        work = job.work
        size = self._batch_sizes[job.credential]
        follow: list[FollowUp] = []
        for due_ms, group in groups:
            # Else the users were only read to leave out those who are online.
            if Detail.USER not in work.details and self._settlement.results is None:
                group = replace(group, users=())
            for start in range(0, len(group), size):
                batch = Send(TargetKind.TOKEN, group.slice(start, start + size))
                id = f"{job.push_id}:{job.credential}:{work.page}:{len(follow)}"
                follow.append((job.batch(batch, id=id), due_ms))
        if page.cursor:
            rest = replace(work, cursor=page.cursor, page=work.page + 1)
            id = f"{job.push_id}:{job.credential}:x{rest.page}"
            follow.append((replace(job, work=rest, id=id), 0))
        return follow


def _is_empty(work: Expand, page: RecipientPage) -> bool:
    """Whether this page shows that the filter matched no device at all."""
    return not work.page and not page.recipients and not page.cursor


def _subset(whole: Recipients, indexes: list[int]) -> Recipients:
    return whole if len(indexes) == len(whole) else whole.subset(indexes)
