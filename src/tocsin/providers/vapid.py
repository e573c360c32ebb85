"""Who we are to a push service: VAPID (RFC 8292), one signed token per origin.

Nothing here is sent anywhere. The private key must not reach a log line or an error.
"""

from __future__ import annotations

import base64
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import orjson
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tocsin.config.vapid_keys import read_subject
from tocsin.core.webpush import decode_key
from tocsin.providers.errors import ProviderSetupError

LIFE_S = 12 * 3600
"""Services take up to 24 hours; half of it leaves room for a clock that is wrong."""
RENEW_EARLY_S = 3600
HOLD_S = 60.0
"""A refusal brings a new token at most once in so long: endpoints that were
subscribed with another key refuse every token, however new."""
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
        expected = _encode(point).decode()
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
        claims = {"aud": audience, "exp": expires_s, "sub": self.subject}
        text = b".".join((_HEAD, _encode(orjson.dumps(claims))))
        r, s = decode_dss_signature(self.private.sign(text, ec.ECDSA(hashes.SHA256())))
        signature = b"".join(n.to_bytes(_NUMBER_BYTES, "big") for n in (r, s))
        token = b".".join((text, _encode(signature))).decode()
        return f"vapid t={token}, k={self.public}"


@dataclass(slots=True)
class _Kept:
    header: str
    expires_s: int
    renewed_at_s: float | None = None


class VapidHeaders:
    """The Authorization header of each origin, signed once and used for hours.

    `clock` gives Unix seconds. Belongs to one event loop.
    """

    def __init__(self, key: VapidKey, *, clock: Callable[[], float] = time.time):
        self._key = key
        self._clock = clock
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def fetch(self, origin: str) -> str:
        """The header to send with."""
        kept = self._kept.get(origin)
        if kept is None or kept.expires_s - self._clock() < RENEW_EARLY_S:
            kept = self._make(origin)
        return kept.header

    def may_renew(self, origin: str, refused: str) -> bool:
        """Whether `renew` would give another header than this refused one."""
        kept = self._kept.get(origin)
        if kept is None or kept.header != refused or kept.renewed_at_s is None:
            return True
        return not 0 <= self._clock() - kept.renewed_at_s < HOLD_S

    def renew(self, origin: str, refused: str) -> str:
        """A header other than `refused`, unless one was made just now."""
        if self.may_renew(origin, refused):
            kept = self._kept.get(origin)
            if kept is None or kept.header == refused:
                self._make(origin).renewed_at_s = self._clock()
        return self.fetch(origin)

    def _make(self, origin: str) -> _Kept:
        expires_s = int(self._clock()) + LIFE_S
        kept = _Kept(self._key.sign(origin, expires_s), expires_s)
        self._kept[origin] = kept
        self._kept.move_to_end(origin)
        if len(self._kept) > _KEPT_ORIGINS:
            self._kept.popitem(last=False)
        return kept


def _parse_private(text: str) -> ec.EllipticCurvePrivateKey:
    raw = decode_key(text)
    if len(raw) != _NUMBER_BYTES:
        raise ValueError("has the wrong length")
    return ec.derive_private_key(int.from_bytes(raw, "big"), ec.SECP256R1())


def _encode(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


_HEAD = _encode(b'{"typ":"JWT","alg":"ES256"}')
