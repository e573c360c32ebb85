from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from tests.support.certificates import make_ca

from tocsin.http2 import ClientCert, build_ssl_context


def test_the_context_is_strict_and_trusts_the_given_authority(tmp_path: Path) -> None:
    """TLS 1.2 or later, names checked, and one more authority than the system's."""
    ca = make_ca(tmp_path)
    context = build_ssl_context(str(ca.pem_path))
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    subjects = [c.get("subject") for c in context.get_ca_certs()]
    assert ((("commonName", ca.name),),) in subjects


def test_a_client_certificate_may_be_given(tmp_path: Path) -> None:
    """Both forms load, and a missing file is an OSError at once."""
    cert, key = make_ca(tmp_path).issue(["client"], client=True)
    build_ssl_context(client_cert=(str(cert), str(key)))
    build_ssl_context(client_cert=ClientCert(str(cert), str(key)))
    with pytest.raises(OSError, match="No such file"):
        build_ssl_context(client_cert=(str(tmp_path / "none.pem"), str(key)))
