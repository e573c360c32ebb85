"""How google-auth reaches a token endpoint: `requests` with our trust and our patience.

Imported late, for it loads `requests`; it must not decide what a failure means.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import orjson
import requests
from google.auth import exceptions, transport
from google.auth.transport import requests as google_requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPSConnectionPool
from urllib3.connection import HTTPSConnection
from urllib3.exceptions import HTTPError, NameResolutionError, NewConnectionError

from tocsin.http2 import build_ssl_context

_TIMEOUT_S = 15.0
_CONNECT_TIMEOUT_S = 4.0
"""For each address of the endpoint: one that never answers leaves time for others."""
# Statuses that a later exchange may not meet any more.
_PASSING = frozenset({408, 429, 500, 502, 503, 504})


@contextmanager
def open_transport(ca_file: str) -> Iterator[transport.Request]:
    """A transport for one exchange: system roots and `ca_file`, no proxy."""
    with requests.Session() as session:
        # The sends themselves go directly, so a proxy for the token alone is no help.
        session.trust_env = False
        session.mount("https://", _TrustingAdapter(build_ssl_context(ca_file)))
        yield _OneTry(google_requests.Request(session=session))


class _TrustingAdapter(HTTPAdapter):
    """Verifies by the given context alone, not by a bundle that comes along."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)
        # For https only, which is all that this adapter is mounted for.
        self.poolmanager.pool_classes_by_scheme = {"https": _PatientPool}

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:  # noqa: ARG002 - the signature of requests
        conn.cert_reqs = "CERT_REQUIRED"
        conn.ca_certs = conn.ca_cert_dir = None


class _PatientConnection(HTTPSConnection):
    """Tries the next address also where one accepts the connection and stays silent.

    The library itself does so only for addresses that cannot be reached at all.
    """

    _address = ""

    def connect(self) -> None:
        """Greet one address after the other; raises what the last one met."""
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        addresses = list(dict.fromkeys(str(place[0]) for *_, place in found))
        for self._address in addresses:
            try:
                super().connect()
            except (OSError, HTTPError):
                self.close()
                if self._address == addresses[-1]:
                    raise
            else:
                return

    def _new_conn(self) -> socket.socket:
        timeout = None if self.timeout is None else float(self.timeout)
        try:
            return socket.create_connection((self._address, self.port), timeout)
        except OSError as error:
            raise NewConnectionError(self, f"{self._address}: {error}") from error


class _PatientPool(HTTPSConnectionPool):
    ConnectionCls = _PatientConnection


class _OneTry(transport.Request):
    """Turns a passing fault into an exception at once.

    google-auth would sleep and try again inside the exchange; when to try again is
    decided by the retry schedule of the sends that wait for it.
    """

    def __init__(self, inner: transport.Request) -> None:
        self._inner = inner

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **kwargs: Any,
    ) -> transport.Response:
        response: transport.Response = self._inner(
            url,
            method,
            body,
            headers,
            timeout=(_CONNECT_TIMEOUT_S, timeout or _TIMEOUT_S),
            **kwargs,
        )
        if response.status in _PASSING or (
            response.status == 200 and not _is_object(response.data)
        ):
            raise exceptions.TransportError(  # type: ignore[no-untyped-call] # half typed
                f"the token endpoint answered {response.status}"
            )
        return response


def _is_object(body: bytes) -> bool:
    try:
        return isinstance(orjson.loads(body), dict)
    except ValueError:
        return False
