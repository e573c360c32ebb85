"""API room: a send request, in its older or newer form → the core noun.

It must not decide more than which form is used; the service checks the rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tocsin.api.convert import device_filter_from
from tocsin.core.device import DeviceFilter
from tocsin.core.errors import BadRequest
from tocsin.core.lanes import Priority
from tocsin.core.push import (
    Body,
    OnlineFirst,
    RateRule,
    RawRecipient,
    SendRequest,
    TargetKind,
    Templating,
    TimeWindow,
)
from tocsin.core.push_services import SERVICES
from tocsin.core.rates import RateLimit
from tocsin.protocol import api_pb2
from tocsin.push.options import parse_window
from tocsin.push.send_checks import check_seconds


@dataclass(frozen=True, slots=True)
class Spelled:
    """A send request, and the fields that its filter came from, for error texts."""

    request: SendRequest
    fields: Mapping[str, str]


def send_request_from(
    request: api_pb2.SendPushNotificationRequest,
    *,
    correlation_id: str,
    caller: str = "",
    traceparent: str = "",
) -> Spelled:
    """Join both forms; raises `BadRequest` that names the field."""
    if not request.HasField("notification"):
        raise BadRequest("notification", "must be set")
    notification = request.notification
    recipient, fields = _recipient_from(request.recipient)
    check_seconds("notification.expire_at", notification.expire_at)
    check_seconds("send_at", request.send_at)
    strategy = request.limit_strategy
    joined = SendRequest(
        recipient=recipient,
        bodies=_bodies_from(notification),
        uid=_uid_from(request.uid, notification.uid),
        analytics_uid=request.analytics_uid,
        expire_at_ms=notification.expire_at * 1000,
        integration=request.integration,
        correlation_id=correlation_id,
        caller=caller,
        traceparent=traceparent,
        send_at_ms=request.send_at * 1000,
        reliable=request.optimize_for_reliability,
        rate=_rate_from(strategy.rate_limit)
        if strategy.HasField("rate_limit")
        else None,
        window=_window_from(strategy.time_limit)
        if strategy.HasField("time_limit")
        else None,
        templating=_templating_from(request),
        online_first=_online_first_from(request.online_first)
        if request.HasField("online_first")
        else None,
        priority=_priority_from(request.priority),
    )
    return Spelled(joined, fields)


def _priority_from(text: str) -> Priority | None:
    if not text:
        return None
    try:
        return Priority(text)
    except ValueError:
        raise BadRequest("priority", f"must be one of {', '.join(Priority)}") from None


def _rate_from(strategy: api_pb2.PushRateLimitStrategy) -> RateRule:
    limits = tuple(
        RateLimit(policy.rate, policy.interval_ms) for policy in strategy.policies
    )
    return RateRule(limits, strategy.key, strategy.drop_if_rate_limited)


def _window_from(strategy: api_pb2.PushTimeLimitStrategy) -> TimeWindow:
    return parse_window(
        strategy.send_after_time,
        strategy.send_before_time,
        no_tz_send_now=strategy.no_tz_send_now,
    )


def _templating_from(
    request: api_pb2.SendPushNotificationRequest,
) -> Templating | None:
    """`None` without templating; localizations turn it on, `use_meta` does not."""
    if not (request.use_templating or request.localizations):
        return None
    localizations = {
        language: dict(texts.translations)
        for language, texts in request.localizations.items()
    }
    return Templating(localizations, request.use_meta)


def _online_first_from(first: api_pb2.OnlineFirst) -> OnlineFirst:
    return OnlineFirst(
        channel=first.channel,
        data=first.data,
        b64data=first.b64data,
        wait_ms=first.wait_ms,
        tags=dict(first.tags),
    )


def _uid_from(in_request: str, in_notification: str) -> str:
    if in_request and in_notification and in_request != in_notification:
        raise BadRequest("notification.uid", "must equal uid when both are given")
    return in_request or in_notification


def _recipient_from(
    recipient: api_pb2.PushRecipient,
) -> tuple[DeviceFilter | RawRecipient, Mapping[str, str]]:
    kinds = [field.name for field, _ in recipient.ListFields()]
    if len(kinds) != 1:
        given = ", ".join(kinds) or "nothing"
        raise BadRequest("recipient", f"must have exactly one kind, has {given}")
    kind = kinds[0]
    if kind == "filter":
        return device_filter_from(recipient.filter), {}
    if kind == "device_ids":
        ids = tuple(recipient.device_ids)
        return DeviceFilter(ids=ids), {"ids": "recipient.device_ids"}
    if kind == "topics":
        topics = tuple(recipient.topics)
        return DeviceFilter(topics=topics), {"topics": "recipient.topics"}
    value = getattr(recipient, kind)
    for service in SERVICES.values():
        for raw in service.raw_targets:
            if raw.name == kind:
                targets = tuple(value) if raw.kind is TargetKind.TOKEN else (value,)
                return RawRecipient(service.name, raw.kind, targets), {}
    raise BadRequest(f"recipient.{kind}", "is of no push service here")


def _bodies_from(notification: api_pb2.PushNotification) -> dict[str, Body]:
    bodies = {}
    for service in SERVICES.values():
        field = service.body
        if notification.HasField(field.name):
            part = getattr(notification, field.name)
            headers = dict(part.headers) if field.headers else {}
            bodies[service.name] = Body(getattr(part, field.content), headers)
    return bodies
