"""Tokens: those that clients prove themselves with, keys, and those of phones."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import structlog
from tests.fuzz.target import Target, require, take
from tests.support.clock import MovedClock
from tests.support.sessions import make_token

from tocsin.channels.claims import ConnectionClaims, SubscriptionClaims
from tocsin.channels.jwks import read_keys
from tocsin.channels.signatures import encode_hmac_token
from tocsin.channels.tokens import (
    TokenExpired,
    TokenInvalid,
    TokenSettings,
    TokenVerifier,
)
from tocsin.core.endpoints import EndpointRules
from tocsin.core.push_services import SERVICES
from tocsin.core.webpush import parse_headers, parse_target

SECRET = "secret-of-the-fuzzer"
_RULES = EndpointRules.of()
_SHORTEST_SECRET = 12
"""A piece of a token of so many characters in an error is a leak."""


def run_client_token(data: bytes) -> None:
    """Only what we signed is believed, and only in the declared errors is it refused.

    The first byte says whether the rest is a token as it comes, or claims that are
    signed here to get past the signature.
    """
    choice, rest = take(data)
    token = _sign(rest) if choice & 1 else rest.decode("utf-8", "replace")
    verifier = TokenVerifier(
        TokenSettings(hmac_secret_key=SECRET, audience_regex="^(?P<a>.*)$")
        if choice & 2
        else TokenSettings(hmac_secret_key=SECRET),
        clock=MovedClock(),
    )
    ways: tuple[Callable[[str], Coroutine[Any, Any, Any]], ...] = (
        verifier.verify_connection,
        verifier.verify_subscription,
    )
    for verify in ways:
        try:
            claims: ConnectionClaims | SubscriptionClaims = asyncio.run(verify(token))
        except (TokenInvalid, TokenExpired) as error:
            _check_silent(str(error), token)
            continue
        _check_claims(claims)
        require(_is_ours(token), "a token is believed that nobody signed")


def _sign(payload: bytes) -> str:
    """A well-signed token with exactly this payload."""
    head = base64.urlsafe_b64encode(b'{"alg":"HS256"}').rstrip(b"=")
    signed = head + b"." + base64.urlsafe_b64encode(payload).rstrip(b"=")
    made = hmac.digest(SECRET.encode(), signed, hashlib.sha256)
    return (signed + b"." + base64.urlsafe_b64encode(made).rstrip(b"=")).decode()


def _is_ours(token: str) -> bool:
    signed, _, signature = token.rpartition(".")
    head = json.loads(base64.urlsafe_b64decode(signed.split(".")[0] + "=="))
    name = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}[head["alg"]]
    made = hmac.digest(SECRET.encode(), signed.encode(), name)
    given = base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
    return made == given


def _check_silent(text: str, token: str) -> None:
    for part in token.split("."):
        if len(part) >= _SHORTEST_SECRET:
            require(part not in text, "an error repeats the token")
    require(SECRET not in text, "an error holds the key")
    require(len(text) < 400, "an error as long as its input")


def _check_claims(claims: ConnectionClaims | SubscriptionClaims) -> None:
    require(claims.expire_at >= 0, "a negative end")
    texts = [claims.user, claims.token_id]
    if isinstance(claims, ConnectionClaims):
        texts += [*claims.channels, *claims.subs, *claims.labels.values()]
    else:
        texts += [claims.channel, claims.client]
    for text in texts:
        require(isinstance(text, str), "a claim of another type")
        text.encode()


def client_token_examples() -> Iterable[bytes]:
    """Tokens, and payloads to be signed."""
    yield b"\0" + make_token(sub="u", exp=1).encode()
    yield b"\0" + encode_hmac_token({"sub": "u", "channel": "a"}, SECRET).encode()
    for claims in (
        {"sub": "u", "exp": 2**40, "info": {"a": 1}, "channels": ["a", "b"]},
        {"sub": "u", "channel": "a", "client": "c", "b64info": "AA==", "iat": 1.5},
        {"sub": "u", "subs": {"a": {"info": 1, "override": {"presence": {}}}}},
        {"sub": "u", "aud": ["a"], "iss": "i", "labels": {"k": "v"}, "meta": {}},
        {"channel": "a", "override": {"join_leave": {"value": True}}, "jti": "x"},
    ):
        yield b"\1" + json.dumps(claims).encode()
        yield b"\3" + json.dumps(claims).encode()


CLIENT_TOKEN = Target(
    "client-token",
    run_client_token,
    client_token_examples,
    words=(
        *(b'"sub":', b'"exp":', b'"channel":"a"', b'"subs":', b'"override":'),
        *(b'"b64info":', b'"info":', b"\\ud800", b"1e999", b"null", b'"aud":'),
        b"eyJhbGciOiJub25lIn0",
    ),
    cpu_ms=150,
)


def run_jwks(data: bytes) -> None:
    """A document gives keys or none; no key accepts a signature of nothing."""
    with structlog.testing.capture_logs():
        keys = read_keys(data, "https://keys.example")
    for key in (keys or {}).values():
        for name in ("RS256", "ES256", "ES384", "ES512", "EdDSA", "HS256", "none"):
            require(
                key.verify(name, b"signed", data[:64]) is False, "a forgery is believed"
            )


def jwks_examples() -> Iterable[bytes]:
    """Documents with a key of each kind, and odd ones."""
    point = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"
    other = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"
    modulus = base64.urlsafe_b64encode((2**1023 + 1155).to_bytes(128)).decode()
    for key in (
        {"kty": "EC", "crv": "P-256", "x": point, "y": other, "kid": "1"},
        {"kty": "RSA", "n": modulus.rstrip("="), "e": "AQAB", "kid": "2", "use": "sig"},
        {"kty": "OKP", "crv": "Ed25519", "x": point, "kid": "3", "alg": "EdDSA"},
        {"kty": "oct", "k": "AA", "kid": "4"},
    ):
        yield json.dumps({"keys": [key]}).encode()


JWKS = Target(
    "published-keys",
    run_jwks,
    jwks_examples,
    words=(b'"kty":', b'"crv":', b'"Ed448"', b'"X25519"', b'"P-521"', b'"e":', b'"n":'),
    longest=4_096,
    cpu_ms=150,
)


# --- tokens of phones --------------------------------------------------------


def run_push_token(data: bytes) -> None:
    """A spelling is final; what is refused is refused without repeating it."""
    choice, rest = take(data)
    names = tuple(SERVICES)
    rules = SERVICES[names[choice % len(names)]].tokens
    text = rest.decode("utf-8", "replace")
    once = rules.comparable(text)
    require(rules.comparable(once) == once, "a second look spells it anew")
    for read_any in (rules.is_marked, rules.stored, rules.selected, rules.origin):
        read_any(text)
    for read in (rules.register, rules.read_target):
        try:
            read(text, _RULES)
        except ValueError as error:
            _check_words(str(error), text)
    try:
        parse_target(text)
    except ValueError as error:
        _check_words(str(error), text)
    try:
        parse_headers({"TTL": text[:20], "urgency": text[:6], "Topic": text})
    except ValueError as error:
        require(len(str(error)) < 400, "an error as long as its input")


def _check_words(error: str, text: str) -> None:
    require(len(error) < 400, "an error as long as its input")
    require(
        len(text) < _SHORTEST_SECRET or text not in error, "an error repeats the token"
    )


def push_token_examples() -> Iterable[bytes]:
    """A token of each service, in the spellings that apps print."""
    token = "0123456789abcdef" * 4
    texts = [
        token,
        f"<{token[:8]} {token[8:]}>",
        f"{{length = 32, bytes = 0x{token}}}",
        base64.b64encode(bytes.fromhex(token)).decode(),
        'Optional("abc:APA91bdef-ghi")',
        "%22ExponentPushToken%5Babc%5D%22",
        "{length=1,bytes=" + " " * 40,
        json.dumps(
            {
                "endpoint": "https://fcm.googleapis.com/fcm/send/abc",
                "keys": {
                    "p256dh": "BGsX0fLhLEJH-Lzm5WOkQPJ3A32BLeszoPShOUXYmMKWT-NC4v4a"
                    "f5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU",
                    "auth": "BTBZMqHH6r4Tts7J_aSIgg",
                },
            }
        ),
        "https://user@updates.push.services.mozilla.com:443/wpush/v2/x",
    ]
    for number in range(len(tuple(SERVICES))):
        for text in texts:
            yield bytes((number,)) + text.encode()


PUSH_TOKEN = Target(
    "push-token",
    run_push_token,
    push_token_examples,
    words=(
        *(b"%25", b"%22", b"Optional(", b"{length = ", b", bytes = ", b"0x", b"\\x"),
        *(b" ", b"\xe2\x80\x8b", b"https://", b"@", b"[::1]", b'"endpoint":', b"="),
    ),
)
