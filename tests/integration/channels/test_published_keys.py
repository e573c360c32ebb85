"""Token keys fetched over HTTP from a server of the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from tests.support.clock import MovedClock
from tests.support.ports import free_port
from tests.support.tokens import ec_key, jwk, jwks, rsa_key, sign

from tocsin.channels.tokens import TokenInvalid, TokenSettings, TokenVerifier
from tocsin.core.ports.channels import JwksUnavailable
from tocsin.transports.key_fetcher import MAX_BYTES, TRIES, HttpKeyFetcher

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def publishing(handler: Handler) -> AsyncIterator[str]:
    """A server whose every path is answered by the handler."""
    app = web.Application()
    app.router.add_get("/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


@pytest.fixture
async def fetcher() -> AsyncIterator[HttpKeyFetcher]:
    made = HttpKeyFetcher(timeout_s=0.3)
    yield made
    await made.close()


async def test_tokens_under_published_keys(fetcher: HttpKeyFetcher) -> None:
    """RSA and elliptic curves by kid, at a URL that the issuer chooses."""
    paths: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        paths.append(request.path)
        return web.Response(body=jwks(jwk(rsa_key(), "r"), jwk(ec_key(), "e")))

    async with publishing(answer) as origin:
        settings = TokenSettings(
            jwks_public_endpoint=f"{origin}/{{{{realm}}}}/jwks",
            issuer_regex="^id/(?P<realm>[a-z]+)$",
        )
        verifier = TokenVerifier(settings, clock=MovedClock(), fetcher=fetcher)
        claims = {"sub": "u", "iss": "id/blue"}
        for key, algorithm, kid in (
            (rsa_key(), "RS256", "r"),
            (ec_key(), "ES256", "e"),
        ):
            token = sign(claims, key, algorithm, {"kid": kid})
            assert (await verifier.verify_connection(token)).user == "u"
        token = sign(claims, ec_key(), "ES256", {"kid": "r"})
        with pytest.raises(TokenInvalid):
            await verifier.verify_connection(token)
    assert paths == ["/blue/jwks"]


async def test_a_second_try_may_succeed(fetcher: HttpKeyFetcher) -> None:
    """A server that fails once is asked again at once."""
    asked = 0

    async def answer(_request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.Response(status=503 if asked == 1 else 200, body=b"{}")

    async with publishing(answer) as origin:
        assert await fetcher.fetch(origin) == b"{}"
    assert asked == TRIES


async def fail(_request: web.Request) -> web.StreamResponse:
    return web.Response(status=500)


async def hang(_request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(5)
    return web.Response()


async def overflow(_request: web.Request) -> web.StreamResponse:
    return web.Response(body=b"x" * (MAX_BYTES + 1))


async def circle(request: web.Request) -> web.StreamResponse:
    raise web.HTTPFound(request.path)


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (fail, "HTTP status 500"),
        (hang, "no answer within 0.3 s"),
        (overflow, "ValueError"),
        (circle, "TooManyRedirects"),
    ],
)
async def test_documents_that_cannot_be_had(
    fetcher: HttpKeyFetcher, handler: Handler, reason: str
) -> None:
    """The reason is for the log, and holds no URL."""
    async with publishing(handler) as origin:
        with pytest.raises(JwksUnavailable) as raised:
            await fetcher.fetch(f"{origin}/keys")
    assert str(raised.value) == reason


async def test_nobody_there(fetcher: HttpKeyFetcher) -> None:
    """A refused connection is no other exception either."""
    with pytest.raises(JwksUnavailable):
        await fetcher.fetch(f"http://127.0.0.1:{free_port()}")
