"""Push room: accepts a send, exactly once per uid, and queues its first jobs.

It contacts no provider and walks no devices: success means queued, not sent.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import structlog

from tocsin.core.accounts import FIRST, expired_account, first_account
from tocsin.core.analytics import ONLINE_FIRST, SEND_AT, SendEvent, event_row
from tocsin.core.errors import ApiError, NotAvailable
from tocsin.core.ids import new_send_id
from tocsin.core.integrations import Integrations
from tocsin.core.ports.analytics import RowSink
from tocsin.core.ports.clock import Clock
from tocsin.core.ports.online import OnlinePublisher
from tocsin.core.ports.queue import JobProducer
from tocsin.core.ports.send_log import SendAcceptor
from tocsin.core.ports.sends import UidStore
from tocsin.core.push import (
    Job,
    RawRecipient,
    RecipientType,
    SendJob,
    SendRequest,
)
from tocsin.core.send_log import Accepting, Progress, SendRecord
from tocsin.core.traces import trace_id_of
from tocsin.push import checks
from tocsin.push.checks import DeviceLimits
from tocsin.push.first_jobs import (
    due_ms,
    find_expiry_fault,
    find_routes,
    first_jobs,
    payload_of,
    providers_of,
    recipient_type_of,
)
from tocsin.push.queue_watch import QueueWatch
from tocsin.push.repair import LATE_MS, Repair
from tocsin.push.send_checks import SendChecks
from tocsin.push.uids import UidClaims, fingerprint

_log = structlog.get_logger(__name__)

_OFF = "pushes are off: see push_notifications.enabled and .enabled_providers"
_EVENTS = {
    "accepted": "send accepted",
    "repeated": "send repeated",
    "expired": "send expired",
    "requeued": "a repeated send was not in the queue any more; it is queued again",
}
OnExpired = Callable[[str, RecipientType, int], None]
"""Called with (provider, recipient type, how many) when a send expired unqueued.

The recipients of a filter are not known then, so a filter counts as one.
"""


OnCancelled = Callable[[str, RecipientType, int], None]
"""Called with (provider, recipient type, how many) when jobs were taken back.

