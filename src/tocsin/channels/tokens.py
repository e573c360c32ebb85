"""Channels room: verifies a token and reads what it grants.

It must not fetch keys itself: a `JwksFetcher` brings those that are published.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tocsin.channels.claims import (
    ConnectionClaims,
    SubscriptionClaims,
    TokenExpired,
    TokenInvalid,
    TokenPayload,
    read_connection,
    read_subscription,
)
from tocsin.channels.jwks import KeyCache, fill_endpoint
from tocsin.channels.patterns import compile_pattern
from tocsin.channels.signatures import StaticKeys
from tocsin.core.client_codes import ClientFault
from tocsin.core.ports.channels import JwksFetcher
from tocsin.core.ports.clock import Clock

__all__ = [
    "ConnectionClaims",
    "SubscriptionClaims",
    "TokenExpired",
    "TokenInvalid",
    "TokenSettings",
    "TokenVerifier",
]

_PART = re.compile(r"[A-Za-z0-9_-]*")
MAX_TOKEN_LENGTH = 1 << 20


@dataclass(frozen=True, slots=True)
class TokenSettings:
    """`client.token` or `client.subscription_token` of the configuration.

    An empty key turns its family of algorithms off; `jwks_public_endpoint`
    replaces all keys. `hmac_previous_secret_key_valid_until` is Unix seconds,
    0 for ever.
    """

    hmac_secret_key: str = ""
    hmac_previous_secret_key: str = ""
    hmac_previous_secret_key_valid_until: int = 0
    rsa_public_key: str = ""
    ecdsa_public_key: str = ""
    jwks_public_endpoint: str = ""
    audience: str = ""
    audience_regex: str = ""
    issuer: str = ""
    issuer_regex: str = ""
    user_id_claim: str = ""


class TokenVerifier:
    """Verifies both kinds of token; `replace` swaps keys while it is in use.

    `subscription` is `None` where subscription tokens share the connection
    tokens' keys. With `skip_signature` everybody can forge tokens.
    """

    def __init__(
        self,
        connection: TokenSettings,
        subscription: TokenSettings | None = None,
        *,
        clock: Clock,
        fetcher: JwksFetcher | None = None,
        skip_signature: bool = False,
    ) -> None:
        self._clock = clock
        self._fetcher = fetcher
        self._skip_signature = skip_signature
        self.replace(connection, subscription)

    def replace(
        self, connection: TokenSettings, subscription: TokenSettings | None = None
    ) -> None:
        """Use other keys from now on; raises `ValueError` when one is unusable."""
        # Both are made before either is set: after an error the old keys hold.
        made = _Family(connection, self._clock, self._fetcher, self._skip_signature)
        other = made
        if subscription is not None:
            other = _Family(
                subscription, self._clock, self._fetcher, self._skip_signature
            )
        self._connection, self._subscription = made, other

    async def verify_connection(self, token: str) -> ConnectionClaims:
        """The claims of a connection token.

        Raises `TokenExpired`, `TokenInvalid`, or `ClientFault` (100) while
        published keys cannot be fetched.
        """
        family = self._connection
        payload = await family.verify(token)
        with _proven():
            return read_connection(payload, user_claim=family.settings.user_id_claim)

    async def verify_subscription(self, token: str) -> SubscriptionClaims:
        """The claims of a subscription token; raises as `verify_connection`."""
        family = self._subscription
        payload = await family.verify(token)
        with _proven():
            return read_subscription(payload, user_claim=family.settings.user_id_claim)


class _Family:
    """One set of keys with the rules for audience and issuer."""

    def __init__(
        self,
        settings: TokenSettings,
        clock: Clock,
        fetcher: JwksFetcher | None,
        skip_signature: bool,
    ) -> None:
        self.settings = settings
        self._clock = clock
        self._skip_signature = skip_signature
        self._audience = _compile(settings.audience_regex)
        self._issuer = _compile(settings.issuer_regex)
        self._cache: KeyCache | None = None
        if settings.jwks_public_endpoint:
            if fetcher is None:
                raise ValueError("jwks_public_endpoint needs somebody to fetch it")
            self._cache = KeyCache(fetcher, clock)
        self._keys = StaticKeys(
            hmac=settings.hmac_secret_key,
            hmac_previous=settings.hmac_previous_secret_key,
            hmac_previous_valid_until_s=settings.hmac_previous_secret_key_valid_until,
            rsa=settings.rsa_public_key,
            ecdsa=settings.ecdsa_public_key,
        )

    async def verify(self, token: str) -> TokenPayload:
        """Check audience and issuer, then the signature, then the times."""
        signed, header, payload_text, signature = _split(token)
        payload = TokenPayload(payload_text)
        # Before the signature: where the keys are may depend on them.
        try:
            groups = self._check_parties(payload)
        except TokenInvalid as why:
            why.is_proven = await self._is_signed(header, signed, signature)
            raise
        if not self._skip_signature:
            await self._check_signature(header, groups, signed, signature)
        with _proven():
            self._check_times(payload)
        return payload

    async def _is_signed(
        self, header: Mapping[str, Any], signed: bytes, signature: bytes
    ) -> bool:
        """Whether the signature is good; `False` also where the key cannot be had."""
        if self._skip_signature:
            return True
        try:
            await self._check_signature(header, {}, signed, signature)
        except (TokenInvalid, ClientFault):
            return False
        return True

    async def _check_signature(
        self,
        header: Mapping[str, Any],
        groups: Mapping[str, str],
        signed: bytes,
        signature: bytes,
    ) -> None:
        algorithm = header.get("alg")
        if not isinstance(algorithm, str):
            raise TokenInvalid("header has no alg")
        # RFC 7515: a token with an extension that is not understood is invalid; none is
        # understood here.
        if "crit" in header:
            raise TokenInvalid("header has a crit member")
        if self._cache is None:
            now_s = self._clock.now_ms() // 1000
            good = self._keys.verify(algorithm, signed, signature, now_s=now_s)
        else:
            kid = header.get("kid")
            if not isinstance(kid, str) or not kid:
                raise TokenInvalid("header has no kid")
            url = fill_endpoint(self.settings.jwks_public_endpoint, groups)
            key = await self._cache.fetch(url, kid)
            good = key.verify(algorithm, signed, signature)
            if not good:  # another key may be published under the same `kid` by now
                key = await self._cache.fetch(url, kid, unlike=key)
                good = key.verify(algorithm, signed, signature)
        if not good:
            raise TokenInvalid("signature does not fit")

    def _check_parties(self, payload: TokenPayload) -> dict[str, str]:
        """Audience and issuer; returns the named groups of their patterns."""
        groups: dict[str, str] = {}
        settings = self.settings
        audiences = payload.texts("aud")
        if settings.audience and settings.audience not in audiences:
            raise TokenInvalid("audience is another")
        if self._audience is not None:
            matches = (self._audience.search(each) for each in audiences)
            found = next((match for match in matches if match), None)
            if found is None:
                raise TokenInvalid("audience does not match")
            groups |= _named(found)
        issuer = payload.text("iss")
        if settings.issuer and settings.issuer != issuer:
            raise TokenInvalid("issuer is another")
        if self._issuer is not None:
            found = self._issuer.search(issuer)
            if found is None:
                raise TokenInvalid("issuer does not match")
            groups |= _named(found)
        return groups

    def _check_times(self, payload: TokenPayload) -> None:
        """Raise `TokenExpired`; without leeway, as the published server."""
        now_s = self._clock.now_ms() / 1000
        exp, nbf = payload.seconds("exp"), payload.seconds("nbf")
        if exp is not None and exp <= now_s:
            raise TokenExpired("token has expired")
        if nbf is not None and nbf > now_s:
            raise TokenExpired("token is not valid yet")


@contextmanager
def _proven() -> Iterator[None]:
    """Mark the errors inside as those of a token whose signature is good."""
    try:
        yield
    except TokenInvalid as why:
        why.is_proven = True
        raise


def _split(token: str) -> tuple[bytes, Mapping[str, Any], str, bytes]:
    """What is signed, header, payload text, signature."""
    parts = token.split(".") if len(token) <= MAX_TOKEN_LENGTH else []
    if len(parts) != 3 or not all(_PART.fullmatch(part) for part in parts):
        raise TokenInvalid("not three parts of base64url")
    try:
        header = json.loads(_decode(parts[0]))
        payload = _decode(parts[1]).decode()
        signature = _decode(parts[2])
    except (binascii.Error, ValueError, RecursionError):
        raise TokenInvalid("a part cannot be read") from None
    if not isinstance(header, dict):
        raise TokenInvalid("header is not a JSON object")
    return f"{parts[0]}.{parts[1]}".encode(), header, payload, signature


def _decode(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _compile(pattern: str) -> re.Pattern[str] | None:
    return compile_pattern(pattern) if pattern else None


def _named(match: re.Match[str]) -> dict[str, str]:
    return {name: value for name, value in match.groupdict().items() if value}
