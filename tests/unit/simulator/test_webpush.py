from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import http_ece
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from py_vapid import Vapid02

from tocsin.simulator.exchange import Ending, Reply, Request
from tocsin.simulator.faults import FaultPlan
from tocsin.simulator.ledger import Ledger
from tocsin.simulator.webpush import WebPush, make_vapid_keys

ORIGIN = "https://127.0.0.1:9443"
NOW_S = 1_800_000_000.0


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass
class Sender:
    """Another implementation of both halves: http_ece encrypts, py_vapid signs."""

    service: WebPush
    keys: tuple[str, str] = field(default_factory=make_vapid_keys)

    def claims(self, **changes: Any) -> dict[str, Any]:
        claims = {"aud": ORIGIN, "exp": int(NOW_S) + 3600, "sub": "mailto:a@b.example"}
        return {**claims, **changes}

    def authorization(self, claims: dict[str, Any]) -> str:
        header: str = Vapid02.from_string(self.keys[1]).sign(claims)["Authorization"]
        return header.replace(",k=", ", k=")

    def encrypt(self, subscription: dict[str, Any], plaintext: bytes) -> bytes:
        body: bytes = http_ece.encrypt(
            plaintext,
            private_key=ec.generate_private_key(ec.SECP256R1()),
            dh=_decode(subscription["keys"]["p256dh"]),
            auth_secret=_decode(subscription["keys"]["auth"]),
            version="aes128gcm",
        )
        return body

    def push(
        self,
        subscription: dict[str, Any],
        *,
        body: bytes | None = None,
        claims: dict[str, Any] | None = None,
        method: str = "POST",
        **headers: str | None,
    ) -> Reply:
        merged: dict[str, str | None] = {
            "authorization": self.authorization(claims or self.claims()),
            "ttl": "60",
            "content-encoding": "aes128gcm",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        given = {name: value for name, value in merged.items() if value is not None}
        path = subscription["endpoint"].removeprefix(ORIGIN)
        if body is None:
            body = self.encrypt(subscription, b"hello")
        reply = self.service.answer(Request(method, path, "", given, body))
        assert reply is not None
        return reply


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def service(ledger: Ledger) -> WebPush:
    origins = (ORIGIN, "https://localhost:9443")
    return WebPush(origins, ledger, FaultPlan(), lambda: NOW_S)


@pytest.fixture
def sender(service: WebPush) -> Sender:
    return Sender(service)


def test_a_message_is_decrypted_and_kept(
    service: WebPush, sender: Sender, ledger: Ledger
) -> None:
    """201 with the message's resource; the browser has the plaintext."""
    subscription = service.new_subscription("device-1")
    reply = sender.push(subscription, urgency="high", topic="news")
    assert reply.status == 201
    headers = dict(reply.headers)
    assert headers["location"].startswith(f"{ORIGIN}/m/")
    assert headers["ttl"] == "60"
    received = service.received("device-1")
    assert received is not None
    assert (received.plaintext, received.count) == (b"hello", 1)
    assert received.headers["topic"] == "news"
    assert ledger.delivered == {"device-1": 1}


def _other_browser(sender: Sender) -> bytes:
    return sender.encrypt(sender.service.new_subscription("x"), b"hello")


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"method": "GET"}, 405),
        ({"authorization": None}, 401),
        ({"authorization": "WebPush abc"}, 401),
        ({"authorization": "vapid t=a.b.c, k=d"}, 401),
        ({"claims": {"aud": "https://elsewhere.example"}}, 401),
        ({"claims": {"exp": int(NOW_S) - 1}}, 401),
        ({"claims": {"exp": int(NOW_S) + 90_000}}, 401),
        ({"ttl": None}, 400),
        ({"ttl": "-1"}, 400),
        ({"urgency": "urgent"}, 400),
        ({"topic": "two words"}, 400),
        ({"content_encoding": "aesgcm"}, 415),
        ({"body": b"x" * 4097}, 413),
        ({"body": b""}, 400),
        ({"body": os.urandom(200)}, 400),
        ({"body": _other_browser}, 400),
    ],
    ids=map(str, range(16)),
)
def test_what_no_service_takes(
    service: WebPush,
    sender: Sender,
    ledger: Ledger,
    change: dict[str, Any],
    status: int,
) -> None:
    """Each is refused with its status, and nothing is delivered."""
    subscription = service.new_subscription("device-1")
    if "claims" in change:
        change = {"claims": sender.claims(**change["claims"])}
    if callable(change.get("body")):
        make: Callable[[Sender], bytes] = change["body"]
        change = {"body": make(sender)}
    reply = sender.push(subscription, **change)
    assert reply.status == status
    assert json.loads(reply.body)["code"] == status
    assert ledger.delivered == {}
    assert service.received("device-1") is None


