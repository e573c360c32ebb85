from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from tests.support.pastings import PEM_WAYS

from tocsin.config import Config
from tocsin.config.checks import find_contradictions
from tocsin.config.vapid_keys import (
    find_subject_fault,
    read_private,
    read_public,
    read_subject,
)

KEY = ec.generate_private_key(ec.SECP256R1())
POINT = KEY.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
SHORT = KEY.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
NUMBER = KEY.private_numbers().private_value.to_bytes(32, "big")


def url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


PUBLIC, PRIVATE = url(POINT), url(NUMBER)
JWK = {"kty": "EC", "crv": "P-256", "x": url(POINT[1:33]), "y": url(POINT[33:])}


def public(encoding: Encoding) -> bytes:
    return KEY.public_key().public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)


def private(encoding: Encoding, form: PrivateFormat = PrivateFormat.PKCS8) -> bytes:
    return KEY.private_bytes(encoding, form, NoEncryption())


PUBLIC_FORMS: Mapping[str, str] = {
    "as the page has it": PUBLIC,
    "padded": PUBLIC + "=",
    "standard base64": base64.b64encode(POINT).decode(),
    "quoted": f'"{PUBLIC}"\n',
    "folded": PUBLIC[:40] + "\n" + PUBLIC[40:],
    "compressed": url(SHORT),
    "PEM": public(Encoding.PEM).decode(),
    "DER": base64.b64encode(public(Encoding.DER)).decode(),
    "JWK": json.dumps(JWK),
    "JWK of the pair": json.dumps({**JWK, "d": PRIVATE}),
    "web-push's output": json.dumps({"publicKey": PUBLIC, "privateKey": PRIVATE}),
}
PRIVATE_FORMS: Mapping[str, str] = {
    "as libraries have it": PRIVATE,
    "padded": PRIVATE + "=",
    "standard base64": base64.b64encode(NUMBER).decode(),
    "quoted": f"'{PRIVATE}'",
    "PKCS #8": private(Encoding.PEM).decode(),
    "SEC 1": private(Encoding.PEM, PrivateFormat.TraditionalOpenSSL).decode(),
    "behind its parameters": "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n"
    "-----END EC PARAMETERS-----\n"
    + private(Encoding.PEM, PrivateFormat.TraditionalOpenSSL).decode(),
    "DER": url(private(Encoding.DER)),
    "JWK": json.dumps({**JWK, "d": PRIVATE}),
    "web-push's output": json.dumps({"publicKey": PUBLIC, "privateKey": PRIVATE}),
}


@pytest.mark.parametrize("form", PUBLIC_FORMS)
def test_a_public_key_in_any_form(form: str) -> None:
    """What is kept is what a page subscribes with."""
    assert read_public(PUBLIC_FORMS[form]) == PUBLIC


@pytest.mark.parametrize("form", PRIVATE_FORMS)
def test_a_private_key_in_any_form(form: str) -> None:
    """What is kept is the number."""
    assert read_private(PRIVATE_FORMS[form]) == PRIVATE


@pytest.mark.parametrize("way", [way for way in PEM_WAYS if way != "UTF-16"])
def test_a_key_in_pem_however_it_was_pasted(way: str) -> None:
    """An environment file keeps line ends as two characters."""
    pasted = PEM_WAYS[way](private(Encoding.PEM)).decode()
    assert read_private(pasted) == PRIVATE


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (read_public, PRIVATE),
        (read_public, PRIVATE_FORMS["PKCS #8"]),
        (read_private, PUBLIC),
        (read_private, json.dumps(JWK)),
    ],
    ids=["a private number", "a private PEM", "a public point", "a public JWK"],
)
def test_swapped_keys_are_said_to_be_swapped(
    read: Callable[[str], str], text: str
) -> None:
    """The most frequent mistake has its own words."""
    with pytest.raises(ValueError, match="swapped"):
        read(text)


