"""VAPID (RFC 8292), which tells a push service who sends: a signed token per origin.

Nothing here is sent anywhere. The private key must not reach a log line or an error.
"""

from __future__ import annotations

import base64
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tocsin.config.vapid_keys import read_subject
from tocsin.core.webpush import decode_key
from tocsin.providers.credential import Issued, RenewedCredential, at_once
from tocsin.providers.errors import ProviderSetupError

LIFE_S = 12 * 3600
"""Services take up to 24 hours; half of it leaves room for a clock that is wrong."""
RENEW_EARLY_S = 3600
HOLD_S = 60.0
"""Seconds between two new tokens after refusals: endpoints that were subscribed with
another key refuse every token, however new."""
_KEPT_ORIGINS = 256
_SECTION = "push_notifications.webpush"
_NUMBER_BYTES = 32


@dataclass(frozen=True, slots=True)
class VapidKey:
    """A checked pair; `public` is base64url of the uncompressed point."""

    public: str
    subject: str
    private: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def load(cls, public: str, private: str, subject: str) -> VapidKey:
        """From base64url texts; raises `ProviderSetupError` naming the key at fault."""
        try:
            pair = _parse_private(private)
        except ValueError:
            raise ProviderSetupError(
                f"{_SECTION}.vapid_private_key",
                f"is no P-256 private key: {_NUMBER_BYTES} bytes as base64url",
            ) from None
        point = pair.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )
        expected = base64.urlsafe_b64encode(point).rstrip(b"=").decode()
        if public.rstrip("=") != expected:
            raise ProviderSetupError(
                f"{_SECTION}.vapid_public_key",
                "is not the public key of vapid_private_key",
            )
        try:
            subject = read_subject(subject)
        except ValueError as error:
            raise ProviderSetupError(f"{_SECTION}.subject", str(error)) from None
        if not subject:
            raise ProviderSetupError(f"{_SECTION}.subject", "must be set")
        return cls(expected, subject, pair)

    def sign(self, audience: str, expires_s: int) -> str:
        """The value of an Authorization header for one origin, until that second."""
        token = jwt.encode(
            {"aud": audience, "exp": expires_s, "sub": self.subject},
            self.private,
            algorithm="ES256",
            sort_headers=False,  # `typ` before `alg`, as RFC 8292 shows it
        )
        return f"vapid t={token}, k={self.public}"


class VapidHeaders:
    """The Authorization header of each origin, signed once and used for hours.

    `clock` gives Unix seconds, as services read the end from the token. Belongs to
    one event loop.
    """

    def __init__(self, key: VapidKey, *, clock: Callable[[], float] = time.time):
        self._key = key
        self._clock = clock
        self._kept: OrderedDict[str, RenewedCredential] = OrderedDict()

    def fetch(self, origin: str) -> str:
        """The header to send with."""
        return self._of(origin).fetch_blocking()

    def may_renew(self, origin: str, refused: str) -> bool:
        """Whether `renew` would give another header than this refused one."""
        kept = self._kept.get(origin)
        return kept is None or kept.may_renew(refused)

    def renew(self, origin: str, refused: str) -> str:
        """A header other than `refused`, unless one was made just now."""
        return self._of(origin).renew_blocking(refused)

    def _of(self, origin: str) -> RenewedCredential:
        kept = self._kept.get(origin)
        if kept is None:
            sign = at_once(lambda refused: self._sign(origin, refused))
            kept = self._kept[origin] = RenewedCredential(sign, clock=self._clock)
            if len(self._kept) > _KEPT_ORIGINS:
                self._kept.popitem(last=False)
        return kept

    def _sign(self, origin: str, refused: str) -> Issued:
        self._kept.move_to_end(origin)  # the origin with the oldest header goes first
        now_s = self._clock()
        expires_s = int(now_s) + LIFE_S
        renew_at_s = expires_s - RENEW_EARLY_S
        header = self._key.sign(origin, expires_s)
        if not refused:
            return Issued(header, renew_at_s, ends_at_s=renew_at_s)
        return Issued(
            header,
            renew_at_s,
            ends_at_s=renew_at_s,
            held_from_s=now_s,
            held_until_s=now_s + HOLD_S,
        )


def _parse_private(text: str) -> ec.EllipticCurvePrivateKey:
    raw = decode_key(text)
    if len(raw) != _NUMBER_BYTES:
        raise ValueError("has the wrong length")
    return ec.derive_private_key(int.from_bytes(raw, "big"), ec.SECP256R1())
