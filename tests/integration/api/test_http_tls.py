from __future__ import annotations

import ssl
from pathlib import Path

import aiohttp
import pytest
from cryptography.hazmat.primitives import serialization
from tests.support.api import World
from tests.support.certificates import make_ca
from tests.support.http_api import WITH_KEY, serving_http

from tocsin.api.tls import DoorTls, ServerTls, TlsError


def _context(ca: Path, pair: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(ca))
    if pair is not None:
        context.load_cert_chain(*pair)
    return context


async def _status(port: int, context: ssl.SSLContext) -> int:
    """The status of a call; raises `aiohttp.ClientError` where none comes back."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"https://127.0.0.1:{port}/api/device_list",
            data=b"{}",
            headers=WITH_KEY,
            ssl=context,
        ) as answer,
    ):
        return answer.status


async def test_tls(tmp_path: Path) -> None:
    """The whole port is served by TLS; plain text gets nowhere."""
    ca = make_ca(tmp_path)
    cert, key = ca.issue()
    tls = DoorTls(ServerTls(cert.read_bytes(), key.read_bytes()))
    async with serving_http(World(), gateway={"tls": tls}) as http:
        assert await _status(http.port, _context(ca.pem_path)) == 200
        with pytest.raises(aiohttp.ClientError):
            await http.send("/api/device_list")


async def test_client_certificates(tmp_path: Path) -> None:
    """With a client CA only clients with its certificate come in."""
    ca, other = make_ca(tmp_path / "ours"), make_ca(tmp_path / "other")
    cert, key = ca.issue()
    tls = DoorTls(
        ServerTls(cert.read_bytes(), key.read_bytes(), ca.pem_path.read_bytes())
    )
    async with serving_http(World(), gateway={"tls": tls}) as http:
        good = ca.issue(["client"], client=True)
        assert await _status(http.port, _context(ca.pem_path, good)) == 200
        for pair in (None, other.issue(["client"], client=True)):
            with pytest.raises((aiohttp.ClientError, ConnectionError)):
                await _status(http.port, _context(ca.pem_path, pair))


def test_useless_pem(tmp_path: Path) -> None:
    """PEM that does not fit is told by its key, before the port is opened."""
    ca, other = make_ca(tmp_path / "a"), make_ca(tmp_path / "b")
    cert, key = (path.read_bytes() for path in ca.issue())
    wrong = other.issue()[1].read_bytes()
    for tls, text in (
        (ServerTls(cert, wrong), "cert_pem and key_pem: key values mismatch"),
        (ServerTls(b"-----BEGIN nothing", key), "cert_pem and key_pem: "),
        (ServerTls(cert, key, b"-----BEGIN nothing"), "client_ca_pem: "),
        (ServerTls(cert, _encrypted(key)), "the key is encrypted"),
    ):
        with pytest.raises(TlsError, match=text):
            DoorTls(tls)


def _encrypted(key_pem: bytes) -> bytes:
    key = serialization.load_pem_private_key(key_pem, None)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"password"),
    )
