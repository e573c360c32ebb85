import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448
from tests.support.clock import MovedClock
from tests.support.tokens import (
    ec_key,
    ed_key,
    jwk,
    jwks,
    other_rsa_key,
    rsa_key,
    sign,
    sign_rs256,
)

from tocsin.channels.claims import TokenInvalid
from tocsin.channels.jwks import PAUSE_MS, TTL_MS, KeyCache, fill_endpoint, read_keys
from tocsin.channels.tokens import TokenSettings, TokenVerifier
from tocsin.core.client_codes import INTERNAL, ClientFault
from tocsin.core.ports.channels import JwksUnavailable

URL = "https://keys.example/jwks"


class Published:
    """A `JwksFetcher` over documents at hand; counts how often it is asked."""

    def __init__(self, documents: Mapping[str, bytes]) -> None:
        self.documents = dict(documents)
        self.asked: list[str] = []

    async def fetch(self, url: str) -> bytes:
        self.asked.append(url)
        await asyncio.sleep(0)
        if url not in self.documents:
            raise JwksUnavailable("HTTP status 404")
        return self.documents[url]


def verifier(
    published: Published, clock: MovedClock | None = None, **more: Any
) -> TokenVerifier:
    settings = TokenSettings(jwks_public_endpoint=URL, **more)
    return TokenVerifier(settings, clock=clock or MovedClock(), fetcher=published)


KEYS = {
    "RS256": rsa_key(),
    "RS512": rsa_key(),
    "ES256": ec_key("ES256"),
    "ES384": ec_key("ES384"),
    "ES512": ec_key("ES512"),
    "EdDSA": ed_key(),
}


@pytest.mark.parametrize("algorithm", list(KEYS))
async def test_every_kind_of_published_key_is_taken(algorithm: str) -> None:
    """RSA, the three curves, and Ed25519."""
    key = KEYS[algorithm]
    published = Published({URL: jwks(jwk(key, "k1"))})
    token = sign({"sub": "u"}, key, algorithm, {"kid": "k1"})
    assert (await verifier(published).verify_connection(token)).user == "u"


@pytest.mark.parametrize(
    ("document", "header"),
    [
        (jwks(jwk(rsa_key(), "k1")), {}),
        (jwks(jwk(rsa_key(), "k1")), {"kid": ""}),
        (jwks(jwk(rsa_key(), "k1")), {"kid": 1}),
        (jwks(jwk(rsa_key(), "k1")), {"kid": ["k1"]}),
        (jwks(jwk(rsa_key(), "k1", kty=["RSA"])), {"kid": "k1"}),
        (jwks(jwk(rsa_key(), "k1")), {"kid": "k2"}),
        (jwks(jwk(rsa_key(), "k1", use="enc")), {"kid": "k1"}),
        (jwks(jwk(rsa_key(), "k1", alg="RS512")), {"kid": "k1"}),
        (jwks(jwk(ec_key(), "k1")), {"kid": "k1"}),
        (jwks({"kty": "oct", "k": "c2VjcmV0", "kid": "k1"}), {"kid": "k1"}),
        (jwks({"kty": "RSA", "kid": "k1"}), {"kid": "k1"}),
        (b"not JSON", {"kid": "k1"}),
        (b"[]", {"kid": "k1"}),
        (b'{"keys": 1}', {"kid": "k1"}),
        (b'{"keys": [1]}', {"kid": "k1"}),
    ],
)
async def test_tokens_without_a_fitting_published_key(
    document: bytes, header: dict[str, Any]
) -> None:
    """They are invalid, whatever the document holds."""
    published = Published({URL: document})
    token = sign_rs256({"alg": "RS256", **header}, {"sub": "u"}, rsa_key())
    with pytest.raises(TokenInvalid):
        await verifier(published).verify_connection(token)


async def test_keys_from_an_endpoint_can_be_set_while_in_use() -> None:
    """Whoever fetched them before fetches them from the new one."""
    other = "https://other.example/jwks"
    published = Published({other: jwks(jwk(rsa_key(), "k1"))})
    made = verifier(published)
    settings = TokenSettings(jwks_public_endpoint=other)
    made.replace(TokenSettings(hmac_secret_key="secret"), settings)
    token = sign({"channel": "c"}, rsa_key(), "RS256", {"kid": "k1"})
    assert (await made.verify_subscription(token)).channel == "c"
    assert published.asked == [other]


