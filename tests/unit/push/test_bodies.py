from __future__ import annotations

import pytest

from tocsin.core.errors import BadRequest
from tocsin.core.push import Body
from tocsin.core.push_services import SERVICES
from tocsin.push.bodies import body_field, canonical_body, check_body


def _nested(levels: int) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b" ",
        b"text",
        b"null",
        b'"text"',
        b"[{}]",
        b"{}{}",
        b'{"a":1',
        b'{"a":NaN}',
        b'{"a":"\\ud800"}',
        b'{"a":"\xff"}',
        b"\xef\xbb\xbf{}",
        b"{'a':1}",
        _nested(255),
        _nested(2000),
    ],
)
def test_not_a_json_object(message: bytes) -> None:
    """Only one JSON object in UTF-8 is a body."""
    with pytest.raises(BadRequest) as caught:
        check_body("fcm", Body(message), 100_000)
    assert caught.value.field == "notification.fcm.message"


@pytest.mark.parametrize("message", [b"{}", b' {"a": [1, {"b": null}]} ', _nested(250)])
def test_json_objects(message: bytes) -> None:
    """Any object passes, whatever is inside."""
    check_body("fcm", Body(message), 100_000)


def test_size() -> None:
    """The limit is in bytes and includes it."""
    check_body("apns", Body(b'{"a":1}'), 7)
    with pytest.raises(BadRequest, match=r"apns\.payload: .* 6 bytes long, has 7"):
        check_body("apns", Body(b'{"a":1}'), 6)


@pytest.mark.parametrize(
    "headers",
    [
        {"": "v"},
        {"two words": "v"},
        {"colon:": "v"},
        {"n\n": "v"},
        {"ü": "v"},
        {"n": "line\nbreak"},
        {"n": "ü"},
        {"n": "x" * 5000},
        {"n" * 256: "v"},
        {"n": "\0"},
    ],
)
def test_headers_that_http_cannot_carry(headers: dict[str, str]) -> None:
    """A header that could end early or be misread is refused by name."""
    with pytest.raises(BadRequest) as caught:
        check_body("apns", Body(b"{}", headers), 100)
    assert caught.value.field.startswith("notification.apns.headers")


def test_headers() -> None:
    """Usual headers pass, empty values too."""
    check_body("webpush", Body(b"{}", {"TTL": "60", "Urgency": "high", "T": ""}), 100)


@pytest.mark.parametrize("payload", [b"[1]", b'"text"', b"5", b"null", b"{}"])
def test_a_webpush_payload_is_any_json(payload: bytes) -> None:
    """The page's own code reads it, so that nothing but JSON is asked of it."""
    check_body("webpush", Body(payload), 100)


def test_a_webpush_payload_has_the_limit_of_the_push_services() -> None:
    """3993 bytes fit into one record; a smaller limit of ours still counts."""
    check_body("webpush", Body(b'"' + b"x" * 3991 + b'"'), 65_536)
    for size, limit in ((3992, 65_536), (9, 10)):
        with pytest.raises(BadRequest, match=r"webpush\.payload: must be at most"):
            check_body("webpush", Body(b'"' + b"x" * size + b'"'), limit)
    with pytest.raises(BadRequest, match=r"webpush\.payload: must be JSON in UTF-8"):
        check_body("webpush", Body(b"{"), 100)


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ({"ttl": "-1"}, "TTL"),
        ({"TTL": ""}, "TTL"),
        ({"TTL": "1.5"}, "TTL"),
        ({"TTL": "2147483648"}, "TTL"),
        ({"Urgency": "urgent"}, "Urgency"),
        ({"urgency": ""}, "Urgency"),
        ({"Topic": ""}, "Topic"),
        ({"Topic": "x" * 33}, "Topic"),
        ({"TOPIC": "two words"}, "Topic"),
        ({"TTL": "1", "ttl": "1"}, "TTL"),
    ],
)
def test_webpush_headers_that_no_push_service_takes(
    headers: dict[str, str], name: str
) -> None:
    """What would fail at every endpoint is refused once, by the header's name."""
    with pytest.raises(BadRequest) as caught:
        check_body("webpush", Body(b"{}", headers), 100)
    assert caught.value.field == f"notification.webpush.headers.{name}"


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ({"x-custom": "1"}, "x-custom"),
        ({"apns-colapse-id": "1"}, "apns-colapse-id"),
        ({"apns-priority": "7"}, "apns-priority"),
        ({"apns-priority": ""}, "apns-priority"),
        ({"APNS-Push-Type": "Alert"}, "APNS-Push-Type"),
        ({"apns-expiration": "soon"}, "apns-expiration"),
        ({"apns-expiration": "1700000000000"}, "apns-expiration"),
        ({"apns-expiration": "-1"}, "apns-expiration"),
        ({"apns-id": "1"}, "apns-id"),
        ({"apns-collapse-id": "x" * 65}, "apns-collapse-id"),
        ({"apns-collapse-id": ""}, "apns-collapse-id"),
        ({"apns-topic": "com.example app"}, "apns-topic"),
        ({"apns-priority": "5", "Apns-Priority": "10"}, "Apns-Priority"),
        ({"apns-push-type": "background", "apns-priority": "10"}, "apns-priority"),
    ],
)
def test_apns_headers_that_apple_refuses(headers: dict[str, str], name: str) -> None:
    """What every device would be refused is refused once, by the header's name."""
    with pytest.raises(BadRequest) as caught:
        check_body("apns", Body(b"{}", headers), 100)
    assert caught.value.field == f'notification.apns.headers["{name}"]'


def test_an_apns_payload_has_apples_limit() -> None:
    """4096 bytes, a call 5120; a smaller limit of ours still counts."""
    voip = {"Apns-Push-Type": "voip"}
    check_body("apns", Body(_sized(4096)), 65_536)
    check_body("apns", Body(_sized(5120), voip), 65_536)
    for size, limit, headers in ((4097, 65_536, {}), (5121, 65_536, voip), (9, 8, {})):
        with pytest.raises(BadRequest, match=r"apns\.payload: must be at most"):
            check_body("apns", Body(_sized(size), headers), limit)


def _sized(size: int) -> bytes:
    return b'{"a":"' + b"x" * (size - 8) + b'"}'


def test_every_provider_has_a_body_field() -> None:
    """Each known provider's body is named as the schema spells it."""
    assert body_field("one-signal") == (
        "notification.one_signal",
        "notification.one_signal.message",
    )
    assert len({body_field(provider) for provider in SERVICES}) == len(SERVICES)


def test_canonical_form() -> None:
    """Spaces and key order go; values stay."""
    assert canonical_body(b'{ "b": [2, 1], "a": "x" }') == b'{"a":"x","b":[2,1]}'
