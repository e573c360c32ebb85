from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tocsin.core.push_services import SERVICES, InvalidHeader
from tocsin.core.webpush import (
    DEFAULT_TTL_S,
    PushHeaders,
    make_target,
    parse_headers,
    parse_target,
)

POINT = bytes(range(65))
AUTH = bytes(range(100, 116))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _keys(**changes: Any) -> str:
    return json.dumps(
        {"p256dh": _base64url(POINT), "auth": _base64url(AUTH), **changes}
    )


@pytest.mark.parametrize("endpoint", ["https://a.example/x", 'https://a.example/"\\'])
def test_a_target_holds_endpoint_and_keys(endpoint: str) -> None:
    """Made once, read by the provider, and the endpoint is its token."""
    target = make_target(endpoint, _keys())
    parsed = parse_target(target)
    assert (parsed.endpoint, parsed.p256dh, parsed.auth) == (endpoint, POINT, AUTH)
    assert SERVICES.tokens_of("webpush").stored(target) == endpoint


def test_keys_in_the_other_alphabet() -> None:
    """Some libraries pad, or write plain base64."""
    point = base64.b64encode(b"\xff\xfe" + POINT[2:]).decode()
    keys = _keys(p256dh=point, auth=base64.b64encode(AUTH).decode())
    parsed = parse_target(make_target("https://a.example/", keys))
    assert (parsed.p256dh[:2], parsed.auth) == (b"\xff\xfe", AUTH)


@pytest.mark.parametrize(
    "target",
    [
        "",
        "token",
        "[]",
        "{}",
        "[" * 100_000,
        '{"endpoint":"https://a.example/"}',
        '{"endpoint":"https://a.example/","keys":[]}',
        make_target("https://a.example/", ""),
        make_target("https://a.example/", _keys(p256dh="AA")),
        make_target("https://a.example/", _keys(auth=5)),
        make_target("https://a.example/", _keys(auth="é")),
        make_target("https://a.example/", _keys(auth="!!!")),
        make_target("https://a.example/", _keys()).replace('"https://a.example/"', "5"),
    ],
)
def test_what_is_no_target(target: str) -> None:
    """Stored long ago or by somebody else: one error, which repeats nothing."""
    with pytest.raises(ValueError, match=r"the (target|keys|endpoint)") as caught:
        parse_target(target)
    assert "a.example" not in str(caught.value)


@pytest.mark.parametrize(
    ("provider", "target"),
    [
        ("fcm", '{"endpoint":"x"}'),
        ("fcm", "token"),
        ("webpush", "https://a.example/"),
        ("webpush", "{broken"),
        ("webpush", '{"endpoint":5}'),
        ("webpush", "{}"),
    ],
)
def test_other_targets_are_their_own_token(provider: str, target: str) -> None:
    """Only a subscription is more than its token."""
    assert SERVICES.tokens_of(provider).stored(target) == target


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, PushHeaders(DEFAULT_TTL_S)),
        ({"ttl": "0"}, PushHeaders(0)),
        ({"TTL": " 60 ", "Urgency": "High"}, PushHeaders(60, "high")),
        ({"URGENCY": "very-low", "topic": "a_B-1"}, PushHeaders(urgency="very-low")),
        ({"Authorization": "x", "Content-Encoding": "y"}, PushHeaders()),
    ],
)
def test_headers_that_count(headers: dict[str, str], expected: PushHeaders) -> None:
    """Three names in any case; nobody can replace what the provider itself sets."""
    found = parse_headers(headers)
    assert (found.ttl_s, found.urgency) == (expected.ttl_s, expected.urgency)
    assert found.topic == headers.get("topic", "")


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ({"ttl": "soon"}, "TTL"),
        ({"TTL": "99999999999"}, "TTL"),
        ({"urgency": "now"}, "Urgency"),
        ({"topic": "é"}, "Topic"),
        ({"topic": "a", "Topic": "a"}, "Topic"),
    ],
)
def test_headers_that_no_service_takes(headers: dict[str, str], name: str) -> None:
    """The error knows which header it is about."""
    with pytest.raises(InvalidHeader) as caught:
        parse_headers(headers)
    assert caught.value.name == name
