from __future__ import annotations

import stat
from pathlib import Path

from cryptography import x509

from tocsin.simulator.certificates import prepare_certificates


def test_the_server_is_known_by_every_local_name(tmp_path: Path) -> None:
    """The certificate holds localhost, both loopback addresses and the host."""
    files = prepare_certificates(tmp_path, "192.0.2.7")
    certificate = x509.load_pem_x509_certificate(files.cert_file.read_bytes())
    names = certificate.extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    ).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    addresses = {str(one) for one in names.get_values_for_type(x509.IPAddress)}
    assert addresses == {"127.0.0.1", "::1", "192.0.2.7"}


def test_the_authority_is_kept(tmp_path: Path) -> None:
    """A client that trusts ca.pem still does after a restart in the same folder."""
    first = prepare_certificates(tmp_path).ca_file.read_bytes()
    second = prepare_certificates(tmp_path)
    assert second.ca_file.read_bytes() == first
    ca = x509.load_pem_x509_certificate(first)
    server = x509.load_pem_x509_certificate(second.cert_file.read_bytes())
    server.verify_directly_issued_by(ca)


def test_a_broken_authority_is_replaced(tmp_path: Path) -> None:
    """Rubbish in the folder does not stop the simulator."""
    files = prepare_certificates(tmp_path)
    files.ca_file.write_text("rubbish")
    again = prepare_certificates(tmp_path)
    assert b"BEGIN CERTIFICATE" in again.ca_file.read_bytes()


def test_keys_are_private(tmp_path: Path) -> None:
    """Only the owner may read the keys."""
    files = prepare_certificates(tmp_path)
    for path in (files.key_file, tmp_path / "ca-key.pem"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
