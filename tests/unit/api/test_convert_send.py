from __future__ import annotations

from typing import Any

import pytest

from tocsin.api.convert_send import send_request_from
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
from tocsin.push.uids import fingerprint

RAW_FIELDS = {
    raw.name: (service.name, raw.kind)
    for service in SERVICES.values()
    for raw in service.raw_targets
}
NOW_S = 1_800_000_000
FCM = {"message": b'{"a":1}'}
GOOD: dict[str, Any] = {"recipient": {"topics": ["x"]}, "notification": {"fcm": FCM}}


def _convert(**changes: Any) -> SendRequest:
    message = api_pb2.SendPushNotificationRequest(**{**GOOD, **changes})
    return send_request_from(message, correlation_id="c").request


def test_online_first_is_read_whole() -> None:
    """Every field arrives, an empty message is one that was given."""
    assert _convert().online_first is None
    assert _convert(online_first={}).online_first == OnlineFirst("")
    given = {"channel": "c", "data": b"{}", "wait_ms": 7, "tags": {"a": "b"}}
    request = _convert(online_first={**given, "b64data": "e30="})
    assert request.online_first == OnlineFirst("c", b"{}", "e30=", 7, {"a": "b"})
    fields = api_pb2.OnlineFirst.DESCRIPTOR.fields_by_name
    assert set(fields) == {*given, "b64data"}


def test_the_priority_is_one_of_three_or_left_to_the_recipient() -> None:
    """Another text is a fault of its field, and names the three."""
    assert _convert().priority is None
    assert [_convert(priority=each).priority for each in Priority] == list(Priority)
    for text in ("urgent", "Bulk", " bulk"):
        with pytest.raises(BadRequest, match="priority: must be one of transactional"):
            _convert(priority=text)


def test_every_field_of_the_request_is_read() -> None:
    """A field that the schema gains fails here until it is acted on."""
    fields = api_pb2.SendPushNotificationRequest.DESCRIPTOR.fields_by_name
    assert set(fields) == {
        "recipient",
        "notification",
        "uid",
        "analytics_uid",
        "integration",
        "priority",
        "optimize_for_reliability",
        "limit_strategy",
        "localizations",
        "use_templating",
        "use_meta",
        "send_at",
        "online_first",
    }
    recipients = api_pb2.PushRecipient.DESCRIPTOR.fields_by_name
    assert set(recipients) == {"filter", "device_ids", "topics", *RAW_FIELDS}
    bodies = api_pb2.PushNotification.DESCRIPTOR.fields_by_name
    assert set(bodies) == {"uid", "expire_at"} | {
        "fcm",
        "hms",
        "apns",
        "webpush",
        "expo",
        "one_signal",
        "push_webhook",
        "pusher_beams",
        "pushpad",
    }


def test_options_arrive() -> None:
    """Schedule, limits and templates become the nouns of the core."""
    request = _convert(
        send_at=NOW_S,
        optimize_for_reliability=True,
        limit_strategy={
            "rate_limit": {
                "key": "{{.device.user}}",
                "policies": [{"rate": 1, "interval_ms": 60_000}],
                "drop_if_rate_limited": True,
            },
            "time_limit": {
                "send_after_time": "09:00:00",
                "send_before_time": "18:00:30",
                "no_tz_send_now": True,
            },
        },
        localizations={"en": {"translations": {"a": "b"}}},
        use_meta=True,
    )
    assert request.send_at_ms == NOW_S * 1000
    assert request.reliable
    assert request.rate == RateRule(
        (RateLimit(1, 60_000),), key="{{.device.user}}", drop=True
    )
    assert request.window == TimeWindow(9 * 3600, 18 * 3600 + 30, no_tz_send_now=True)
    assert request.templating == Templating({"en": {"a": "b"}}, use_meta=True)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, None),
        ({"use_meta": True}, None),
        ({"use_templating": True}, Templating()),
        ({"localizations": {"en": {}}}, Templating({"en": {}})),
    ],
)
def test_what_switches_templating_on(
    changes: dict[str, Any], expected: Templating | None
) -> None:
    """The switch itself, or any localization; the device's meta alone does not."""
    assert _convert(**changes).templating == expected


