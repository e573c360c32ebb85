"""API room: the TLS of an open door, from PEM that may be replaced while it serves.

It reads no configuration and opens no port.
"""

from __future__ import annotations

import ssl
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ServerTls:
    """PEM of the server; with `client_ca_pem` clients must show a certificate."""

    cert_pem: bytes
    key_pem: bytes
    client_ca_pem: bytes | None = None


class TlsError(ValueError):
    """PEM that cannot be used; the text names the setting, never its content."""


class DoorTls:
    """What an open door serves by. Handshakes take what is there when they begin."""

    def __init__(self, tls: ServerTls) -> None:
        """Raises `TlsError`."""
        self._pem = tls
        self._context = build_ssl_context(tls)
        self._other_clients_since_s = 0.0

    @property
    def pem(self) -> ServerTls:
        """What is served now."""
        return self._pem

    def replace(self, tls: ServerTls) -> None:
        """Serve by this from now on; raises `TlsError`, and nothing has changed then.

        Whether clients must show a certificate stays as it was at the start.
        """
        self._context = build_ssl_context(tls)
        if tls.client_ca_pem != self._pem.client_ca_pem:
            self._other_clients_since_s = time.time()
        self._pem = tls

    def listening_context(self) -> ssl.SSLContext:
        """For a port's whole life: each handshake goes on with the newest context.

        A context keeps one certificate for each kind of key, so that loading another
        into it might leave the old one in use.
        """
        context = build_ssl_context(self._pem)
        context.sni_callback = self._take_newest
        return context

    def _take_newest(
        self,
        connection: ssl.SSLSocket | ssl.SSLObject,
        _name: str | None,
        _context: ssl.SSLContext,
    ) -> int | None:
        # A resumed session passes by the authority that is in force now.
        session = connection.session if connection.session_reused else None
        if session is not None and session.time <= self._other_clients_since_s:
            return ssl.ALERT_DESCRIPTION_ACCESS_DENIED
        connection.context = self._context
        return None


def build_ssl_context(tls: ServerTls) -> ssl.SSLContext:
    """A server context for HTTP/1.1; raises `TlsError`."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])  # aiohttp does not speak HTTP/2
    try:
        _load_chain(context, tls)
    except (ssl.SSLError, ValueError) as error:
        raise TlsError(f"cert_pem and key_pem: {_reason(error)}") from None
    if tls.client_ca_pem is not None:
        try:
            context.load_verify_locations(cadata=tls.client_ca_pem.decode())
        except (ssl.SSLError, ValueError) as error:
            raise TlsError(f"client_ca_pem: {_reason(error)}") from None
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _load_chain(context: ssl.SSLContext, tls: ServerTls) -> None:
    # The ssl module reads a certificate and key from files only. This one is readable
    # by this user alone, and removed at once.
    with tempfile.TemporaryDirectory(prefix="tocsin-") as folder:
        path = Path(folder) / "chain.pem"
        path.touch(mode=0o600)
        path.write_bytes(tls.key_pem.rstrip() + b"\n" + tls.cert_pem)
        context.load_cert_chain(path, password=_refuse_password)


def _refuse_password() -> str:
    """Raise, where OpenSSL would ask for a password on the terminal."""
    raise ValueError("the key is encrypted; give it without a password")


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        reason = error.reason or "cannot be read"
        return reason.lower().replace("_", " ")
    return str(error) or type(error).__name__
