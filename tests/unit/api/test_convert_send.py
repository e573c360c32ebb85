from __future__ import annotations

from typing import Any

import pytest

from tocsin.api.convert_send import send_request_from
from tocsin.core.device import DeviceFilter
from tocsin.core.errors import BadRequest, NotAvailable
from tocsin.core.push import Body, RawRecipient, SendRequest, TargetKind
from tocsin.protocol import api_pb2
from tocsin.push.sending import RAW_FIELDS, fingerprint

NOW_S = 1_800_000_000
FCM = {"message": b'{"a":1}'}
GOOD: dict[str, Any] = {"recipient": {"topics": ["x"]}, "notification": {"fcm": FCM}}


def _convert(**changes: Any) -> SendRequest:
    message = api_pb2.SendPushNotificationRequest(**{**GOOD, **changes})
    return send_request_from(message, now_s=NOW_S, correlation_id="c").request


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("optimize_for_reliability", True),
        ("limit_strategy", {}),
        ("localizations", {"en": {"translations": {"a": "b"}}}),
        ("use_templating", True),
        ("use_meta", True),
        ("online_first", {}),
        ("send_at", NOW_S + 1),
    ],
)
def test_options_not_built_are_refused_by_name(field: str, value: Any) -> None:
    """An option that would be ignored is answered 108 with its name."""
    with pytest.raises(NotAvailable) as caught:
        _convert(**{field: value})
    assert caught.value.message == f"not available: {field}"


def test_every_field_of_the_request_is_read_or_refused() -> None:
    """A field that the schema gains fails here until it is acted on."""
    read = {"recipient", "notification", "uid", "analytics_uid", "integration"}
    refused = {
        "optimize_for_reliability",
        "limit_strategy",
        "localizations",
        "use_templating",
        "use_meta",
        "online_first",
        "send_at",
    }
    fields = api_pb2.SendPushNotificationRequest.DESCRIPTOR.fields_by_name
    assert set(fields) == read | refused
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


@pytest.mark.parametrize("send_at", [0, 1, NOW_S])
def test_send_at_that_is_not_ahead(send_at: int) -> None:
    """A moment that has come is no delay."""
    _convert(send_at=send_at)


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("send_at", {"send_at": -1}),
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
        now_s=NOW_S,
        correlation_id="c",
    )
    new = _convert(recipient={"filter": newest})
    assert old.request == new
    assert fingerprint(old.request) == fingerprint(new)
    assert old.fields == spelled
