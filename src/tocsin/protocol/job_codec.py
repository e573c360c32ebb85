"""Turns jobs, payloads and dead letters into bytes of `job.proto` and back.

It does no I/O and must not know any engine: queue and send log keep these bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import structlog
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

from tocsin.core.accounts import AGAIN, Change, recorded
from tocsin.core.dead_letters import LetterHead
from tocsin.core.device import Detail, DeviceFilter, ProviderTokens
from tocsin.core.lanes import EXPAND, Priority, parse_queue_name
from tocsin.core.push import (
    Body,
    DeadLetter,
    Expand,
    ExpandJob,
    Job,
    JobFields,
    OnlineCheck,
    Payload,
    RateRule,
    Recipients,
    RecipientType,
    Send,
    SendJob,
    TargetKind,
    Templating,
    TimeWindow,
)
from tocsin.core.rates import RateLimit
from tocsin.protocol import job_pb2

PAYLOAD_HEAD = 1024
"""Bytes of a payload within which its uid stands: it and what comes before are short.
"""

_PRIORITY_TEXTS = {
    # Absent, as an older release writes and reads it.
    each: "" if each is Priority.NORMAL else each.value
    for each in Priority
}
_PRIORITIES = {text: each for each, text in _PRIORITY_TEXTS.items()}

_log = structlog.get_logger(__name__)


class Undecodable(ValueError):
    """These bytes are no job that this release can do; the text says why."""


def encode_job(job: Job) -> bytes:
    """The bytes of a queue entry."""
    return _job_message(job).SerializeToString()


def parse_job(data: bytes) -> Job:
    """The job in a queue entry.

    Fields of a newer release are ignored, missing ones are their zero value. Two
    things are never guessed: a kind of target or of work that is not known, and
    a filter with conditions that are not known, which would reach more devices
    than was asked for. Raises `Undecodable`.
    """
    message = job_pb2.Job()
    try:
        message.ParseFromString(data)
    except (DecodeError, UnicodeDecodeError) as error:
        raise Undecodable(f"not a job: {error}") from None
    return _job_of(message)


def encode_payload(payload: Payload) -> bytes:
    """The bytes stored once per request."""
    return _payload_message(payload).SerializeToString()


def encode_accepted(payload: Payload, jobs: Sequence[Job]) -> bytes:
    """What the send log keeps of a send: its payload and its first jobs."""
    message = job_pb2.Accepted()
    message.payload.CopyFrom(_payload_message(payload))
    message.jobs.extend(_job_message(job) for job in jobs)
    return message.SerializeToString()


def parse_accepted(data: bytes) -> tuple[Payload, list[Job]]:
    """The payload and the first jobs in these bytes. Raises `Undecodable`."""
    message = job_pb2.Accepted()
    try:
        message.ParseFromString(data)
    except (DecodeError, UnicodeDecodeError) as error:
        raise Undecodable(f"not an accepted send: {error}") from None
    return _payload_of(message.payload), [_job_of(job) for job in message.jobs]


def _payload_message(payload: Payload) -> job_pb2.Payload:
    message = job_pb2.Payload(
        push_id=payload.push_id,
        uid=payload.uid,
        analytics_uid=payload.analytics_uid,
    )
    for provider, body in payload.bodies.items():
        target = message.bodies[provider]
        target.message = body.message
        target.headers.update(body.headers)
    message.reliable = payload.reliable
    if (rate := payload.rate) is not None:
        message.rate.key, message.rate.drop = rate.key, rate.drop
        for limit in rate.limits:
            message.rate.limits.add(rate=limit.rate, interval_ms=limit.interval_ms)
    if (window := payload.window) is not None:
        message.window.after_s = window.after_s
        message.window.before_s = window.before_s
        message.window.no_tz_send_now = window.no_tz_send_now
        message.window.SetInParent()  # midnight to midnight is all zeros
    if (templating := payload.templating) is not None:
        message.templating.use_meta = templating.use_meta
        for language, texts in templating.localizations.items():
            message.templating.localizations[language].by_name.update(texts)
        message.templating.SetInParent()
    return message


def parse_payload(data: bytes) -> Payload:
    """The payload in these bytes. Raises `Undecodable`."""
    message = job_pb2.Payload()
    try:
        message.ParseFromString(data)
    except (DecodeError, UnicodeDecodeError) as error:
        raise Undecodable(f"not a payload: {error}") from None
    return _payload_of(message)


def _payload_of(message: job_pb2.Payload) -> Payload:
    return Payload(
        push_id=message.push_id,
        uid=message.uid,
        analytics_uid=message.analytics_uid,
        bodies={
            provider: Body(body.message, dict(body.headers))
            for provider, body in message.bodies.items()
        },
        reliable=message.reliable,
        rate=_rate_of(message.rate) if message.HasField("rate") else None,
        window=_window_of(message.window) if message.HasField("window") else None,
        templating=_templating_of(message.templating)
        if message.HasField("templating")
        else None,
    )


def find_payload(data: bytes | None, push_id: str) -> Payload | None:
    """The payload of a request, or `None` where it is gone or cannot be read.

    In both cases its jobs go to the dead letters. Only the second is a fault, so only
    that one is logged.
    """
    if data is None:
        return None
    try:
        return parse_payload(data)
    except Undecodable as error:
        _log.error(
            "stored payload cannot be read, its jobs will go to the dead letters",
            push_id=push_id,
            reason=str(error),
        )
        return None


def encode_letter(job: Job | None, reason: str, at_ms: int) -> bytes:
    """A dead letter without its payload; the engine stores that beside it.

    `job` is `None` for an entry that could not be decoded.
    """
    message = job_pb2.DeadLetter(reason=reason, at_ms=at_ms)
    if job is not None:
        message.job.CopyFrom(_job_message(job))
    return message.SerializeToString()


def parse_letter(
    data: bytes, *, id: str, queue: str, push_id: str, payload: bytes
) -> DeadLetter:
    """The dead letter in these bytes; `id` is the engine's name for it.

    `payload` is the letter's copy of the payload of its request. Where the job itself
    cannot be read, the letter carries an empty job of that queue and request, so that
    it can still be listed, replayed and purged.
    """
    message = job_pb2.DeadLetter()
    try:
        message.ParseFromString(data)
        job = _job_of(message.job)
    except (DecodeError, UnicodeDecodeError, Undecodable):
        job = _unread_job(queue, push_id)
    try:
        uid = parse_payload(payload).uid
    except Undecodable:
        uid = ""
    return DeadLetter(
        id=id, job=job, reason=message.reason, at_ms=message.at_ms, uid=uid
    )


def parse_letter_head(
    data: bytes, *, id: str, queue: str, push_id: str, payload: bytes
) -> LetterHead:
    """What these bytes tell without the recipients; see `parse_letter`.

    Of the payload the first `PAYLOAD_HEAD` bytes are enough.
    """
    message = job_pb2.DeadLetter()
    try:
        message.ParseFromString(data)
    except (DecodeError, UnicodeDecodeError):
        message.Clear()
    job = message.job
    place = parse_queue_name(queue)
    return LetterHead(
        id=id,
        reason=message.reason,
        at_ms=message.at_ms,
        push_id=push_id,
        uid=_uid_in(payload),
        stage=place.stage,
        provider=job.provider or place.provider,
        integration=job.integration,
        attempt=job.attempt,
        recipients=len(job.send.targets),
    )


def _uid_in(payload: bytes) -> str:
    """The uid near the beginning of a payload that may be cut off after it.

    By hand, since a message that was cut off cannot be parsed as a whole. Fields are
    written in the order of their numbers: `push_id` 1, `uid` 2.
    """
    at = 0
    while at + 1 < len(payload):
        field, kind = payload[at] >> 3, payload[at] & 7
        size, shift, at = 0, 0, at + 1
        while at < len(payload):
            size |= (payload[at] & 0x7F) << shift
            at += 1
            if payload[at - 1] < 0x80:
                break
            shift += 7
        if kind != 2 or field > 2:  # 2 is the kind of texts
            return ""
        if field == 2:
            text = payload[at : at + size]
            return text.decode(errors="replace") if len(text) == size else ""
        at += size
    return ""


def parse_dead_job(data: bytes) -> Job | None:
    """The job of a dead letter, or `None` where only its raw bytes were kept."""
    message = job_pb2.DeadLetter()
    try:
        message.ParseFromString(data)
        return _job_of(message.job) if message.HasField("job") else None
    except (DecodeError, UnicodeDecodeError, Undecodable):
        return None


def parse_cancelled(taken: Iterable[bytes], uid: str) -> list[Job]:
    """The jobs in these bytes.

    A job that cannot be read is cancelled as well, but it is not counted.
    """
    jobs = []
    for data in taken:
        try:
            jobs.append(parse_job(data))
        except Undecodable as error:
            _log.warning("a cancelled job cannot be read", uid=uid, reason=str(error))
    return jobs


def without_done(data: bytes, done: bytes) -> tuple[bytes, Change | None]:
    """A queue entry without the recipients that a progress record calls done.

    Beside it what their end changes in the account of the send. What cannot be read is
    left as it is.
    """
    if not any(done):
        return data, None
    try:
        job = parse_job(data)
    except Undecodable:
        return data, None
    if not isinstance(job, SendJob):
        return data, None
    recipients = job.work.recipients
    rest = encode_job(job.part(recipients.undone(done), id=job.id))
    if not job.unit:
        return rest, None
    ended = recorded(done, len(recipients))
    return rest, Change(job.unit, open=-ended.total(), parts=ended)


def refresh(job: Job) -> Job:
    """The same job as if it had never been tried."""
    # Both fields: a job gives up at an age that counts from its first try. Its
    # recipients are a unit of their own: the page that they came from may be over.
    unit = job.unit
    if isinstance(job, SendJob) and unit and not unit.endswith(AGAIN):
        unit += AGAIN
    return replace(job, attempt=0, first_try_at_ms=0, unit=unit)


def _job_message(job: Job) -> job_pb2.Job:
    # One call with all keywords: the fastest way into the C message, also for
    # lists of 500 recipients.
    message = job_pb2.Job(
        id=job.id,
        push_id=job.push_id,
        provider=job.provider,
        integration=job.integration,
        accepted_at_ms=job.accepted_at_ms,
        expire_at_ms=job.expire_at_ms,
        attempt=job.attempt,
        first_try_at_ms=job.first_try_at_ms,
        correlation_id=job.correlation_id,
        traceparent=job.traceparent,
        recipient_type=job.recipient_type.value,
        unit=job.unit,
        priority=_PRIORITY_TEXTS[job.priority],
    )
    if job.body is not None:
        message.body.message = job.body.message
        message.body.headers.update(job.body.headers)
    if isinstance(job, SendJob):
        recipients = job.work.recipients
        message.send.target_kind = job.work.kind.value
        message.send.targets.extend(recipients.targets)
        message.send.device_ids.extend(recipients.device_ids)
        message.send.platforms.extend(recipients.platforms)
        message.send.users.extend(recipients.users)
        message.send.timezones.extend(recipients.timezones)
        message.send.locales.extend(recipients.locales)
        message.send.metas.extend(recipients.metas)
        message.send.admitted = job.work.admitted
    else:
        work = job.work
        message.expand.cursor = work.cursor
        message.expand.page = work.page
        message.expand.until = work.until
        message.expand.details.extend(sorted(work.details))
        message.expand.filter.CopyFrom(_filter_message(work.filter))
        if work.online is not None:
            message.expand.online.channel = work.online.channel
            message.expand.online.due_ms = work.online.due_ms
    return message


def _job_of(message: job_pb2.Job) -> Job:
    shared: JobFields = {
        "push_id": message.push_id,
        "provider": message.provider,
        "recipient_type": _recipient_type_of(message),
        "accepted_at_ms": message.accepted_at_ms,
        "integration": message.integration,
        "expire_at_ms": message.expire_at_ms,
        "attempt": message.attempt,
        "first_try_at_ms": message.first_try_at_ms,
        "correlation_id": message.correlation_id,
        "traceparent": message.traceparent,
        "unit": message.unit,
        # One of a newer release is no reason to leave the job undone.
        "priority": _PRIORITIES.get(message.priority, Priority.NORMAL),
    }
    if message.HasField("body"):
        shared["body"] = Body(message.body.message, dict(message.body.headers))
    kind = message.WhichOneof("work")
    if kind == "send":
        return SendJob(id=message.id, work=_send_of(message.send), **shared)
    if kind == "expand":
        return ExpandJob(id=message.id, work=_expand_of(message.expand), **shared)
    raise Undecodable("a kind of work that this release does not know")


def _expand_of(message: job_pb2.Expand) -> Expand:
    if not message.HasField("filter"):
        raise Undecodable("a walk without a filter")
    return Expand(
        _filter_of(message.filter),
        message.cursor,
        message.page,
        _details_of(message.details),
        OnlineCheck(message.online.channel, message.online.due_ms)
        if message.HasField("online")
        else None,
        message.until,
    )


def _send_of(message: job_pb2.Send) -> Send:
    try:
        kind = TargetKind(message.target_kind or TargetKind.TOKEN)
    except ValueError:
        raise Undecodable(f"unknown target kind {message.target_kind[:40]!r}") from None
    # Column by column, as they stand in the message: see `Recipients` for the figures.
    recipients = Recipients(
        tuple(message.targets),
        tuple(message.device_ids),
        tuple(message.platforms),
        tuple(message.users),
        tuple(message.timezones),
        tuple(message.locales),
        tuple(message.metas),
    )
    if not recipients.is_whole:
        raise Undecodable("lists of a batch differ in length")
    return Send(kind, recipients, message.admitted)


def _details_of(names: Iterable[str]) -> frozenset[Detail]:
    try:
        return frozenset(Detail(name) for name in names)
    except ValueError:
        raise Undecodable("a detail that this release does not know") from None


def _rate_of(message: job_pb2.RateRule) -> RateRule:
    limits = tuple(RateLimit(each.rate, each.interval_ms) for each in message.limits)
    if any(limit.rate < 1 or limit.interval_ms < 1 for limit in limits):
        raise Undecodable("a rate limit that lets nothing pass")
    return RateRule(limits, message.key, message.drop)


def _window_of(message: job_pb2.TimeWindow) -> TimeWindow:
    return TimeWindow(message.after_s, message.before_s, message.no_tz_send_now)


def _templating_of(message: job_pb2.Templating) -> Templating:
    return Templating(
        {
            language: dict(texts.by_name)
            for language, texts in message.localizations.items()
        },
        message.use_meta,
    )


def _recipient_type_of(message: job_pb2.Job) -> RecipientType:
    # Only a label of metrics: a newer one must not stop the job.
    try:
        return RecipientType(message.recipient_type)
    except ValueError:
        if message.WhichOneof("work") == "expand" or message.send.device_ids:
            return RecipientType.FILTER
        return RecipientType.TOKENS


def _filter_message(filter: DeviceFilter) -> job_pb2.Filter:
    return job_pb2.Filter(
        ids=filter.ids,
        users=filter.users,
        topics=filter.topics,
        providers=filter.providers,
        platforms=filter.platforms,
        provider_tokens=[
            job_pb2.TokenList(provider=entry.provider, tokens=entry.tokens)
            for entry in filter.provider_tokens
        ],
        tags=filter.tags,
        integrations=filter.integrations,
    )


def _filter_of(message: job_pb2.Filter) -> DeviceFilter:
    # A condition that is ignored would widen the filter to more devices.
    if len(UnknownFieldSet(message)) > 0:
        raise Undecodable("a filter condition that this release does not know")
    return DeviceFilter(
        ids=tuple(message.ids),
        users=tuple(message.users),
        topics=tuple(message.topics),
        providers=tuple(message.providers),
        platforms=tuple(message.platforms),
        provider_tokens=tuple(
            ProviderTokens(entry.provider, tuple(entry.tokens))
            for entry in message.provider_tokens
        ),
        tags=dict(message.tags),
        integrations=tuple(message.integrations),
    )


def _unread_job(queue: str, push_id: str) -> Job:
    place = parse_queue_name(queue)
    shared: JobFields = {
        "push_id": push_id,
        "provider": place.provider,
        "recipient_type": RecipientType.FILTER,
        "accepted_at_ms": 0,
        "priority": place.priority,
    }
    if place.stage == EXPAND:
        return ExpandJob(id="", work=Expand(DeviceFilter()), **shared)
    return SendJob(id="", work=Send(TargetKind.TOKEN, Recipients()), **shared)
