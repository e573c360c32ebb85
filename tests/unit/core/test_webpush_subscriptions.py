from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tocsin.core.endpoints import EndpointRules
from tocsin.core.webpush import Subscriptions, decode_key, parse_target
from tocsin.core.webpush import parse_subscription as parse_by_rules


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _point() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )


POINT = _base64url(_point())
AUTH = _base64url(bytes(range(16)))


ANYWHERE = EndpointRules(None)


def parse_subscription(text: str) -> tuple[str, str]:
    return parse_by_rules(text, ANYWHERE)


def _text(
    endpoint: Any = "https://push.example/abc", p256dh: Any = POINT, auth: Any = AUTH
) -> str:
    return json.dumps(
        {
            "endpoint": endpoint,
            "expirationTime": None,
            "keys": {"p256dh": p256dh, "auth": auth},
        }
    )


def test_subscription_of_a_browser() -> None:
    """The endpoint becomes the token; the keys are kept as JSON text."""
    endpoint, keys = parse_subscription(_text())
    assert endpoint == "https://push.example/abc"
    assert json.loads(keys) == {"p256dh": POINT, "auth": AUTH}


def test_target_of_a_subscription() -> None:
    """A send carries endpoint and keys, in one form for equal subscriptions."""
    made = Subscriptions().read_target(_text(), ANYWHERE)
    shuffled = json.dumps(dict(reversed(json.loads(_text()).items())), indent=1)
    assert Subscriptions().read_target(shuffled, ANYWHERE) == made
    target = parse_target(made)
    assert target.endpoint == "https://push.example/abc"
    assert _base64url(target.p256dh) == POINT
    assert _base64url(target.auth) == AUTH


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://PUSH.example/abc",
        "HTTPS://push.example:443/abc",
        "https://push.example/abc#part",
        "https://push.example:0443/abc",
    ],
)
def test_a_browser_has_one_spelling(endpoint: str) -> None:
    """Of its endpoint and of its keys, padded or in the other alphabet."""
    parsed = parse_subscription(_text())
    standard = [
        base64.b64encode(key).decode() for key in (decode_key(POINT), b"a" * 16)
    ]
    other = _text(endpoint=endpoint, p256dh=standard[0], auth=standard[1])
    same = parse_subscription(_text(auth=_base64url(b"a" * 16)))
    assert parse_subscription(other) == same
    assert same[0] == parsed[0]


def test_the_path_of_an_endpoint_is_letters() -> None:
    """It is the push service's own, and stays as it was written."""
    for path in ("/AbC", "/a%2Fb", "//a/../b", "/a?x=Y", "/"):
        endpoint = f"https://push.example{path}"
        assert parse_subscription(_text(endpoint))[0] == endpoint
    bare = parse_subscription(_text("https://push.example"))
    assert bare[0] == "https://push.example/"


def test_the_origin_must_be_allowed() -> None:
    """By default only the push services of the browsers are."""
    rules = EndpointRules.of()
    parse_by_rules(_text("https://fcm.googleapis.com/fcm/send/x"), rules)
    with pytest.raises(ValueError, match="endpoint origin is not in push_noti"):
        parse_by_rules(_text(), rules)


def test_points_of_the_curve_pass() -> None:
    """Our own curve equation agrees with the library's on random keys."""
    for _ in range(20):
        parse_subscription(_text(p256dh=_base64url(_point())))


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "PushSubscription"),
        ("plain-token", "PushSubscription"),
        ("[]", "PushSubscription"),
        ("[" * 100_000, "PushSubscription"),
        ("{}", "endpoint"),
        ('{"endpoint":"https://a.example/"}', "keys"),
        ('{"endpoint":"https://a.example/","keys":[]}', "keys"),
        (_text(endpoint=5), "endpoint"),
        (_text(endpoint="http://push.example/abc"), "endpoint"),
        (_text(endpoint="https://127.0.0.1/abc"), "endpoint"),
        (_text(endpoint="https://127.1/abc"), "endpoint"),
        (_text(endpoint="https://0x7f000001/abc"), "endpoint"),
        (_text(endpoint="https://2130706433/abc"), "endpoint"),
        (_text(endpoint="https://[::1]/abc"), "endpoint"),
        (_text(endpoint="https://[::1/abc"), "endpoint"),
        (_text(endpoint="https://user:pw@push.example/"), "endpoint"),
        (_text(endpoint="https:///abc"), "endpoint"),
        (_text(endpoint="https://push.example:99999/"), "endpoint"),
        (_text(endpoint="https://push.example/a b"), "endpoint"),
        (_text(endpoint="https://push.example/\n"), "endpoint"),
        (_text(endpoint="https://push.exämple/"), "endpoint"),
        (_text(p256dh=None), "p256dh"),
        (_text(p256dh="!!!"), "p256dh"),
        (_text(p256dh="é"), "p256dh"),
        (_text(p256dh=AUTH), "p256dh"),
        (_text(p256dh=_base64url(b"\x04" + b"\x01" * 64)), "p256dh"),
        (_text(p256dh=_base64url(b"\x04" + b"\xff" * 64)), "p256dh"),
        (_text(p256dh=_base64url(b"\x03" + _point()[1:])), "p256dh"),
        (_text(auth=""), "auth"),
        (_text(auth=_base64url(b"short")), "auth"),
    ],
)
def test_bad_subscription(text: str, part: str) -> None:
    """What is wrong with a subscription is named."""
    with pytest.raises(ValueError, match=part):
        parse_subscription(text)


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://fcm.googleapis.com/fcm/send/a:b",
        "https://updates.push.services.mozilla.com/wpush/v2/x",
        "https://wns2-par02p.notify.windows.com/w/?token=x%3d",
        "https://push.example:8443/x",
    ],
)
def test_endpoints_in_use(endpoint: str) -> None:
    """Endpoints as the browsers' push services make them pass."""
    assert parse_subscription(_text(endpoint))[0] == endpoint
