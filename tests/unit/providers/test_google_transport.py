"""Each test names what of requests or urllib3 has changed under the token transport."""

from __future__ import annotations

import inspect
import socket
import ssl
from typing import Any

import pytest
from requests.adapters import HTTPAdapter
from urllib3 import HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPSConnection

from tocsin.providers.google_transport import _PatientConnection, _TrustingAdapter

_METHODS: tuple[tuple[type, str, str], ...] = (
    (HTTPAdapter, "init_poolmanager", "self connections maxsize block pool_kwargs"),
    (HTTPAdapter, "cert_verify", "self conn url verify cert"),
    (HTTPSConnection, "connect", "self"),
    (HTTPSConnection, "_new_conn", "self"),
)


@pytest.mark.parametrize(("owner", "name", "wanted"), _METHODS)
def test_a_method_takes_what_we_give(owner: type, name: str, wanted: str) -> None:
    """There is one of that name with these parameters."""
    method = getattr(owner, name, None)
    assert method is not None, f"{owner.__name__}.{name} is gone"
    assert " ".join(inspect.signature(method).parameters) == wanted, name


def test_pools_are_chosen_by_scheme() -> None:
    """Where we put ours, and by the attribute that says what they open."""
    assert set(PoolManager().pool_classes_by_scheme) == {"http", "https"}
    assert HTTPSConnectionPool.ConnectionCls is HTTPSConnection


def test_a_session_opens_our_connections_with_our_trust() -> None:
    """And asks for a certificate, whatever bundle the system names."""
    trust = ssl.create_default_context()
    adapter = _TrustingAdapter(trust)
    pool = adapter.poolmanager.connection_from_url("https://oauth.test/token")
    assert pool.ConnectionCls is _PatientConnection
    assert pool.conn_kw["ssl_context"] is trust
    adapter.cert_verify(pool, "https://oauth.test/token", True, None)
    assert (pool.cert_reqs, pool.ca_certs) == ("CERT_REQUIRED", None)
    adapter.close()


def test_each_address_is_tried_by_the_library_s_own_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`connect` opens its socket through `_new_conn`, which is ours."""
    tried: list[tuple[str, int]] = []

    def refuse(place: tuple[str, int], _timeout: object) -> Any:
        tried.append(place)
        raise OSError("no route")

    found = [(0, 0, 0, "", (f"192.0.2.{number}", 443)) for number in (1, 2)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    monkeypatch.setattr(socket, "create_connection", refuse)
    connection = _PatientConnection("oauth.test", 443)
    with pytest.raises(Exception, match=r"192\.0\.2\.2: no route"):
        connection.connect()
    assert tried == [("192.0.2.1", 443), ("192.0.2.2", 443)]