def test_an_empty_strategy_limits_nothing() -> None:
    """A strategy without limits is the same as none."""
    assert _convert(limit_strategy={}) == _convert()


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("send_at", {"send_at": -1}),
        (
            "limit_strategy.time_limit.send_after_time",
            {"limit_strategy": {"time_limit": {"send_before_time": "10:00:00"}}},
        ),
        ("send_at", {"send_at": NOW_S * 1000}),
        ("notification", {"notification": None}),
        ("notification.expire_at", {"notification": {"fcm": FCM, "expire_at": -1}}),
        (
            "notification.expire_at",
            {"notification": {"fcm": FCM, "expire_at": NOW_S * 1000}},
        ),
        (
            "notification.expire_at",
            {"notification": {"fcm": FCM, "expire_at": 2**63 - 1}},
        ),
        (
            "notification.uid",
            {"uid": "a", "notification": {"fcm": FCM, "uid": "b"}},
        ),
        ("recipient", {"recipient": None}),
        ("recipient", {"recipient": {}}),
        ("recipient", {"recipient": {"fcm_tokens": ["a"], "fcm_topic": "b"}}),
        ("recipient", {"recipient": {"filter": {}, "device_ids": ["a"]}}),
        ("recipient", {"recipient": {"topics": ["a"], "device_ids": ["a"]}}),
    ],
)
def test_what_the_noun_cannot_say(field: str, changes: dict[str, Any]) -> None:
    """Contradictions between fields are refused by the field's path."""
    with pytest.raises(BadRequest) as caught:
        _convert(**changes)
    assert caught.value.field == field


def test_whole_request() -> None:
    """Every field that is acted on arrives, times in milliseconds."""
    request = _convert(
        recipient={"filter": {"topics": ["x"], "tags": {"a": "b"}}},
        notification={
            "fcm": FCM,
            "hms": {"message": b"{}"},
            "apns": {"headers": {"apns-priority": "5"}, "payload": b"{}"},
            "webpush": {"headers": {"TTL": "1"}, "payload": b"{}"},
            "expo": {"message": b"{}"},
            "one_signal": {"message": b"{}"},
            "expire_at": NOW_S,
        },
        uid="u",
        analytics_uid="a",
        integration="fcm",
    )
    assert request == SendRequest(
        recipient=DeviceFilter(topics=("x",), tags={"a": "b"}),
        bodies={
            "fcm": Body(b'{"a":1}'),
            "hms": Body(b"{}"),
            "apns": Body(b"{}", {"apns-priority": "5"}),
            "webpush": Body(b"{}", {"TTL": "1"}),
            "expo": Body(b"{}"),
            "one-signal": Body(b"{}"),
        },
        uid="u",
        analytics_uid="a",
        expire_at_ms=NOW_S * 1000,
        integration="fcm",
        correlation_id="c",
    )


@pytest.mark.parametrize("field", RAW_FIELDS)
def test_raw_recipients(field: str) -> None:
    """Each raw recipient becomes its provider, kind and targets."""
    provider, kind = RAW_FIELDS[field]
    many = kind is TargetKind.TOKEN
    request = _convert(recipient={field: ["a", "b"] if many else "a"})
    targets = ("a", "b") if many else ("a",)
    assert request.recipient == RawRecipient(provider, kind, targets)


@pytest.mark.parametrize("where", ["request", "notification", "both"])
def test_uid_in_either_place(where: str) -> None:
    """The uid may stand in the request, in the notification, or equal in both."""
    changes: dict[str, Any] = {"notification": {"fcm": FCM}}
    if where != "notification":
        changes["uid"] = "u"
    if where != "request":
        changes["notification"]["uid"] = "u"
    assert _convert(**changes).uid == "u"


@pytest.mark.parametrize(
    ("seed", "newest", "spelled"),
    [
        ({"topics": ["x"]}, {"topics": ["x"]}, {"topics": "recipient.topics"}),
        ({"device_ids": ["i"]}, {"ids": ["i"]}, {"ids": "recipient.device_ids"}),
    ],
)
def test_both_spellings_are_one_request(
    seed: dict[str, Any], newest: dict[str, Any], spelled: dict[str, str]
) -> None:
    """The older recipient equals the filter, down to the fingerprint."""
    old = send_request_from(
        api_pb2.SendPushNotificationRequest(**{**GOOD, "recipient": seed}),
        correlation_id="c",
    )
    new = _convert(recipient={"filter": newest})
    assert old.request == new
    assert fingerprint(old.request) == fingerprint(new)
    assert old.fields == spelled
