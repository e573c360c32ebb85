from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.certificates import make_ca

from tocsin.app.door_tls import find_tls_faults, server_tls
from tocsin.app.faults import explain
from tocsin.config import PemError
from tocsin.config.root import Config
from tocsin.config.server import Tls


def section(**keys: object) -> Tls:
    return Tls.model_validate({"enabled": True, **keys})


def test_good_pem_is_loaded(tmp_path: Path) -> None:
    """A path, and the client authority beside it."""
    ca = make_ca(tmp_path)
    cert, key = map(str, ca.issue())
    tls = section(cert_pem=cert, key_pem=key, client_ca_pem=str(ca.pem_path))
    loaded = server_tls("grpc_api", tls)
    assert loaded is not None
    assert loaded.cert_pem.startswith(b"-----BEGIN")
    assert loaded.client_ca_pem is not None
    assert server_tls("grpc_api", Tls()) is None


@pytest.mark.parametrize("door", ["http_server", "grpc_api", "uni_grpc"])
def test_a_fault_names_its_door_and_key(tmp_path: Path, door: str) -> None:
    """What stops the start, and all that `check-config` says of it."""
    ca = make_ca(tmp_path)
    cert, key = map(str, ca.issue())
    _, wrong = make_ca(tmp_path / "other").issue()
    for keys, starts in (
        (
            {"cert_pem": "no.pem", "key_pem": "no.key"},
            ["cert_pem: is neither PEM", "key_pem: is neither PEM"],
        ),
        ({"cert_pem": cert, "key_pem": str(wrong)}, ["cert_pem and key_pem: "]),
        (
            {"cert_pem": cert, "key_pem": key, "client_ca_pem": key},
            ["client_ca_pem: "],
        ),
    ):
        tls = section(**keys)
        with pytest.raises(PemError) as caught:
            server_tls(door, tls)
        assert str(caught.value).startswith(f"{door}.tls.{starts[0]}")
        explained = explain(caught.value)
        assert explained is not None
        assert explained.is_configuration
        sections = {door: {"tls": tls, "enabled": True}}
        if door == "http_server":
            del sections[door]["enabled"]
        found = list(find_tls_faults(Config.model_validate(sections)))
        assert len(found) == len(starts)
        for text, start in zip(found, starts, strict=True):
            assert text.startswith(f"{door}.tls.{start}")
