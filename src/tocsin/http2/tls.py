"""TLS settings for the HTTP/2 room: trusted authorities, client certificates, ALPN.

It opens no connection.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path

from tocsin.config.pasted import pick_all_pem


@dataclass(frozen=True, slots=True)
class ClientCert:
    """Our certificate for a server that asks for one (APNs): paths of PEM files."""

    cert_file: str
    key_file: str = ""
    password: str = field(default="", repr=False)


def trust_file(context: ssl.SSLContext, ca_file: str) -> None:
    """Trust the authorities of a PEM file too; raises OSError (ssl.SSLError is one).

    The file is read in two ways. OpenSSL alone knows some kinds of blocks, but skips
    those it cannot read, such as one after a byte order mark; `pick_all_pem` finds
    those.
    """
    pem = pick_all_pem(Path(ca_file).read_bytes(), "CERTIFICATE")
    try:
        context.load_verify_locations(cafile=ca_file)
    except ssl.SSLError:
        if not pem:
            raise
    if pem:
        context.load_verify_locations(cadata=pem)


def build_ssl_context(
    ca_file: str = "", client_cert: ClientCert | tuple[str, str] | None = None
) -> ssl.SSLContext:
    """The system's trusted roots plus `ca_file`, TLS 1.2 or later, ALPN h2.

    `client_cert` is a `ClientCert` or (certificate file, key file). Raises OSError
    (ssl.SSLError) when a file cannot be read.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    if ca_file:
        trust_file(context, ca_file)
    if isinstance(client_cert, tuple):
        client_cert = ClientCert(*client_cert)
    if client_cert is not None:
        context.load_cert_chain(
            client_cert.cert_file,
            client_cert.key_file or None,
            client_cert.password or None,
        )
    return context