@pytest.mark.parametrize("read", [read_public, read_private])
@pytest.mark.parametrize(
    "text",
    [
        "!",
        "AAAA",
        "{",
        "{}",
        "[]",
        '{"kty":"RSA"}',
        "-----BEGIN X-----",
        json.dumps({**JWK, "x": "AA"}),
        json.dumps({"publicKey": 1, "privateKey": 1}),
        ec.generate_private_key(ec.SECP384R1())
        .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        .decode(),
    ],
    ids=range(10),  # the last key is new in every process
)
def test_what_is_no_key_is_an_error_without_it(
    read: Callable[[str], str], text: str
) -> None:
    """The error says what is wanted, and quotes nothing."""
    with pytest.raises(ValueError, match="P-256") as caught:
        read(text)
    assert len(text) < 10 or text[:20] not in str(caught.value)


@pytest.mark.parametrize(
    "subject",
    [
        "mailto:ops@localhost",
        "mailto:ops@host",
        "mailto:ops@app.invalid",
        "mailto:ops@box.local",
        "mailto:ops@10.0.0.1",
        "mailto:ops@[::1]",
        "mailto:ops@example.test",
        "mailto:ops@a_b.com",
        "mailto:ops@LOCALHOST.",
        "mailto:ops@.com",
        "https://localhost",
        "https://localhost:8443/x",
        "https://127.0.0.1",
        "https://[::1]/",
        "https://intranet",
        "https://a.internal",
    ],
)
def test_a_subject_that_apple_refuses_is_found_at_the_start(subject: str) -> None:
    """Other services take it, so that nobody would notice but iPhones."""
    assert "Apple refuses" in find_subject_fault(read_subject(subject))
    keys = {"vapid_public_key": PUBLIC, "vapid_private_key": PRIVATE}
    path = "push_notifications.webpush.subject"
    assert list(faults(subject=subject, **keys)) == [path]
    assert faults(subject=subject, allow_private_addresses=True, **keys) == {}
    own = {"allowed_endpoint_origins": "https://push.corp.example"}
    assert faults(subject=subject, **own, **keys) == {}


@pytest.mark.parametrize(
    "subject",
    [
        "mailto:ops@example.com",
        "mailto:ops+push@mail.example.co.uk",
        "mailto:a@b.de",
        "https://example.com",
        "https://example.com/contact?x=1",
        "mailto:a@xn--p1ai.ru",
        "https://host.tailscale.ts.net",
        "",
    ],
)
def test_a_subject_that_can_be_reached_is_taken(subject: str) -> None:
    """A mail address or a page of the public internet."""
    assert read_subject(f" {subject}\n") == subject
    assert find_subject_fault(subject) == ""


@pytest.mark.parametrize(
    ("subject", "said"),
    [
        ("ops@example.com", "put mailto: in front"),
        ("mailto:<ops@example.com>", "without blanks, brackets"),
        ("mailto: ops@example.com", "without blanks"),
        ("mailto:Ops <ops@example.com>", "without blanks"),
        ("mailto:a@b@example.com", "must be mailto:someone@example.com"),
        ("mailto://ops@example.com", "must be mailto:someone@example.com"),
        ("mailto:mailto:a@example.com", "must be mailto:someone@example.com"),
        ("http://example.com", "or an https: URL"),
        ("example.com", "or an https: URL"),
        ("https:example.com", "or an https: URL"),
        ("https://exa mple.com", "without blanks"),
        ("mailto:öps@example.com", "must be mailto:someone@example.com"),
        ("tel:+1", "or an https: URL"),
    ],
)
def test_what_is_no_subject_says_what_to_write(subject: str, said: str) -> None:
    """A form that any push service may refuse."""
    with pytest.raises(ValueError, match="must be mailto:someone") as caught:
        read_subject(subject)
    assert said in str(caught.value)


def faults(**webpush: Any) -> dict[str, str]:
    push = {"enabled_providers": ["webpush"], "webpush": webpush}
    made = Config.model_validate(
        {"database": {"sqlite": {"path": "t.db"}}, "push_notifications": push}
    )
    return {found.path: found.message for found in find_contradictions(made)}
