"""A Google service account made up by the simulator: its file and its token check.

It must hold no real credential; the key is made here and works nowhere else.
"""

from __future__ import annotations

import base64
import binascii
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tocsin.simulator.certificates import write_private

PROJECT_ID = "tocsin-simulated"
_EMAIL = f"simulator@{PROJECT_ID}.iam.gserviceaccount.com"
_GOOGLE_TOKEN_URI = "https://oauth2.googleapis.com/token"
"""google-auth signs for this audience whatever the file's token_uri is."""
_SCOPES = frozenset(
    {
        "https://www.googleapis.com/auth/firebase.messaging",
        "https://www.googleapis.com/auth/cloud-platform",
    }
)
_CLOCK_SKEW_S = 300
_LONGEST_LIFE_S = 3600


class InvalidAssertion(Exception):
    """A signed request for an access token that Google would refuse."""


@dataclass(frozen=True, slots=True)
class AccountJudge:
    """What the simulator needs to know of the account that it gave out."""

    email: str
    project_id: str
    token_uri: str
    public_key: rsa.RSAPublicKey

    def check_assertion(self, assertion: str, now_s: float) -> None:
        """Raise `InvalidAssertion` unless Google would grant a token for this JWT."""
        head, claims, signed, signature = _split(assertion)
        if head.get("alg") != "RS256":
            raise InvalidAssertion("Invalid JWT: alg must be RS256")
        try:
            self.public_key.verify(
                signature, signed, padding.PKCS1v15(), hashes.SHA256()
            )
        except InvalidSignature:
            raise InvalidAssertion("Invalid JWT Signature.") from None
        if claims.get("iss") != self.email:
            raise InvalidAssertion("Invalid issuer: Not a service account.")
        if claims.get("aud") not in (self.token_uri, _GOOGLE_TOKEN_URI):
            raise InvalidAssertion(f"Invalid JWT audience, expected {self.token_uri}")
        if _SCOPES.isdisjoint(str(claims.get("scope")).split()):
            raise InvalidAssertion("Invalid scope: firebase.messaging is missing")
        issued, expires = claims.get("iat"), claims.get("exp")
        if not (isinstance(issued, int) and isinstance(expires, int)):
            raise InvalidAssertion("Invalid JWT: iat and exp must be numbers")
        in_window = issued - _CLOCK_SKEW_S <= now_s <= expires + _CLOCK_SKEW_S
        if not in_window or expires - issued > _LONGEST_LIFE_S:
            raise InvalidAssertion(
                "Invalid JWT: Token must be a short-lived token (60 minutes) and in a "
                "reasonable timeframe."
            )


def prepare_service_account(path: Path, token_uri: str) -> AccountJudge:
    """Write the account file and return what checks its signatures.

    The key of an earlier file in the same place is kept, so that a client that
    read it survives a restart on the same port.
    """
    key = _load_key(path) or rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    content = {
        "type": "service_account",
        "project_id": PROJECT_ID,
        "private_key_id": uuid.uuid4().hex,
        "private_key": pem.decode(),
        "client_email": _EMAIL,
        "client_id": "100000000000000000000",
        "auth_uri": token_uri.replace("/token", "/auth"),
        "token_uri": token_uri,
    }
    write_private(path, orjson.dumps(content, option=orjson.OPT_INDENT_2))
    return AccountJudge(_EMAIL, PROJECT_ID, token_uri, key.public_key())


def _load_key(path: Path) -> rsa.RSAPrivateKey | None:
    try:
        content = orjson.loads(path.read_bytes())
        if content["client_email"] != _EMAIL:
            return None
        key = serialization.load_pem_private_key(content["private_key"].encode(), None)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return key if isinstance(key, rsa.RSAPrivateKey) else None


def _split(assertion: str) -> tuple[dict[str, Any], dict[str, Any], bytes, bytes]:
    parts = assertion.split(".")
    if len(parts) != 3:
        raise InvalidAssertion("Invalid JWT: three parts expected")
    try:
        head, claims, signature = (
            base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in parts
        )
        decoded_head, decoded_claims = orjson.loads(head), orjson.loads(claims)
    except (binascii.Error, ValueError):
        raise InvalidAssertion("Invalid JWT: cannot be decoded") from None
    if not (isinstance(decoded_head, dict) and isinstance(decoded_claims, dict)):
        raise InvalidAssertion("Invalid JWT: objects expected")
    return decoded_head, decoded_claims, f"{parts[0]}.{parts[1]}".encode(), signature
