"""Verifies signatures of tokens with keys that it is given. Part of `channels`.

It must not read claims. Cryptography is imported when the first key needs it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tocsin.config.pasted import (
    decode_any_base64,
    find_labels,
    pem_of,
    read_text,
    tidy_pem,
)

if TYPE_CHECKING:  # its import takes longer than the rest of the start
    from jwt.algorithms import Algorithm

_HMAC: Mapping[str, Callable[..., Any]] = {
    "HS256": hashlib.sha256,
    "HS384": hashlib.sha384,
    "HS512": hashlib.sha512,
}
_RSA = ("RS256", "RS384", "RS512")
_ECDSA = ("ES256", "ES384", "ES512")
_BY_CURVE = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}


class StaticKeys:
    """The keys of the configuration; an empty one turns its algorithms off.

    Raises `ValueError` for a key that cannot be read.
    """

    def __init__(
        self,
        *,
        hmac: str = "",
        hmac_previous: str = "",
        hmac_previous_valid_until_s: int = 0,
        rsa: str = "",
        ecdsa: str = "",
    ) -> None:
        self._secret = hmac.encode()
        self._previous = hmac_previous.encode()
        self._previous_until_s = hmac_previous_valid_until_s
        self._public: dict[str, tuple[Algorithm, Any]] = {}
        for names, pem, words in (
            (_RSA, rsa, "rsa_public_key is no RSA public key in PEM"),
            (_ECDSA, ecdsa, "ecdsa_public_key is no ECDSA public key in PEM"),
        ):
            if pem:
                self._public |= _read_pem(names, pem, words)

    def verify(
        self, algorithm: str, signed: bytes, signature: bytes, *, now_s: int
    ) -> bool:
        """Whether the signature fits; `False` for an algorithm without key."""
        if algorithm in _HMAC:
            return self._verify_hmac(algorithm, signed, signature, now_s)
        found = self._public.get(algorithm)
        return found is not None and _fits(*found, signed, signature)

    def _verify_hmac(
        self, algorithm: str, signed: bytes, signature: bytes, now_s: int
    ) -> bool:
        if not self._secret:
            return False
        if _mac_fits(algorithm, self._secret, signed, signature):
            return True
        until_s = self._previous_until_s
        if not self._previous or (until_s > 0 and now_s > until_s):
            return False
        return _mac_fits(algorithm, self._previous, signed, signature)


class PublishedKey:
    """One key of a JWKS document; raises `ValueError` when it cannot be used."""

    def __init__(self, jwk: Mapping[str, Any]) -> None:
        from jwt import algorithms
        from jwt.exceptions import PyJWTError

        table: dict[str, type[algorithms.Algorithm]] = {
            "RSA": algorithms.RSAAlgorithm,
            "EC": algorithms.ECAlgorithm,
            "OKP": algorithms.OKPAlgorithm,
        }
        kind = jwk.get("kty")
        if not isinstance(kind, str) or kind not in table:
            raise ValueError(f"kty {kind!r:.20} is not RSA, EC or OKP")
        if jwk.get("use", "sig") != "sig":
            raise ValueError("the key is not for signatures")
        try:
            key = table[kind].from_jwk(json.dumps(_public_part(jwk)))
        except (PyJWTError, ValueError, TypeError, KeyError) as error:
            raise ValueError(f"unreadable {kind} key: {error}") from None
        names = _algorithms_of(jwk)
        if isinstance(only := jwk.get("alg"), str):
            names = tuple(name for name in names if name == only)
        available = algorithms.get_default_algorithms()
        self._by_name = {name: (available[name], key) for name in names}

    def verify(self, algorithm: str, signed: bytes, signature: bytes) -> bool:
        """Whether the signature fits."""
        found = self._by_name.get(algorithm)
        return found is not None and _fits(*found, signed, signature)


def encode_hmac_token(claims: Mapping[str, Any], secret: str) -> str:
    """A token with these claims, signed with HS256."""
    parts = [
        _encode_part(json.dumps(part, separators=(",", ":"), ensure_ascii=False))
        for part in ({"alg": "HS256", "typ": "JWT"}, claims)
    ]
    signed = ".".join(parts)
    made = hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64.urlsafe_b64encode(made).decode().rstrip('=')}"


def _encode_part(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _public_part(jwk: Mapping[str, Any]) -> dict[str, Any]:
    # A private key that was published by mistake is used as a public one.
    return {
        name: jwk[name] for name in ("kty", "n", "e", "crv", "x", "y") if name in jwk
    }


def _algorithms_of(jwk: Mapping[str, Any]) -> tuple[str, ...]:
    match jwk.get("kty"):
        case "RSA":
            return _RSA
        case "EC":
            name = _BY_CURVE.get(str(jwk.get("crv")))
            return (name,) if name else ()
        case _:
            return ("EdDSA",) if jwk.get("crv") == "Ed25519" else ()


def _read_pem(
    names: tuple[str, ...], pem: str, words: str
) -> dict[str, tuple[Algorithm, Any]]:
    from jwt.algorithms import get_default_algorithms
    from jwt.exceptions import PyJWTError

    pem = _public_pem(pem)
    available = get_default_algorithms()
    found: dict[str, tuple[Algorithm, Any]] = {}
    for name in names:
        try:
            found[name] = (available[name], available[name].prepare_key(pem))
        except (PyJWTError, ValueError, TypeError):
            continue  # each ES algorithm has its own curve: a key fits one of them
    if not found:
        raise ValueError(words)
    return found


def _public_pem(text: str) -> str:
    """A pasted public key as PEM; of a certificate, the key in it."""
    pem = tidy_pem(text)
    if not pem:
        der = decode_any_base64(read_text(text))
        return pem_of(der, "PUBLIC KEY") if der else text
    if find_labels(pem)[0] != "CERTIFICATE":
        return pem
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    try:
        key = x509.load_pem_x509_certificate(pem.encode()).public_key()
    except ValueError:
        return pem
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()


def _mac_fits(algorithm: str, key: bytes, signed: bytes, signature: bytes) -> bool:
    made = hmac.new(key, signed, _HMAC[algorithm]).digest()
    # In constant time, so that a forger learns nothing from it.
    return hmac.compare_digest(made, signature)


def _fits(algorithm: Algorithm, key: Any, signed: bytes, signature: bytes) -> bool:
    return bool(algorithm.verify(signed, key, signature))
