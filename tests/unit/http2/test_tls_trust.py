from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from tests.support.certificates import make_ca
from tests.support.pastings import PEM_WAYS

from tocsin.http2 import build_ssl_context
from tocsin.providers.errors import ProviderSetupError
from tocsin.providers.http1 import Http1Client


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Two of them, so that one that is passed over is noticed."""
    return b"".join(
        make_ca(tmp_path_factory.mktemp("ca")).pem_path.read_bytes() for _ in range(2)
    )


def own(context: ssl.SSLContext) -> int:
    """Authorities beyond the system's."""
    return len(context.get_ca_certs()) - len(build_ssl_context().get_ca_certs())


@pytest.mark.parametrize("way", PEM_WAYS)
def test_authorities_are_read_however_they_were_pasted(
    authorities: bytes, tmp_path: Path, way: str
) -> None:
    """All in the file, over HTTP/2 and HTTP/1.1."""
    if way == "one long line":
        pytest.skip("is made for a file of one block")
    file = tmp_path / "ca.pem"
    file.write_bytes(PEM_WAYS[way](authorities))
    assert own(build_ssl_context(str(file))) == 2
    assert own(Http1Client(section="test", ca_file=str(file))._trust) == 2


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"-----BEGIN CERTIFICATE-----\nQUJD"]
)
def test_a_file_without_authorities_is_an_error(tmp_path: Path, content: bytes) -> None:
    """A worker starts with the trust that was asked for, or not at all."""
    file = tmp_path / "ca.pem"
    file.write_bytes(content)
    with pytest.raises(ssl.SSLError):
        build_ssl_context(str(file))
    with pytest.raises(ProviderSetupError, match=r"^test\.ca_file: "):
        Http1Client(section="test", ca_file=str(file))
