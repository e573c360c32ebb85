"""Certificates that are replaced while a door is open."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.support.api import WITH_KEY, World, serving
from tests.support.certificates import Ca, make_ca
from tests.support.http_api import WITH_KEY as WITH_HTTP_KEY
from tests.support.http_api import serving_http

from tocsin.api.tls import DoorTls, ServerTls, TlsError
from tocsin.protocol import api_pb2, api_pb2_grpc

LIST = api_pb2.DeviceListRequest()
Pair = tuple[Path, Path]


def issued(ca: Ca, clients: Ca | None = None) -> ServerTls:
    cert, key = ca.issue()
    client_ca = None if clients is None else clients.pem_path.read_bytes()
    return ServerTls(cert.read_bytes(), key.read_bytes(), client_ca)


@pytest.fixture
def ca(tmp_path: Path) -> Ca:
    return make_ca(tmp_path / "old", "old")


@pytest.fixture
def other(tmp_path: Path) -> Ca:
    return make_ca(tmp_path / "new", "new")


async def over_http(port: int, ca: Ca, client: Pair | None = None) -> bool:
    """Whether a client that trusts this authority gets an answer."""
    context = ssl.create_default_context(cafile=str(ca.pem_path))
    if client is not None:
        context.load_cert_chain(*client)
    url = f"https://127.0.0.1:{port}/api/device_list"
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, data=b"{}", headers=WITH_HTTP_KEY, ssl=context) as got,
        ):
            return got.status == 200
    except (aiohttp.ClientError, ConnectionError):
        return False


async def over_grpc(port: int, ca: Ca, client: Pair | None = None) -> bool:
    cert, key = client or (None, None)
    credentials = grpc.ssl_channel_credentials(
        ca.pem_path.read_bytes(),
        key.read_bytes() if key else None,
        cert.read_bytes() if cert else None,
    )
    async with grpc.aio.secure_channel(f"localhost:{port}", credentials) as channel:
        stub: Any = api_pb2_grpc.CentrifugoApiStub(channel)
        try:
            await stub.DeviceList(LIST, metadata=WITH_KEY, timeout=10)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            return False
        return True


async def test_a_new_certificate_over_http(ca: Ca, other: Ca) -> None:
    """Handshakes take it; what is connected goes on."""
    tls = DoorTls(issued(ca))
    async with serving_http(World(), gateway={"tls": tls}) as http:
        context = ssl.create_default_context(cafile=str(ca.pem_path))
        url = f"https://127.0.0.1:{http.port}/api/device_list"
        options: dict[str, Any] = {"headers": WITH_HTTP_KEY, "ssl": context}
        async with aiohttp.ClientSession() as session:
            async with session.post(url, data=b"{}", **options) as answer:
                assert answer.status == 200
            tls.replace(issued(other))
            assert await over_http(http.port, other)
            assert not await over_http(http.port, ca)
            # The old connection is kept alive.
            async with session.post(url, data=b"{}", **options) as answer:
                assert answer.status == 200


async def test_a_key_of_another_kind_replaces_the_old_one(ca: Ca, other: Ca) -> None:
    """A context would keep one certificate for each kind of key."""
    tls = DoorTls(issued(ca))
    key = rsa.generate_private_key(65537, 2048)
    async with serving_http(World(), gateway={"tls": tls}) as http:
        tls.replace(signed_by(other, key))
        assert await over_http(http.port, other)
        assert not await over_http(http.port, ca)


def signed_by(ca: Ca, key: rsa.RSAPrivateKey) -> ServerTls:
    """A certificate for an RSA key; those of the authority itself are of another."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    ours, _ = ca.issue()
    model = x509.load_pem_x509_certificate(ours.read_bytes())
    builder = x509.CertificateBuilder(
        issuer_name=model.issuer,
        subject_name=model.subject,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=model.not_valid_before_utc,
        not_valid_after=model.not_valid_after_utc,
        extensions=list(model.extensions),
    )
    cert = builder.sign(ca.key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    return ServerTls(
        cert.public_bytes(pem),
        key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    )


async def test_another_authority_of_clients_over_http(ca: Ca, other: Ca) -> None:
    """Those of the old one stay outside."""
    tls = DoorTls(issued(ca, ca))
    old, new = ca.issue(["a"], client=True), other.issue(["a"], client=True)
    async with serving_http(World(), gateway={"tls": tls}) as http:
        assert await over_http(http.port, ca, old)
        assert not await over_http(http.port, ca, new)
        tls.replace(issued(ca, other))
        assert await over_http(http.port, ca, new)
        assert not await over_http(http.port, ca, old)
        assert not await over_http(http.port, ca)


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
async def test_a_session_of_the_old_authority_is_not_resumed(
    ca: Ca, other: Ca, version: str
) -> None:
    """Its client was let in by a certificate that would not do now."""
    context = ssl.create_default_context(cafile=str(ca.pem_path))
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    context.load_cert_chain(*ca.issue(["a"], client=True))
    tls = DoorTls(issued(ca, ca))

    def resume(port: int, session: ssl.SSLSession | None) -> ssl.SSLSession | None:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
            context.wrap_socket(
                plain, server_hostname="127.0.0.1", session=session
            ) as connection,
        ):
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
            assert connection.session_reused is (session is not None)
            return connection.session

    async with serving_http(World(), gateway={"tls": tls}) as http:
        session = await asyncio.to_thread(resume, http.port, None)
        session = await asyncio.to_thread(resume, http.port, session)
        tls.replace(issued(ca, other))
        with pytest.raises(OSError, match=r"SSL|reset"):
            await asyncio.to_thread(resume, http.port, session)


async def test_a_new_certificate_over_grpc(ca: Ca, other: Ca) -> None:
    """Again and again, for new connections."""
    tls = DoorTls(issued(ca))
    async with serving(World(), tls=tls) as server:
        assert await over_grpc(server.port, ca)
        for now, before in ((other, ca), (ca, other)):
            tls.replace(issued(now))
            assert await over_grpc(server.port, now)
            assert not await over_grpc(server.port, before)


async def test_another_authority_of_clients_over_grpc(ca: Ca, other: Ca) -> None:
    """Those of the old one stay outside."""
    tls = DoorTls(issued(ca, ca))
    old, new = ca.issue(["a"], client=True), other.issue(["a"], client=True)
    async with serving(World(), tls=tls) as server:
        assert await over_grpc(server.port, ca, old)
        tls.replace(issued(ca, other))
        assert await over_grpc(server.port, ca, new)
        assert not await over_grpc(server.port, ca, old)
        assert not await over_grpc(server.port, ca)


async def test_what_cannot_be_served_changes_nothing(ca: Ca, other: Ca) -> None:
    """The old certificate goes on."""
    tls = DoorTls(issued(ca))
    mixed = ServerTls(issued(ca).cert_pem, issued(other).key_pem)
    async with serving_http(World(), gateway={"tls": tls}) as http:
        with pytest.raises(TlsError):
            tls.replace(mixed)
        assert await over_http(http.port, ca)