async def test_published_keys_replace_those_of_the_configuration() -> None:
    """The secret does not help any more."""
    published = Published({URL: jwks(jwk(rsa_key(), "k1"))})
    made = verifier(published, hmac_secret_key="secret")
    with pytest.raises(TokenInvalid):
        await made.verify_connection(sign({}, "secret", "HS256", {"kid": "k1"}))


async def test_a_document_is_fetched_once_an_hour() -> None:
    """And once for everybody who waits for it."""
    clock = MovedClock()
    published = Published({URL: jwks(jwk(rsa_key(), "k1"))})
    cache = KeyCache(published, clock)
    await asyncio.gather(*(cache.fetch(URL, "k1") for _ in range(5)))
    clock.move_ms(TTL_MS - 1)
    await cache.fetch(URL, "k1")
    assert len(published.asked) == 1
    clock.move_ms(1)
    await cache.fetch(URL, "k1")
    assert len(published.asked) == 2


async def test_a_new_key_is_found_and_forged_ones_are_no_load() -> None:
    """An unknown kid fetches again, at most once a second."""
    clock = MovedClock()
    published = Published({URL: jwks(jwk(rsa_key(), "k1"))})
    cache = KeyCache(published, clock)
    await cache.fetch(URL, "k1")
    for number in range(5):
        with pytest.raises(TokenInvalid):
            await cache.fetch(URL, f"forged-{number}")
    assert len(published.asked) == 1
    published.documents[URL] = jwks(jwk(ec_key(), "k2"))
    clock.move_ms(PAUSE_MS)
    await cache.fetch(URL, "k2")
    assert len(published.asked) == 2


@pytest.mark.parametrize("newer", [("ES256", ec_key()), ("RS256", other_rsa_key())])
async def test_a_key_replaced_under_its_name_is_taken_at_once(
    newer: tuple[str, Any],
) -> None:
    """One that does not fit is fetched anew; what it signed before is worth nothing."""
    clock = MovedClock()
    published = Published({URL: jwks(jwk(rsa_key(), "k1"))})
    made = verifier(published, clock)
    old = sign({"sub": "u"}, rsa_key(), "RS256", {"kid": "k1"})
    assert (await made.verify_connection(old)).user == "u"
    algorithm, key = newer
    published.documents[URL] = jwks(jwk(key, "k1"))
    clock.move_ms(PAUSE_MS)
    new = sign({"sub": "u"}, key, algorithm, {"kid": "k1"})
    found = await asyncio.gather(*(made.verify_connection(new) for _ in range(5)))
    assert [each.user for each in found] == ["u"] * 5
    assert len(published.asked) == 2
    with pytest.raises(TokenInvalid):
        await made.verify_connection(old)


async def test_forged_signatures_are_no_load_on_who_publishes() -> None:
    """A known name with a wrong signature fetches at most once a second."""
    clock = MovedClock()
    published = Published({URL: jwks(jwk(rsa_key(), "k1"))})
    made = verifier(published, clock)
    forged = sign({"sub": "u"}, other_rsa_key(), "RS256", {"kid": "k1"})
    for second in range(3):
        for _ in range(10):
            with pytest.raises(TokenInvalid):
                await made.verify_connection(forged)
        assert len(published.asked) == second + 1
        clock.move_ms(PAUSE_MS)


async def test_forged_tokens_are_no_load_on_an_ailing_server() -> None:
    """While it fails it is asked once a second; good keys that are known serve on."""
    clock = MovedClock()
    published = Published({URL: jwks(jwk(rsa_key(), "k1"))})
    made = verifier(published, clock)
    good = sign({"sub": "u"}, rsa_key(), "RS256", {"kid": "k1"})
    await made.verify_connection(good)
    del published.documents[URL]
    clock.move_ms(PAUSE_MS)
    for forged in ("k1", "k2"):
        token = sign({"sub": "u"}, other_rsa_key(), "RS256", {"kid": forged})
        for _ in range(5):
            with pytest.raises(ClientFault) as raised:
                await made.verify_connection(token)
            assert raised.value.error == INTERNAL
    assert len(published.asked) == 2
    assert (await made.verify_connection(good)).user == "u"


