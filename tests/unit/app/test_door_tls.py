from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import structlog
from tests.support.certificates import VALID_FOR, Ca, make_ca

from tocsin.app.door_tls import DoorCertificates, find_tls_faults, server_tls
from tocsin.app.faults import Unusable, explain
from tocsin.config import PemError
from tocsin.config.root import Config
from tocsin.config.server import Tls
from tocsin.telemetry.metrics import Metrics


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


def of_grpc(ca: Ca, **more: Any) -> Config:
    cert, key = map(str, ca.issue())
    tls = {"enabled": True, "cert_pem": cert, "key_pem": key, **more}
    return Config.model_validate({"grpc_api": {"tls": tls}})


def test_open_doors_take_what_changed(tmp_path: Path) -> None:
    """The same path with another content, too; the gauge follows."""
    ca, metrics = make_ca(tmp_path), Metrics()
    certificates = DoorCertificates(metrics)
    config = of_grpc(ca)
    served = certificates.open("grpc_api", config.grpc_api.tls)
    assert served is not None
    assert certificates.open("http_server", Tls()) is None
    ends_s = metrics.tls_certificate_expiry.get("grpc_api", "cert_pem")
    assert abs(ends_s - time.time() - VALID_FOR.total_seconds()) < 60
    before = served.pem
    certificates.prepare(config)()
    assert served.pem is before
    ca.issue()  # writes the same files anew
    take = certificates.prepare(config)
    assert served.pem is before
    take()
    assert served.pem != before


def test_whether_clients_show_a_certificate_stays(tmp_path: Path) -> None:
    """The authority may be another one; that it is asked at all needs a restart."""
    ca, other = make_ca(tmp_path / "a"), make_ca(tmp_path / "b")
    first, second = str(ca.pem_path), str(other.pem_path)
    certificates = DoorCertificates(Metrics())
    asks = certificates.open("grpc_api", of_grpc(ca, client_ca_pem=first).grpc_api.tls)
    assert asks is not None
    certificates.prepare(of_grpc(ca, client_ca_pem=second))()
    assert asks.pem.client_ca_pem == other.pem_path.read_bytes()
    certificates.prepare(of_grpc(ca))()
    assert asks.pem.client_ca_pem == other.pem_path.read_bytes()
    certificates.prepare(Config.model_validate({}))()
    assert asks.pem.client_ca_pem == other.pem_path.read_bytes()


def test_all_faults_of_open_doors_are_told(tmp_path: Path) -> None:
    """And nothing is served anew."""
    ca, other = make_ca(tmp_path / "a"), make_ca(tmp_path / "b")
    certificates = DoorCertificates(Metrics())
    served = certificates.open("grpc_api", of_grpc(ca).grpc_api.tls)
    certificates.open("uni_grpc", of_grpc(ca).grpc_api.tls)
    assert served is not None
    before = served.pem
    wrong = {"enabled": True, "cert_pem": str(other.issue()[0]), "key_pem": "no.key"}
    cert, key = str(ca.issue()[0]), str(other.issue()[1])
    mixed = {"enabled": True, "cert_pem": cert, "key_pem": key}
    config = Config.model_validate(
        {"grpc_api": {"tls": wrong}, "uni_grpc": {"tls": mixed}}
    )
    with pytest.raises(Unusable) as refused:
        certificates.prepare(config)
    first, second = refused.value.faults
    assert first.startswith("grpc_api.tls.key_pem: is neither PEM")
    assert second.startswith("uni_grpc.tls.cert_pem and key_pem: key values mismatch")
    assert served.pem is before


def test_a_certificate_that_ends_soon_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its key, and how long it is good; an ended one, too."""
    ca = make_ca(tmp_path)
    tls = of_grpc(ca, client_ca_pem=str(ca.pem_path)).grpc_api.tls
    for days, words, left in ((8, "ends soon", 2.0), (12, "has ended", -2.0)):
        now_s = time.time() + days * 86400
        monkeypatch.setattr("tocsin.app.door_tls.time.time", lambda now_s=now_s: now_s)
        with structlog.testing.capture_logs() as logs:
            DoorCertificates(Metrics()).open("grpc_api", tls)
        monkeypatch.undo()
        event = f"a certificate of a door {words}; renew it"
        assert [(each["event"], each["days"]) for each in logs] == [(event, left)] * 2
        assert [each["setting"] for each in logs] == [
            "grpc_api.tls.cert_pem",
            "grpc_api.tls.client_ca_pem",
        ]
    with structlog.testing.capture_logs() as logs:
        DoorCertificates(Metrics()).open("grpc_api", tls)
    assert logs == []
