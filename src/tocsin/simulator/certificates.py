"""The simulator's own certificate authority, kept in a folder.

It must never be trusted by anything but local tests: the key lies beside it.
"""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

ClientKey = ec.EllipticCurvePrivateKey

_LIFE = datetime.timedelta(days=365)
# Certificates begin this long ago, since clocks differ. A CA that ends within it is
# made anew.
_MARGIN = datetime.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files of one folder: what clients trust, and what the server shows."""

    ca_file: Path
    cert_file: Path
    key_file: Path

    def server_context(self) -> ssl.SSLContext:
        """A server's TLS context that offers HTTP/2 and HTTP/1.1."""
        return self._context("h2", "http/1.1")

    def asking_context(self) -> ssl.SSLContext:
        """As `server_context`, with HTTP/2 alone, asking for a client certificate."""
        context = self._context("h2")
        context.load_verify_locations(self.ca_file)
        context.verify_mode = ssl.CERT_OPTIONAL
        return context

    def _context(self, *protocols: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert_file, self.key_file)
        context.set_alpn_protocols(list(protocols))
        return context


def prepare_certificates(directory: Path, host: str = "127.0.0.1") -> Certificates:
    """Make the folder's CA and a server certificate; the CA is kept if still good.

    A kept CA lets a client that holds `ca.pem` survive the simulator's restart.
    """
    directory.mkdir(parents=True, exist_ok=True)
    files = Certificates(
        directory / "ca.pem", directory / "server.pem", directory / "server-key.pem"
    )
    ca_key_file = directory / "ca-key.pem"
    authority = _load_authority(files.ca_file, ca_key_file)
    if authority is None:
        authority = _make_authority()
        _write_key(ca_key_file, authority[1])
        _write_cert(files.ca_file, authority[0])
    ca, ca_key = authority
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _sign_server(key, host, ca, ca_key)
    _write_key(files.key_file, key)
    _write_cert(files.cert_file, certificate)
    return files


def issue_client(directory: Path, user_id: str) -> tuple[x509.Certificate, ClientKey]:
    """A client certificate of the folder's CA, its subject a UID as Apple's are."""
    authority = _load_authority(directory / "ca.pem", directory / "ca-key.pem")
    if authority is None:
        raise ValueError(f"{directory} holds no CA: prepare_certificates makes one")
    ca, ca_key = authority
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.USER_ID, user_id),
            x509.NameAttribute(NameOID.COMMON_NAME, f"Apple Push Services: {user_id}"),
        ]
    )
    certificate = (
        _builder(name, ca.subject, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )
    return certificate, key


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read."""
    # A new file: `touch` would leave the mode of one that is there.
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(content)


def _load_authority(
    ca_file: Path, key_file: Path
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None:
    try:
        ca = x509.load_pem_x509_certificate(ca_file.read_bytes())
        key = serialization.load_pem_private_key(key_file.read_bytes(), None)
    except (OSError, ValueError):
        return None
    still_good = ca.not_valid_after_utc > _now() + _MARGIN
    if not (still_good and isinstance(key, ec.EllipticCurvePrivateKey)):
        return None
    return (ca, key) if key.public_key() == ca.public_key() else None


def _make_authority() -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Tocsin simulator CA")])
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        _builder(name, name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    return certificate, key


def _sign_server(
    key: ec.EllipticCurvePrivateKey,
    host: str,
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    identifier = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(
        identifier.value
    )
    return (
        _builder(name, ca.subject, key.public_key())
        .add_extension(x509.SubjectAlternativeName(_names(host)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
        )
        .add_extension(issuer, critical=False)
        .sign(ca_key, hashes.SHA256())
    )


def _names(host: str) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = [x509.DNSName("localhost")]
    addresses = {ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")}
    try:
        addresses.add(ipaddress.ip_address(host))
    except ValueError:
        if host != "localhost":
            names.append(x509.DNSName(host))
    names += [x509.IPAddress(address) for address in sorted(addresses, key=str)]
    return names


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_now() - _MARGIN)
        .not_valid_after(_now() + _LIFE)
    )


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _write_cert(path: Path, certificate: x509.Certificate) -> None:
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    write_private(
        path,
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )
