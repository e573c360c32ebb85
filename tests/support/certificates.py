"""A small certificate authority for tests and benchmarks.

Keys are elliptic-curve keys, because making them costs a millisecond; certificates
are valid for ten days, and nothing here may be used outside a test.
"""

from __future__ import annotations

import datetime
import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DEFAULT_HOSTS = ("localhost", "127.0.0.1", "::1")
VALID_FOR = datetime.timedelta(days=10)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _alternative_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _builder(
    subject: str, issuer: str, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + VALID_FOR)
    )


@dataclass(frozen=True)
class Ca:
    """An authority whose files live in one folder; `pem_path` is its certificate."""

    folder: Path
    name: str
    key: ec.EllipticCurvePrivateKey
    pem_path: Path

    def issue(
        self, hosts: Iterable[str] = DEFAULT_HOSTS, *, client: bool = False
    ) -> tuple[Path, Path]:
        """Write a certificate for the hosts; returns (certificate, key) as PEM paths.

        With `client` the certificate is one that a client shows to a server.
        """
        names = list(hosts)
        key = ec.generate_private_key(ec.SECP256R1())
        usage = ExtendedKeyUsageOID.SERVER_AUTH
        if client:
            usage = ExtendedKeyUsageOID.CLIENT_AUTH
        certificate = (
            _builder(names[0], self.name, key.public_key())
            .add_extension(
                x509.SubjectAlternativeName([_alternative_name(n) for n in names]),
                critical=False,
            )
            .add_extension(
                x509.BasicConstraints(ca=False, path_length=None), critical=True
            )
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(
                    self.key.public_key()
                ),
                critical=False,
            )
            .sign(self.key, hashes.SHA256())
        )
        stem = re.sub(r"[^A-Za-z0-9.-]", "_", names[0])
        if client:
            stem += "-client"
        cert_path = self.folder / f"{stem}.pem"
        key_path = self.folder / f"{stem}.key"
        cert_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        key_path.write_bytes(_key_pem(key))
        key_path.chmod(0o600)
        return cert_path, key_path


def make_ca(folder: Path | str, name: str = "Tocsin test CA") -> Ca:
    """Make an authority in the folder (created when missing)."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _builder(name, name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
        )
        .add_extension(
            x509.KeyUsage(
                digital_signature=True,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=True,
                crl_sign=True,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .sign(key, hashes.SHA256())
    )
    pem_path = folder / "ca.pem"
    pem_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return Ca(folder, name, key, pem_path)
