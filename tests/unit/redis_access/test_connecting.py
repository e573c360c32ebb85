"""What a client is given of an address."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import SSLConnection, UnixDomainSocketConnection
from tests.support.certificates import make_ca

from tocsin.redis_access.commands import is_cluster
from tocsin.redis_access.connecting import (
    ConnectionLimits,
    UnusableAddress,
    open_client,
)
from tocsin.redis_access.routed import RoutedRedis

LIMITS = ConnectionLimits(connect_timeout_s=1, io_timeout_s=4)


def options_of(text: str, limits: ConnectionLimits = LIMITS) -> dict[str, object]:
    return dict(open_client(text, limits).connection_pool.connection_kwargs)


def test_what_the_address_says_wins() -> None:
    """Times, database, name and protocol; the given limits fill the rest."""
    given = options_of("redis://h?io_timeout=2s&db=3&client_name=t&force_resp2=true")
    assert given["socket_timeout"] == 2
    assert given["socket_connect_timeout"] == 1
    assert (given["db"], given["client_name"], given["protocol"]) == (3, "t", 2)
    assert "protocol" not in options_of("redis://h")


def test_the_scheme_chooses_the_connection() -> None:
    """TLS, a socket file, or servers that must be asked for."""
    tls = open_client("rediss://h", LIMITS).connection_pool.connection_class
    file = open_client("unix:///s", LIMITS).connection_pool.connection_class
    assert issubclass(tls, SSLConnection)
    assert issubclass(file, UnixDomainSocketConnection)
    cluster = open_client("redis+cluster://h", LIMITS)
    primary = open_client("redis+sentinel://h?sentinel_master_name=m", LIMITS)
    assert isinstance(cluster, RoutedRedis)
    assert isinstance(primary, RoutedRedis)
    assert is_cluster(cluster)
    assert not is_cluster(primary)


def test_an_own_authority_is_added_to_the_roots(tmp_path: Path) -> None:
    """The system's roots stay, names are checked, and a certificate is shown."""
    authority = make_ca(tmp_path)
    cert, key = authority.issue()
    context = options_of(
        f"rediss://h?tls_server_ca_pem={authority.pem_path}"
        f"&tls_cert_pem={cert}&tls_key_pem={key}"
    )["context"]
    assert isinstance(context, ssl.SSLContext)
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    plain = options_of("rediss://h")["context"]
    assert isinstance(plain, ssl.SSLContext)
    assert len(context.get_ca_certs()) == len(plain.get_ca_certs()) + 1


def test_verification_is_off_only_when_asked() -> None:
    """As the option says."""
    context = options_of("rediss://h?tls_insecure_skip_verify=true")["context"]
    assert isinstance(context, ssl.SSLContext)
    assert context.verify_mode is ssl.CERT_NONE


@pytest.mark.parametrize("name", ["tls_server_ca_pem", "tls_cert_pem"])
@pytest.mark.parametrize("content", [None, "nothing", "-----BEGIN CERTIFICATE-----\n"])
def test_a_file_that_is_no_use_is_told(
    name: str, content: str | None, tmp_path: Path
) -> None:
    """By the option's name."""
    path = tmp_path / "x.pem"
    if content is not None:
        path.write_text(content)
    key = f"&tls_key_pem={path}" if name == "tls_cert_pem" else ""
    with pytest.raises(UnusableAddress, match=name):
        _ = open_client(f"rediss://h?{name}={path}{key}", LIMITS)


async def test_a_routed_client_has_no_server_of_its_own() -> None:
    """What does not go by a key is a mistake of ours, not a call to some server."""
    client: Any = open_client("redis+cluster://127.0.0.1:1", LIMITS)
    with pytest.raises(TypeError):
        await client.pipeline().ping().execute()
    await client.aclose()
