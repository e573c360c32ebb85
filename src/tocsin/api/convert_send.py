"""API room: the send request of either spelling → the core noun.

Options of the schema that this release does not act on are refused here by name,
so that none is ever ignored; every other rule is the service's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tocsin.api.convert import device_filter_from
from tocsin.core.device import DeviceFilter
from tocsin.core.errors import BadRequest, NotAvailable
from tocsin.core.push import Body, RawRecipient, SendRequest, TargetKind
from tocsin.protocol import api_pb2
from tocsin.push.sending import RAW_FIELDS, check_seconds

_NOT_BUILT = (
    "optimize_for_reliability",
    "limit_strategy",
    "localizations",
    "use_templating",
    "use_meta",
    "online_first",
)
"""Fields of the request whose presence is refused."""

_JSON_BODIES: Mapping[str, str] = {
    "fcm": "fcm",
    "hms": "hms",
    "expo": "expo",
    "one_signal": "one-signal",
    "push_webhook": "push-webhook",
    "pusher_beams": "pusher-beams",
    "pushpad": "pushpad",
}
"""Fields of the notification that hold only `message`, and their providers."""

_HEADER_BODIES = ("apns", "webpush")
"""Fields of the notification that hold `headers` and `payload`."""


@dataclass(frozen=True, slots=True)
class Spelled:
    """A send request and how its filter was written, for error texts."""

    request: SendRequest
    fields: Mapping[str, str]


def send_request_from(
    request: api_pb2.SendPushNotificationRequest, *, now_s: float, correlation_id: str
) -> Spelled:
    """Join both spellings; raises `BadRequest` and `NotAvailable` by field.

    `now_s` is Unix seconds: a `send_at` that is not in the future is no delay.
    """
    _refuse_not_built(request, now_s)
    if not request.HasField("notification"):
        raise BadRequest("notification", "must be set")
    notification = request.notification
    recipient, fields = _recipient_from(request.recipient)
    check_seconds("notification.expire_at", notification.expire_at)
    joined = SendRequest(
        recipient=recipient,
        bodies=_bodies_from(notification),
        uid=_uid_from(request.uid, notification.uid),
        analytics_uid=request.analytics_uid,
        expire_at_ms=notification.expire_at * 1000,
        integration=request.integration,
        correlation_id=correlation_id,
    )
    return Spelled(joined, fields)


def _refuse_not_built(
    request: api_pb2.SendPushNotificationRequest, now_s: float
) -> None:
    present = {field.name for field, _ in request.ListFields()}
    for name in _NOT_BUILT:
        if name in present:
            raise NotAvailable(name)
    check_seconds("send_at", request.send_at)
    if request.send_at > now_s:
        raise NotAvailable("send_at")


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
    provider, target_kind = RAW_FIELDS[kind]
    value = getattr(recipient, kind)
    targets = tuple(value) if target_kind is TargetKind.TOKEN else (value,)
    return RawRecipient(provider, target_kind, targets), {}


def _bodies_from(notification: api_pb2.PushNotification) -> dict[str, Body]:
    bodies = {}
    for field, provider in _JSON_BODIES.items():
        if notification.HasField(field):
            bodies[provider] = Body(getattr(notification, field).message)
    for provider in _HEADER_BODIES:
        if notification.HasField(provider):
            part = getattr(notification, provider)
            bodies[provider] = Body(part.payload, dict(part.headers))
    return bodies