A filter counts as one, as in `OnExpired`.
"""

OnScheduled = Callable[[RecipientType], None]
"""Called for each request that was accepted for later."""

OnRequest = Callable[[RecipientType, str], None]
"""Called with (recipient type, `accepted` | `repeated` | `requeued` | `expired` |
`refused`) for each request."""


def _is_late(accepting: Accepting, now_ms: int) -> bool:
    return now_ms - accepting.record.accepted_at_ms >= LATE_MS


def _ignore(*_: object) -> None:
    """The hook of callers that do not count."""


class SendService:
    """Accepts send requests.

    `queue` is `None` where pushes are off, `uids` is `None` where no store can
    remember a uid. With `log` each send is a row there before it is queued, and
    `repair` queues again what the queue has lost of one whose caller repeats it.
    `integrations` are the credentials to send through; without it each of
    `enabled_providers` is one. `uid_ttl_s` is how long a uid is remembered, in seconds.
    `online` publishes to channels for `online_first`, `None` where there are no
    channels. With `watch`, which knows the data of the queue, a repeat finds out
    whether the queue still has the send.
    """

    def __init__(
        self,
        queue: JobProducer | None,
        uids: UidStore | None,
        *,
        clock: Clock,
        enabled_providers: Collection[str] = (),
        integrations: Integrations | None = None,
        has_database: bool,
        batch_sizes: Mapping[str, int] | None = None,
        uid_ttl_s: float = 86400,
        limits: DeviceLimits | None = None,
        online: OnlinePublisher | None = None,
        watch: QueueWatch | None = None,
        on_expired: OnExpired = _ignore,
        on_request: OnRequest = _ignore,
        on_scheduled: OnScheduled = _ignore,
        on_cancelled: OnCancelled = _ignore,
        rows: RowSink | None = None,
        log: SendAcceptor | None = None,
        repair: Repair | None = None,
    ) -> None:
        self._queue = queue
        self._send_log = log
        self._repair = repair
        self._watch = watch
        self._claims = UidClaims(uids, watch)
        self._clock = clock
        self._integrations = integrations or Integrations.of_providers(
            enabled_providers, batch_sizes
        )
        self._checks = SendChecks(
            self._integrations,
            clock=clock,
            has_database=has_database,
            limits=limits or DeviceLimits(),
            online=online,
        )
        self._uid_ttl_s = uid_ttl_s
        self._online = online
        self._on_expired = on_expired
        self._on_request = on_request
        self._on_scheduled = on_scheduled
        self._on_cancelled = on_cancelled
        self._rows = rows

    async def send(
        self, request: SendRequest, *, spelled: Mapping[str, str] | None = None
    ) -> str:
        """Queue the request; returns its uid, the caller's or a fresh UUID.

        A repeat, with the same uid and content, gets the same answer and is not
        queued again. `spelled` maps a field of the filter to the path under which the
        caller wrote it, for error texts. Raises `BadRequest` naming the field,
        `NotAvailable` for what is not enabled, `Conflict` for a uid that was
        used with other content, `QueueFull`.
        """
        recipient_type = recipient_type_of(request)
        try:
            request = self._checks.check(request, spelled)
            uid, result = await self._accept(request)
        except ApiError:
            self._on_request(recipient_type, "refused")
            raise
        self._on_request(recipient_type, result)
        return uid

    async def cancel(self, uid: str) -> None:
        """Take back a send that was accepted for later, if it has not begun.

        A uid that is unknown or already cancelled, or whose send has begun, is no
        error: the caller may be late, or repeat itself.
        """
        checks.check_text("uid", uid, checks.NAME_LENGTH)
        walked: set[str] = set()
        taken: Sequence[Job] = await self._open_queue().cancel(uid)
        if not taken and self._repair is not None:
            taken = await self._repair.take_back(uid)
        if taken:
            await self._claims.forget_data(uid)
            self._tell(SendEvent.CANCELLED, uid, type=taken[0].recipient_type)
        for job in taken:
            if isinstance(job, SendJob):
                size = len(job.work.recipients)
            elif job.provider not in walked:
                walked.add(job.provider)
                size = 1
            else:
                continue  # the same filter, for another of its integrations
            self._on_cancelled(job.provider, job.recipient_type, size)

    def _open_queue(self) -> JobProducer:
        if self._queue is None:
            raise NotAvailable(_OFF)
        return self._queue

    async def _accept(self, request: SendRequest) -> tuple[str, str]:
        """Queue the request; returns its uid and the result, a word of `OnRequest`."""
        queue = self._open_queue()
        if self._send_log is not None:
            return await self._accept_logged(queue, self._send_log, request)
        if request.uid:
            return request.uid, await self._enqueue_once(queue, request)
        if (fault := find_expiry_fault(request, self._clock.now_ms())) is not None:
            raise fault
        # No caller can repeat a uid that we make, so the queue need not remember it.
        uid = str(uuid.uuid4())
        result = await self._enqueue(queue, request, uid, push_id=uid, once_ttl_s=0)
        return uid, result

    async def _accept_logged(
        self, queue: JobProducer, log: SendAcceptor, request: SendRequest
    ) -> tuple[str, str]:
        """Write the send down, then queue it.

        It is accepted with its row: what a crash keeps from the queue, `Repair` finds.
        """
        now_ms = self._clock.now_ms()
        fault = find_expiry_fault(request, now_ms)
        if fault is not None:
            if not request.uid:
                raise fault
            # Asks only, and raises the fault unless this is a repeat.
            await self._claims.take(request, now_ms, 0)
        push_id = new_send_id()
        uid = request.uid or push_id
        accepting = self._accepting(request, uid, push_id, now_ms)
        taken = await log.accept(accepting)
        if taken.is_new:
            return uid, await self._queue_new(queue, log, request, accepting)
        if taken.progress is None and taken.accepted:
            # An older release accepted it, and the log has no row of it.
            return uid, await self._enqueue_once(queue, request)
        if taken.progress is None or taken.progress is Progress.REFUSED:
            accepting = self._accepting(request, uid, taken.push_id, now_ms)
            await log.accept_again(accepting)
            return uid, await self._queue_new(queue, log, request, accepting)
        is_healed = (
            not taken.progress.is_over
            and self._repair is not None
            and await self._repair.heal(taken.push_id)
        )
        result = "requeued" if is_healed else "repeated"
        self._write_line(result, request, uid, taken.push_id)
        if is_healed:
            await self._publish_first(request, taken.push_id, again=True)
        return uid, result

    def _accepting(
        self, request: SendRequest, uid: str, push_id: str, now_ms: int
    ) -> Accepting:
        routes = find_routes(self._integrations, request)
        payload = payload_of(request, providers_of(routes), push_id=push_id, uid=uid)
        jobs = first_jobs(routes, request, push_id, now_ms)
        due_at_ms = due_ms(request, now_ms)
        progress, accounts = Progress.ACCEPTED, {}
        if request.expire_at_ms and request.expire_at_ms <= now_ms:
            progress, accounts = Progress.EXPIRED, {"": expired_account(jobs)}
        elif not jobs:
            progress = Progress.FINISHED
        elif due_at_ms:
            progress = Progress.SCHEDULED
        record = SendRecord(
            push_id=push_id,
            uid=uid,
            analytics_uid=payload.analytics_uid,
            correlation_id=request.correlation_id,
            trace_id=trace_id_of(request.traceparent),
            recipient=recipient_type_of(request).value,
            progress=progress,
            accepted_at_ms=now_ms,
            due_at_ms=due_at_ms,
            expire_at_ms=request.expire_at_ms,
            ended_at_ms=now_ms if progress.is_over else 0,
            epoch=self._watch.epoch if self._watch is not None else "",
            accounts=accounts,
        )
        if not request.uid:
            return Accepting(record, payload, jobs)
        ttl_s = self._ttl_s(due_at_ms, now_ms)
        return Accepting(record, payload, jobs, fingerprint(request), ttl_s)

    async def _queue_new(
        self,
        queue: JobProducer,
        log: SendAcceptor,
        request: SendRequest,
        accepting: Accepting,
    ) -> str:
        record = accepting.record
        once_ttl_s = 0.0
        if request.uid:
            once_ttl_s = self._claims.once_ttl_s(accepting.uid_ttl_s)
        try:
            return await self._enqueue(
                queue,
                request,
                record.uid,
                push_id=record.push_id,
                once_ttl_s=once_ttl_s,
                work=accepting,
            )
        except ApiError:
            await self._refuse(log, record)
            raise

    async def _refuse(self, log: SendAcceptor, record: SendRecord) -> None:
        try:
            await log.refuse(record.push_id)
        except ApiError as error:
            # Its caller is told an error, which says that it may have been accepted.
            _log.warning(
                "a send whose caller is told an error stays in the log and may be sent",
                uid=record.uid,
                push_id=record.push_id,
                error=error.message,
            )

    async def _enqueue_once(self, queue: JobProducer, request: SendRequest) -> str:
        """Queue a request that carries a uid, unless that was done before."""
        now_ms = self._clock.now_ms()
        uid_ttl_s = self._ttl_s(due_ms(request, now_ms), now_ms)
        claim = await self._claims.take(request, now_ms, uid_ttl_s)
        if claim.accepted and not await self._claims.may_be_lost(
            claim, request, now_ms
        ):
            self._write_line("repeated", request, request.uid, claim.push_id)
            return "repeated"
        # A crash before `confirm` leaves a claim that is not accepted, and a repeat
        # comes here again: the queue takes a push id only once. A repeat of accepted
        # work may come here too: a queue that lost the work has also forgotten its
        # push id, so it takes it again.
        result = await self._enqueue(
            queue,
            request,
            request.uid,
            push_id=claim.push_id,
            once_ttl_s=self._claims.once_ttl_s(uid_ttl_s),
            was_accepted=claim.accepted,
        )
        await self._claims.confirm(request.uid, claim)
        return result

    def _ttl_s(self, due_at_ms: int, now_ms: int) -> float:
        """How long to remember the uid of a send, in seconds.

        One for next month is remembered until then, and a while after it.
        """
        return self._uid_ttl_s + max(0, due_at_ms - now_ms) / 1000

    async def _enqueue(
        self,
        queue: JobProducer,
        request: SendRequest,
        uid: str,
        *,
        push_id: str,
        once_ttl_s: float,
        was_accepted: bool = False,
        work: Accepting | None = None,
    ) -> str:
        now_ms = self._clock.now_ms()
        if work is not None:
            payload, jobs = work.payload, work.jobs
            providers = list(payload.bodies)
        else:
            routes = find_routes(self._integrations, request)
            providers = providers_of(routes)
            payload = payload_of(request, providers, push_id=push_id, uid=uid)
            jobs = first_jobs(routes, request, push_id, now_ms)
        if request.expire_at_ms and request.expire_at_ms <= now_ms:
            self._expire(request, providers, uid, push_id)
            return "expired"
        due_at_ms = due_ms(request, now_ms)
        if work is not None and self._repair is not None and _is_late(work, now_ms):
            # This process stood still since the row was written: by now another one may
            # have queued the send, and it may even be over.
            stored = await self._repair.heal(push_id)
        else:
            stored = await queue.enqueue(
                payload,
                jobs,
                once_ttl_s=once_ttl_s,
                due_ms=due_at_ms,
                account=first_account(jobs, FIRST) if work and jobs else None,
            )
        is_later = request.send_at_ms > now_ms
        if stored and due_at_ms:
            self._tell(
                SendEvent.SCHEDULED,
                payload.analytics_uid,
                type=recipient_type_of(request),
                due_ms=due_at_ms,
                reason=SEND_AT if is_later else ONLINE_FIRST,
                send_uid=uid,
            )
        if stored and is_later and not was_accepted:
            self._on_scheduled(recipient_type_of(request))
        if was_accepted:
            result = "requeued" if stored else "repeated"
        elif work is not None:
            # It is accepted with its row, whoever has queued it.
            result = "accepted"
        else:
            result = "accepted" if stored else "repeated"
        self._write_line(result, request, uid, push_id, providers)
        if was_accepted and not stored:
            return result  # the first call has published as well
        # Queued before published: if this process ends in between, the push still goes
        # out, to everybody.
        again = was_accepted or not stored
        await self._publish_first(request, push_id, again=again)
        return result

    def _tell(
        self, event: SendEvent, uid: str, *, type: RecipientType, **more: Any
    ) -> None:
        """Add a row for the funnel: this event shows in no recipient's result."""
        if self._rows is not None:
            at_ms = self._clock.now_ms()
            self._rows.add(event_row(event, uid, at_ms=at_ms, type=type.value, **more))

    async def _publish_first(
        self, request: SendRequest, push_id: str, *, again: bool
    ) -> None:
        recipient = request.recipient
        first = request.online_first
        if first is None or isinstance(recipient, RawRecipient):
            return
        if self._online is not None:  # else the checks have refused the request
            await self._online.publish(
                first, push_id=push_id, among=recipient.users, again=again
            )

    def _write_line(
        self,
        result: str,
        request: SendRequest,
        uid: str,
        push_id: str,
        providers: Sequence[str] | None = None,
    ) -> None:
        """Log the ids of a send and where it goes; later lines carry the same ids.

        `providers` are looked up where the caller does not know them.
        """
        if not _log.is_enabled_for(logging.INFO):
            return
        if providers is None:
            providers = providers_of(find_routes(self._integrations, request))
        recipient, first = request.recipient, request.online_first
        more: dict[str, object] = {}
        if isinstance(recipient, RawRecipient):
            more["recipients"] = len(recipient.targets)
        if request.caller:
            more["caller"] = request.caller
        if request.integration:
            more["integration"] = request.integration
        if request.send_at_ms:
            more["send_at"] = request.send_at_ms // 1000  # as callers write it
        if first is not None:
            more["online_first"] = first.channel
        log = _log.warning if result == "requeued" else _log.info
        log(
            _EVENTS[result],
            uid=uid,
            push_id=push_id,
            request_id=request.correlation_id,
            recipient=recipient_type_of(request).value,
            providers=sorted(providers),
            **more,
        )

    def _expire(
        self, request: SendRequest, providers: list[str], uid: str, push_id: str
    ) -> None:
        """Count and log a request that expired before anything of it was queued."""
        recipient, type = request.recipient, recipient_type_of(request)
        count = len(recipient.targets) if isinstance(recipient, RawRecipient) else 1
        for provider in providers:
            self._on_expired(provider, type, count)
        self._tell(SendEvent.EXPIRED, request.analytics_uid or uid, type=type)
        self._write_line("expired", request, uid, push_id, providers)