def test_a_signature_by_another_key(service: WebPush, sender: Sender) -> None:
    """The key of the header must be the one that signed."""
    header = sender.authorization(sender.claims())
    other = Sender(service).keys[0]
    forged = f"{header.partition(', k=')[0]}, k={other}"
    reply = sender.push(service.new_subscription(), authorization=forged)
    assert reply.status == 401


def test_a_subscription_is_bound_to_its_key(service: WebPush, sender: Sender) -> None:
    """The key that the page subscribed with is the only one that may push."""
    mine = service.new_subscription(application_server_key=sender.keys[0])
    other = service.new_subscription(application_server_key=make_vapid_keys()[0])
    assert sender.push(mine).status == 201
    assert sender.push(other).status == 403


def test_unknown_subscriptions_are_gone(service: WebPush, sender: Sender) -> None:
    """As after a restart."""
    subscription = service.new_subscription("a")
    subscription["endpoint"] = f"{ORIGIN}/wpush/never-made"
    assert sender.push(subscription).status == 404


@pytest.mark.parametrize(
    ("word", "status", "header"),
    [
        ("dead", 410, ""),
        ("lost", 404, ""),
        ("badpayload", 400, ""),
        ("thirdparty", 400, "x-wns-error-description"),
        ("toobig", 413, ""),
        ("mismatch", 403, ""),
        ("denied", 401, ""),
        ("quotasec", 429, "retry-after"),
        ("quotadate", 429, "retry-after"),
        ("unavailable", 503, "retry-after"),
        ("html", 502, ""),
        ("moved", 301, "location"),
    ],
)
def test_words_of_the_table(
    service: WebPush, sender: Sender, word: str, status: int, header: str
) -> None:
    """The prefix of a subscription's name decides its answer."""
    reply = sender.push(service.new_subscription(f"{word}-1"))
    assert reply.status == status
    assert not header or dict(reply.headers)[header]
    assert service.received(f"{word}-1") is None


def test_faults_that_pass(service: WebPush, sender: Sender) -> None:
    """Refused once, then served."""
    subscription = service.new_subscription("expired-1")
    assert [sender.push(subscription).status for _ in range(2)] == [401, 201]


@pytest.mark.parametrize(
    ("word", "ending", "delivered"),
    [
        ("silent", Ending.SILENCE, 0),
        ("reset", Ending.RESET, 0),
        ("drop", Ending.DROP, 1),
    ],
)
def test_lost_answers(
    service: WebPush,
    sender: Sender,
    ledger: Ledger,
    word: str,
    ending: Ending,
    delivered: int,
) -> None:
    """The message of a dropped connection was accepted before."""
    reply = sender.push(service.new_subscription(f"{word}-1"))
    assert reply.ending is ending
    assert len(ledger.delivered) == delivered


def _control(service: WebPush, method: str, path: str, body: bytes = b"") -> Reply:
    reply = service.answer(Request(method, f"/control/webpush/{path}", "", {}, body))
    assert reply is not None
    return reply


def test_subscriptions_can_be_asked_for(service: WebPush, sender: Sender) -> None:
    """By names or by number; messages are shown as text."""
    made = _control(service, "POST", "subscriptions", b'{"names": ["a b", "c"]}')
    first, _ = json.loads(made.body)["subscriptions"]
    assert first["endpoint"] == f"{ORIGIN}/wpush/a%20b"
    sender.push(first)
    shown = json.loads(_control(service, "GET", "messages/a%20b").body)
    assert (shown["text"], shown["count"]) == ("hello", 1)
    assert _control(service, "GET", "messages/c").status == 404
    many = _control(service, "POST", "subscriptions", b'{"count": 3, "prefix": "p"}')
    assert len(json.loads(many.body)["subscriptions"]) == 3


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"names": 5}', b'{"count":"x"}'])
def test_wrong_wishes(service: WebPush, body: bytes) -> None:
    """The reply says what is needed."""
    assert _control(service, "POST", "subscriptions", body).status == 400


def test_other_paths_are_not_ours(service: WebPush) -> None:
    """The next service is asked."""
    for path in ("/token", "/control/stats", "/wpush", "/control/webpush/else"):
        assert service.answer(Request("GET", path, "", {}, b"")) is None
