"""Signing keys and a certificate made up by the simulator, and how Apple judges tokens.

It must hold no real credential; the keys are made here and work nowhere else.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import pkcs12

from tocsin.simulator.certificates import issue_client, write_private

TEAM_ID = "TOCSINTEAM"
KEY_ID = "SIMULATED1"
OTHER_KEY_ID = "SIMULATED2"
BUNDLE_ID = "com.example.tocsin"
P12_PASSWORD = "simulated"

_LIFE_S = 3600
# Apple: a token is good for an hour, and a new one may come after 20 minutes.
_LEAST_AGE_S = 1200
_CLOCK_SKEW_S = 300
_SIGNATURE_BYTES = 64


class Refused(Exception):
    """A provider token that Apple would not take: (status, reason)."""

    def __init__(self, status: int, reason: str) -> None:
        self.status = status
        self.reason = reason
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class ApnsFiles:
    """What goes into a client's configuration."""

    key_file: Path
    other_key_file: Path
    p12_file: Path


def prepare_apns(directory: Path) -> tuple[ApnsFiles, TokenJudge]:
    """Write both keys and the certificate; keys of an earlier run are kept."""
    files = ApnsFiles(
        directory / f"AuthKey_{KEY_ID}.p8",
        directory / f"AuthKey_{OTHER_KEY_ID}.p8",
        directory / "apns-client.p12",
    )
    keys = {
        KEY_ID: _prepare_key(files.key_file),
        OTHER_KEY_ID: _prepare_key(files.other_key_file),
    }
    certificate, key = issue_client(directory, BUNDLE_ID)
    locked = serialization.BestAvailableEncryption(P12_PASSWORD.encode())
    p12 = pkcs12.serialize_key_and_certificates(b"apns", key, certificate, None, locked)
    write_private(files.p12_file, p12)
    return files, TokenJudge(keys)


def _prepare_key(path: Path) -> ec.EllipticCurvePublicKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError):
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        write_private(path, pem)
    public = key.public_key()
    if not isinstance(public, ec.EllipticCurvePublicKey):
        raise TypeError(f"{path} holds another kind of key")
    return public


@dataclass(slots=True)
class _Accepted:
    """The tokens of one key that were taken, and when each was first seen."""

    first_seen_s: dict[str, float] = field(default_factory=dict)
    newest_s: float = float("-inf")


class TokenJudge:
    """Takes or refuses provider tokens by Apple's rules."""

    def __init__(self, keys: Mapping[str, ec.EllipticCurvePublicKey]) -> None:
        self._keys = keys
        self._accepted: dict[str, _Accepted] = {}

    @property
    def accepted_count(self) -> int:
        """Different tokens that were taken so far."""
        return sum(len(one.first_seen_s) for one in self._accepted.values())

    def clear(self) -> None:
        """Forget every token seen."""
        self._accepted.clear()

    def check(self, header: str, now_s: float) -> str:
        """The key id of an `authorization` header's token; raises `Refused`."""
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Refused(403, "MissingProviderToken")
        head, claims = self._verify(token)
        issued = claims.get("iat")
        if claims.get("iss") != TEAM_ID or type(issued) is not int:
            raise Refused(403, "InvalidProviderToken")
        if issued > now_s + _CLOCK_SKEW_S:
            raise Refused(403, "InvalidProviderToken")
        if issued <= now_s - _LIFE_S:
            raise Refused(403, "ExpiredProviderToken")
        key_id = str(head["kid"])
        accepted = self._accepted.setdefault(key_id, _Accepted())
        if token not in accepted.first_seen_s:
            # A token that is known stays good; only new ones have to keep
            # their distance.
            if now_s - accepted.newest_s < _LEAST_AGE_S:
                raise Refused(429, "TooManyProviderTokenUpdates")
            accepted.first_seen_s[token] = accepted.newest_s = now_s
        return key_id

    def _verify(self, token: str) -> tuple[dict[str, Any], dict[str, Any]]:
        invalid = Refused(403, "InvalidProviderToken")
        parts = token.split(".")
        if len(parts) != 3:
            raise invalid
        try:
            raw = [base64.urlsafe_b64decode(p + "=" * (-len(p) % 4)) for p in parts]
            head, claims = orjson.loads(raw[0]), orjson.loads(raw[1])
        except (binascii.Error, ValueError):
            raise invalid from None
        if not (isinstance(head, dict) and isinstance(claims, dict)):
            raise invalid
        key = self._keys.get(str(head.get("kid")))
        if head.get("alg") != "ES256" or key is None or len(raw[2]) != _SIGNATURE_BYTES:
            raise invalid
        r, s = (int.from_bytes(raw[2][at : at + 32], "big") for at in (0, 32))
        signed = f"{parts[0]}.{parts[1]}".encode()
        try:
            key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            raise invalid from None
        return head, claims
