from __future__ import annotations

import base64
import json
from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from tests.support.browsers import PRIVATE_KEY, PUBLIC_KEY, SUBJECT

from tocsin.providers.errors import ProviderSetupError
from tocsin.providers.vapid import (
    HOLD_S,
    LIFE_S,
    RENEW_EARLY_S,
    VapidHeaders,
    VapidKey,
)
from tocsin.simulator.webpush import make_vapid_keys

ORIGIN = "https://push.example"


@dataclass
class Clock:
    """Unix seconds that stand still until moved."""

    now_s: float = 1_800_000_000.5

    def __call__(self) -> float:
        return self.now_s


def _key() -> VapidKey:
    return VapidKey.load(PUBLIC_KEY, PRIVATE_KEY, SUBJECT)


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_a_header_as_rfc_8292_has_it() -> None:
    """Both parameters; ES256 over audience, end and subject."""
    header = _key().sign(ORIGIN, 1_800_043_200)
    scheme, t, k = header.split(" ")
    assert (scheme, k) == ("vapid", f"k={PUBLIC_KEY}")
    head, claims, signature = t.removeprefix("t=").rstrip(",").split(".")
    assert _bytes(head) == b'{"typ":"JWT","alg":"ES256"}'
    assert json.loads(_bytes(claims)) == {
        "aud": ORIGIN,
        "exp": 1_800_043_200,
        "sub": SUBJECT,
    }
    assert b" " not in _bytes(claims)
    raw = _bytes(signature)
    assert len(raw) == 64
    point = ec.EllipticCurvePublicKey.from_encoded_point(
        ec.SECP256R1(), _bytes(PUBLIC_KEY)
    )
    numbers = (int.from_bytes(part, "big") for part in (raw[:32], raw[32:]))
    signed = f"{head}.{claims}".encode()
    point.verify(encode_dss_signature(*numbers), signed, ec.ECDSA(hashes.SHA256()))


@pytest.mark.parametrize(
    ("public", "private", "subject", "key"),
    [
        (PUBLIC_KEY, "", SUBJECT, "vapid_private_key"),
        (PUBLIC_KEY, "!!", SUBJECT, "vapid_private_key"),
        (PUBLIC_KEY, PRIVATE_KEY[:-4], SUBJECT, "vapid_private_key"),
        (PUBLIC_KEY, "A" * 43, SUBJECT, "vapid_private_key"),
        ("", PRIVATE_KEY, SUBJECT, "vapid_public_key"),
        (make_vapid_keys()[0], PRIVATE_KEY, SUBJECT, "vapid_public_key"),
        (PUBLIC_KEY, PRIVATE_KEY, "ops@example.com", "subject"),
    ],
    # Keys are made afresh: names of tests must be the same in every process.
    ids=("none", "no text", "short", "zero", "no public", "another", "no address"),
)
def test_a_wrong_key_is_named(
    public: str, private: str, subject: str, key: str
) -> None:
    """The error carries the configuration key and no secret."""
    with pytest.raises(ProviderSetupError) as caught:
        VapidKey.load(public, private, subject)
    assert caught.value.key == f"push_notifications.webpush.{key}"
    assert PRIVATE_KEY not in str(caught.value)


def test_the_private_key_is_not_shown() -> None:
    """A key in a log line by accident shows its public half only."""
    assert "private" not in repr(_key())


def test_one_header_per_origin_for_hours() -> None:
    """Signed once, renewed an hour before its end, and never for two origins."""
    clock = Clock()
    headers = VapidHeaders(_key(), clock=clock)
    first = headers.fetch(ORIGIN)
    assert headers.fetch("https://other.example") != first
    clock.now_s += LIFE_S - RENEW_EARLY_S - 1
    assert headers.fetch(ORIGIN) == first
    clock.now_s += 2
    assert headers.fetch(ORIGIN) != first


def test_a_refused_header_is_replaced_once() -> None:
    """Endpoints that refuse every token must not bring a signature for each."""
    clock = Clock()
    headers = VapidHeaders(_key(), clock=clock)
    first = headers.fetch(ORIGIN)
    assert headers.may_renew(ORIGIN, first)
    second = headers.renew(ORIGIN, first)
    assert second != first
    # Others still held the first one: they take what is there.
    assert headers.may_renew(ORIGIN, first)
    assert headers.renew(ORIGIN, first) == second
    assert not headers.may_renew(ORIGIN, second)
    assert headers.renew(ORIGIN, second) == second
    clock.now_s += HOLD_S
    assert headers.may_renew(ORIGIN, second)
    assert headers.renew(ORIGIN, second) != second


def test_forgotten_origins_are_signed_again() -> None:
    """The memory is bounded; the oldest goes first."""
    headers = VapidHeaders(_key(), clock=Clock())
    first = headers.fetch(ORIGIN)
    for number in range(255):
        headers.fetch(f"https://{number}.example")
    assert headers.fetch(ORIGIN) == first
    headers.fetch("https://one-more.example")
    assert headers.fetch(ORIGIN) != first


def test_a_header_made_for_a_refusal_is_held_from_then_on() -> None:
    """Whoever signed it first: an origin that was forgotten counts as refused, too."""
    clock = Clock()
    headers = VapidHeaders(_key(), clock=clock)
    assert headers.may_renew(ORIGIN, "of a process before")
    made = headers.renew(ORIGIN, "of a process before")
    assert not headers.may_renew(ORIGIN, made)
    clock.now_s -= 3600
    assert headers.may_renew(ORIGIN, made)


def test_a_header_that_is_signed_anew_is_not_the_oldest() -> None:
    """Of all origins that were kept, those signed longest ago are forgotten first."""
    clock = Clock()
    headers = VapidHeaders(_key(), clock=clock)
    headers.fetch(ORIGIN)
    headers.fetch("https://second.example")
    clock.now_s += LIFE_S
    second = headers.fetch("https://second.example")
    for number in range(255):
        headers.fetch(f"https://{number}.example")
    assert headers.fetch("https://second.example") == second
