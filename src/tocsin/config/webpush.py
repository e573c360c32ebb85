"""The section of Web Push: VAPID keys and the origins it may reach. Part of `config`.

It must not resolve or call an origin.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from tocsin.config.fields import (
    Bool,
    FilePath,
    Identity,
    Int,
    Secret,
    Shown,
    Text,
    Texts,
)
from tocsin.config.service_section import ServiceSection
from tocsin.config.showing import hide
from tocsin.config.vapid_keys import (
    find_subject_fault,
    read_private,
    read_public,
    read_subject,
)
from tocsin.core.endpoints import EndpointRules

_ORIGIN = re.compile(
    r"https://(?:\*\.)?(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?/?",
    re.IGNORECASE,
)


def decode_key(text: str) -> bytes:
    """Bytes of a key that was read: base64url without padding."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


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


def _check_private(secret: SecretStr) -> SecretStr:
    return SecretStr(read_private(secret.get_secret_value()))


def _check_origins(texts: tuple[str, ...]) -> tuple[str, ...]:
    for text in texts:
        if text != "*" and not _ORIGIN.fullmatch(text):
            raise ValueError(
                f"{hide(text)} is no origin such as https://*.googleapis.com; * is any"
            )
    return texts


Origins = Annotated[Texts, AfterValidator(_check_origins)]


class WebPushSection(ServiceSection):
    """Web Push of the browsers (RFC 8030, 8291, 8292)."""

    NEEDED = ("vapid_public_key", "vapid_private_key", "subject")
    KEPT = ServiceSection.KEPT | {
        "allowed_endpoint_origins",
        "extra_allowed_endpoint_origins",
        "allow_private_addresses",
    }

    vapid_public_key: Annotated[Identity, AfterValidator(read_public)] = ""
    """P-256 public key, the page's applicationServerKey: base64url, PEM or JWK"""
    vapid_private_key: Annotated[Secret, AfterValidator(_check_private)] = SecretStr("")
    """its private key in any of these forms"""
    subject: Annotated[Text, AfterValidator(read_subject)] = ""
    """mailto: or https: address for the push services to reach you at; Apple refuses
    one whose host is none of the public internet"""
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

    @property
    def subject_fault(self) -> str:
        """Why a service that may be reached refuses this subject, or ""."""
        origins = self.allowed_endpoint_origins
        apple = not origins or any(
            one == "*" or one.rstrip("/").endswith("push.apple.com") for one in origins
        )
        if self.allow_private_addresses or not apple:
            return ""
        return find_subject_fault(self.subject)

    def find_contradictions(self) -> Iterator[tuple[str, str]]:
        """See `ServiceSection`."""
        if self.subject_fault:
            yield "subject", self.subject_fault
        private = self.vapid_private_key.get_secret_value()
        if (
            self.vapid_public_key
            and private
            and not is_pair(self.vapid_public_key, private)
        ):
            yield "vapid_public_key", "is not the public key of vapid_private_key"

    def find_dangers(self, path: str) -> Iterator[str]:
        """See `ServiceSection`."""
        if self.allow_private_addresses:
            yield (
                "Web Push endpoints may have private addresses; unset"
                f" {path}.allow_private_addresses outside of tests"
            )

    def endpoint_rules(self) -> EndpointRules:
        """Which endpoints may be registered; the same hold when sending."""
        return EndpointRules.configured(
            self.allowed_endpoint_origins,
            self.extra_allowed_endpoint_origins,
            allow_private=self.allow_private_addresses,
        )
