"""API room: the TLS context of an HTTP server, from PEM.

It reads no configuration and opens no port.
"""

from __future__ import annotations

import ssl
import tempfile
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
