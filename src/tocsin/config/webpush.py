"""The section of Web Push: VAPID keys and the origins it may reach. Part of `config`.

It must not resolve or call an origin; `checks.py` asks whether both keys are a pair.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from tocsin.config.fields import (
    Bool,
    FilePath,
    Identity,
    Int,
    Secret,
    Section,
    Shown,
    Text,
    Texts,
)
from tocsin.config.showing import hide
from tocsin.config.urls import split_url

_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")
_POINT_BYTES = 65
_NUMBER_BYTES = 32
_ORIGIN = re.compile(
    r"https://(?:\*\.)?(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?/?",
    re.IGNORECASE,
)


def decode_key(text: str) -> bytes:
    """Bytes of base64url without padding; raises ValueError."""
    if not _BASE64URL.fullmatch(text):
        raise ValueError("must be base64url without padding")
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        raise ValueError("must be base64url without padding") from None


def is_pair(public: str, private: str) -> bool:
    """Whether these two checked keys belong to each other."""
    # Here, since a configuration without Web Push needs no cryptography.
    from cryptography.hazmat.primitives.asymmetric import ec

    number = int.from_bytes(decode_key(private), "big")
    try:
        pair = ec.derive_private_key(number, ec.SECP256R1())
    except ValueError:  # zero, or beyond the order of the curve
        return False
    numbers = pair.public_key().public_numbers()
    expected = b"\x04" + b"".join(n.to_bytes(32, "big") for n in (numbers.x, numbers.y))
    return decode_key(public) == expected


def _check_public(text: str) -> str:
    text = text.strip()
    if text:
        point = decode_key(text)
        if len(point) != _POINT_BYTES or point[0] != 4:
            raise ValueError(
                f"must be an uncompressed P-256 point, {_POINT_BYTES} bytes that start "
                "with 0x04, as the page's applicationServerKey is"
            )
    return text


def _check_private(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value().strip()
    if text and len(decode_key(text)) != _NUMBER_BYTES:
        raise ValueError(f"must be a P-256 private key of {_NUMBER_BYTES} bytes")
    return SecretStr(text)


def _check_subject(text: str) -> str:
    text = text.strip()
    if not text:
        return text
    parts = split_url(text, "mailto:someone@example.com")
    mail = parts.scheme == "mailto" and "@" in parts.path
    if not (mail or (parts.scheme == "https" and parts.hostname)) or (
        not text.isascii() or not text.isprintable() or " " in text
    ):
        raise ValueError("must be mailto:someone@example.com or an https: URL")
    return text


def _check_origins(texts: tuple[str, ...]) -> tuple[str, ...]:
    for text in texts:
        if text != "*" and not _ORIGIN.fullmatch(text):
            raise ValueError(
                f"{hide(text)} is no origin such as https://*.googleapis.com; * is any"
            )
    return texts


Origins = Annotated[Texts, AfterValidator(_check_origins)]


class WebPush(Section):
    """Web Push of the browsers (RFC 8030, 8291, 8292)."""

    vapid_public_key: Annotated[Identity, AfterValidator(_check_public)] = ""
    """P-256 public key, base64url: the page's applicationServerKey"""
    vapid_private_key: Annotated[Secret, AfterValidator(_check_private)] = SecretStr("")
    """its private key, base64url"""
    subject: Annotated[Text, AfterValidator(_check_subject)] = ""
    """mailto: or https: address for the push services to reach you at"""
    ca_file: FilePath = ""
    """PEM file added to the system's roots"""
    tokens_batch_size: Annotated[Int, Field(ge=1, le=10_000)] = 100
    """recipients per batch"""
    allowed_endpoint_origins: Annotated[Origins, Shown("built in")] = ()
    """origins that subscriptions may have: `https://host[:port]`, `https://*.host` or
    `*`; replaces the push services of Google, Apple, Microsoft and Mozilla"""
    extra_allowed_endpoint_origins: Origins = ()
    """added to the list"""
    allow_private_addresses: Bool = False
    """for tests: connect to private addresses too, and take IP addresses in endpoints;
    logged at every start; the origin list still holds"""