async def test_unavailable_keys_are_a_temporary_error() -> None:
    """The client comes again; its token is not called invalid."""
    token = sign({}, rsa_key(), "RS256", {"kid": "k1"})
    with pytest.raises(ClientFault) as raised:
        await verifier(Published({})).verify_connection(token)
    assert raised.value.error == INTERNAL
    assert raised.value.error.temporary


async def test_a_fetch_that_fails_fails_for_all_who_waited() -> None:
    """A crowd does not ask an ailing server one after the other."""
    published, clock = Published({}), MovedClock()
    cache = KeyCache(published, clock)
    found = await asyncio.gather(
        *(cache.fetch(URL, f"k{number}") for number in range(50)),
        return_exceptions=True,
    )
    assert all(isinstance(each, ClientFault) for each in found)
    assert len(published.asked) == 1
    clock.move_ms(PAUSE_MS)
    with pytest.raises(ClientFault):
        await cache.fetch(URL, "k1")
    assert len(published.asked) == 2


async def test_a_page_that_is_no_document_takes_no_key_away() -> None:
    """Known keys serve until their time is over; the page is asked again."""
    clock = MovedClock()
    published = Published({URL: jwks(jwk(rsa_key(), "k1"))})
    cache = KeyCache(published, clock)
    await cache.fetch(URL, "k1")
    clock.move_ms(PAUSE_MS)
    published.documents[URL] = b"<html>back soon</html>"
    with pytest.raises(TokenInvalid):
        await cache.fetch(URL, "k2")
    await cache.fetch(URL, "k1")
    clock.move_ms(TTL_MS)
    with pytest.raises(TokenInvalid):
        await cache.fetch(URL, "k1")


async def test_the_endpoint_can_depend_on_issuer_and_audience() -> None:
    """Named groups of the patterns stand in the URL."""
    url = "https://keys.example/realms/blue/app/jwks"
    published = Published({url: jwks(jwk(rsa_key(), "k1"))})
    settings = TokenSettings(
        jwks_public_endpoint="https://keys.example/realms/{{realm}}/{{ app }}/jwks",
        issuer_regex="^https://id/(?P<realm>[a-z]+)$",
        audience_regex="^(?P<app>app|web)$",
    )
    made = TokenVerifier(settings, clock=MovedClock(), fetcher=published)
    claims = {"iss": "https://id/blue", "aud": "app", "sub": "u"}
    token = sign(claims, rsa_key(), "RS256", {"kid": "k1"})
    assert (await made.verify_connection(token)).user == "u"
    assert published.asked == [url]


@pytest.mark.parametrize(
    ("value", "filled"),
    [
        ("blue", "https://h/blue/x"),
        ("a/b", "https://h/a/b/x"),
        ("a b?c#d@e", "https://h/a%20b%3Fc%23d%40e/x"),
        ("h:1", "https://h/h:1/x"),
        ("", None),
        ("../..", None),
    ],
)
def test_what_a_token_can_do_to_the_url(value: str, filled: str | None) -> None:
    """It is not verified yet: it cannot leave its place."""
    if filled is None:
        with pytest.raises(TokenInvalid):
            fill_endpoint("https://h/{{name}}/x", {"name": value})
    else:
        assert fill_endpoint("https://h/{{name}}/x", {"name": value}) == filled


def test_good_keys_are_read_beside_bad_ones() -> None:
    """A key of a kind we do not know does not hide the others."""
    document = jwks({"kty": "X", "kid": "bad"}, {"kty": "RSA"}, jwk(rsa_key(), "good"))
    assert list(read_keys(document, URL) or ()) == ["good"]


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (ed448.Ed448PrivateKey.generate(), "EdDSA"),
        (ec.generate_private_key(ec.SECP256K1()), "ES256K"),
    ],
)
async def test_other_curves_let_nobody_in(key: Any, algorithm: str) -> None:
    """Though the library knows them; keys beside them are read."""
    document = jwks(jwk(key, "other"), jwk(rsa_key(), "good"))
    made = verifier(Published({URL: document}))
    token = sign({"sub": "u"}, key, algorithm, {"kid": "other"})
    with pytest.raises(TokenInvalid):
        await made.verify_connection(token)
    token = sign({"sub": "u"}, rsa_key(), "RS256", {"kid": "good"})
    assert (await made.verify_connection(token)).user == "u"
