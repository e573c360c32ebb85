"""Connections to addresses that the caller chose instead of the resolver."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence

import pytest
from tests.support.certificates import Ca, make_ca
from tests.support.dead_addresses import dropping, silent
from tests.support.h2_server import H2Peer, H2Server, answer_all, serve_h2
from tests.support.http2_client import head_for, pool_for, until_answered

from tocsin.http2 import (
    Http2ConnectError,
    Http2RequestError,
    build_ssl_context,
    look_up,
)

HOST = "push.example"


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Ca:
    return make_ca(tmp_path_factory.mktemp("ca"))


def tls_of(ca: Ca, host: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*ca.issue((host,)))
    context.set_alpn_protocols(["h2"])
    return context


def origin_of(server: H2Server) -> str:
    return f"https://{HOST}:{server.origin.rpartition(':')[2]}"


def answering(
    *addresses: str, asked: list[tuple[str, int]] | None = None
) -> Callable[[str, int], Awaitable[Sequence[str]]]:
    async def resolve(host: str, port: int) -> Sequence[str]:
        if asked is not None:
            asked.append((host, port))
        return addresses

    return resolve


async def test_the_systems_resolver_gives_numbers() -> None:
    """Each address once, without a port."""
    assert await look_up("127.0.0.1", 443) == ["127.0.0.1"]
    assert set(await look_up("localhost", 443)) <= {"127.0.0.1", "::1"}


async def test_the_chosen_address_is_dialled_under_the_name_of_the_host(ca: Ca) -> None:
    """The name never reaches a resolver; SNI and certificate are the host's."""
    asked: list[tuple[str, int]] = []
    async with serve_h2(answer_all, tls=tls_of(ca, HOST)) as server:
        origin = origin_of(server)
        async with pool_for(
            origin,
            ssl_context=build_ssl_context(str(ca.pem_path)),
            resolve=answering("127.0.0.1", asked=asked),
        ) as pool:
            assert (await pool.request(head_for(origin))).status == 200
    assert asked == [(HOST, int(origin.rpartition(":")[2]))]


async def test_the_next_address_is_tried(ca: Ca) -> None:
    """One of several machines may be down."""
    async with serve_h2(answer_all, tls=tls_of(ca, HOST)) as server:
        origin = origin_of(server)
        async with pool_for(
            origin,
            ssl_context=build_ssl_context(str(ca.pem_path)),
            resolve=answering("::1", "127.0.0.9", "127.0.0.1"),
        ) as pool:
            assert (await pool.request(head_for(origin))).status == 200


async def test_a_certificate_of_another_host_is_refused(ca: Ca) -> None:
    """A chosen address is no reason to trust who answers there."""
    trust = build_ssl_context(str(ca.pem_path))
    async with (
        serve_h2(answer_all, tls=tls_of(ca, "127.0.0.1")) as server,
        pool_for(
            origin_of(server), ssl_context=trust, resolve=answering("127.0.0.1")
        ) as pool,
    ):
        with pytest.raises(Http2ConnectError, match="certificate"):
            await pool.wait_room()


@pytest.mark.parametrize("reason", ["no address that may be dialled", ""])
async def test_a_resolver_that_refuses_is_a_failed_attempt(reason: str) -> None:
    """Nothing is dialled; whoever waits reads why."""

    async def resolve(_host: str, _port: int) -> Sequence[str]:
        if reason:
            raise OSError(reason)
        return ()

    async with pool_for(
        f"https://{HOST}:9", ssl_context=build_ssl_context(), resolve=resolve
    ) as pool:
        with pytest.raises(Http2ConnectError, match=reason or "no address"):
            await pool.wait_room()


FIRST = "127.0.0.2"


async def test_an_address_that_drops_packets_blocks_nobody(ca: Ca) -> None:
    """As IPv6 without a way out: the next address is tried long before it gives up."""
    async with serve_h2(answer_all, tls=tls_of(ca, HOST)) as server:
        origin = origin_of(server)
        with dropping(FIRST, int(origin.rpartition(":")[2])):
            async with pool_for(
                origin,
                ssl_context=build_ssl_context(str(ca.pem_path)),
                resolve=answering(FIRST, "127.0.0.1"),
            ) as pool:
                assert (await pool.request(head_for(origin))).status == 200


@pytest.mark.parametrize("greets", [False, True], ids=["no TLS", "no SETTINGS"])
async def test_an_address_that_stays_silent_blocks_nobody(ca: Ca, greets: bool) -> None:
    """A machine in between may take the connection; it is tried once, then last."""
    async with serve_h2(answer_all, tls=tls_of(ca, HOST)) as server:
        origin = origin_of(server)
        port = int(origin.rpartition(":")[2])
        tls = tls_of(ca, HOST) if greets else None
        async with (
            silent(FIRST, port, tls=tls) as silence,
            pool_for(
                origin,
                ssl_context=build_ssl_context(str(ca.pem_path)),
                connect_timeout_s=2,
                resolve=answering(FIRST, "127.0.0.1"),
            ) as pool,
        ):
            for _ in range(2):
                assert (await pool.request(head_for(origin))).status == 200
                pool.retire()
            async with asyncio.timeout(10):
                await silence.all_gone()
            assert silence.taken == 1


async def test_an_address_that_never_answers_requests_is_left(ca: Ca) -> None:
    """It greets, and ends every connection without an answer: another one may work."""

    async def drop(peer: H2Peer) -> None:
        await peer.request()
        peer.drop()

    async with serve_h2(answer_all, tls=tls_of(ca, HOST)) as server:
        origin = origin_of(server)
        port = int(origin.rpartition(":")[2])
        async with (
            serve_h2(drop, tls=tls_of(ca, HOST), port=port, host=FIRST),
            pool_for(
                origin,
                ssl_context=build_ssl_context(str(ca.pem_path)),
                resolve=answering(FIRST, "127.0.0.1"),
            ) as pool,
        ):
            with pytest.raises(Http2RequestError):
                await pool.request(head_for(origin))
            await until_answered(pool, head_for(origin))
