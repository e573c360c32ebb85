"""From the doors' TLS sections to PEM that is served; names the key of a fault."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import structlog

from tocsin.api.tls import DoorTls, ServerTls, TlsError, build_ssl_context
from tocsin.app.faults import Unusable
from tocsin.config import Config, PemError, load_pem
from tocsin.config.server import Tls
from tocsin.telemetry.metrics import Metrics

SOON_S = 7 * 86400
"""A certificate that ends within this time is told at start and at each reload."""

_log = structlog.get_logger(__name__)


class DoorCertificates:
    """The TLS of every open door, and when its certificates end."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._open: dict[str, DoorTls] = {}

    def open(self, door: str, tls: Tls) -> DoorTls | None:
        """What the section `<door>.tls` says, `None` while it is off.

        Raises `PemError` with the path of the key.
        """
        pem = server_tls(door, tls)
        if pem is None:
            return None
        if door not in self._open:
            self._open[door] = DoorTls(pem)
            self._show_expiry(door, pem)
        return self._open[door]

    def prepare(self, config: Config) -> Callable[[], None]:
        """Read what open doors shall serve from now on; the call it returns does it.

        Raises `Unusable` with all that is wrong. Whether a door has TLS, and whether
        it asks for client certificates, stays as it was at the start.
        """
        sections = _sections(config)
        wanted: dict[str, ServerTls] = {}
        faults: list[str] = []
        for door, served in self._open.items():
            tls = sections[door]
            if not tls.enabled:
                continue
            if found := list(_find_faults(door, tls)):
                faults += found
                continue
            pem = server_tls(door, tls)
            if pem is None:
                continue
            asks = served.pem.client_ca_pem is not None
            if asks != (pem.client_ca_pem is not None):
                pem = replace(pem, client_ca_pem=served.pem.client_ca_pem)
            if pem != served.pem:
                wanted[door] = pem
        if faults:
            raise Unusable(faults)
        return lambda: self._serve(wanted)

    def _serve(self, wanted: Mapping[str, ServerTls]) -> None:
        for door, pem in wanted.items():
            self._open[door].replace(pem)
            self._show_expiry(door, pem)
        if wanted:
            _log.info("certificates of doors are read anew", doors=sorted(wanted))

    def _show_expiry(self, door: str, pem: ServerTls) -> None:
        for name in ("cert_pem", "client_ca_pem"):
            text = getattr(pem, name)
            ends_s = None if text is None else _find_end_s(text)
            if ends_s is None:
                continue
            self._metrics.tls_certificate_expiry.set(ends_s, door, name)
            left_s = ends_s - time.time()
            if left_s < SOON_S:
                soon = "a certificate of a door ends soon; renew it"
                ended = "a certificate of a door has ended; renew it"
                _log.warning(
                    soon if left_s > 0 else ended,
                    setting=f"{door}.tls.{name}",
                    days=round(left_s / 86400, 1),
                )


def _find_end_s(pem: bytes) -> float | None:
    """When the first certificate of a PEM ends, in Unix seconds; `None` if unclear."""
    from cryptography import x509

    try:
        found = x509.load_pem_x509_certificates(pem)
    except ValueError:
        return None  # TLS takes it, and knows better
    return min(each.not_valid_after_utc.timestamp() for each in found)


def server_tls(door: str, tls: Tls) -> ServerTls | None:
    """The PEM of the section `<door>.tls`, `None` while it is off.

    Raises `PemError` with the path of the key. The pair is tried here, since gRPC
    only says that its port cannot be opened.
    """
    if not tls.enabled:
        return None
    client_ca = tls.client_ca_pem
    loaded = ServerTls(
        cert_pem=_load(door, tls, "cert_pem"),
        key_pem=_load(door, tls, "key_pem"),
        client_ca_pem=_load(door, tls, "client_ca_pem") if client_ca else None,
    )
    try:
        build_ssl_context(loaded)
    except TlsError as error:
        raise PemError(f"{door}.tls.{error}") from None
    return loaded


def find_tls_faults(config: Config) -> Iterator[str]:
    """All that is wrong with the PEM of every open door, by key."""
    doors = _sections(config)
    if not config.grpc_api.enabled:
        del doors["grpc_api"]
    if not config.uni_grpc.enabled:
        del doors["uni_grpc"]
    for door, tls in doors.items():
        if tls.enabled:
            yield from _find_faults(door, tls)


def _sections(config: Config) -> dict[str, Tls]:
    return {
        "http_server": config.http_server.tls,
        "grpc_api": config.grpc_api.tls,
        "uni_grpc": config.uni_grpc.tls,
    }


def _find_faults(door: str, tls: Tls) -> list[str]:
    names = ["cert_pem", "key_pem", *(["client_ca_pem"] * bool(tls.client_ca_pem))]
    found = [text for name in names if (text := _find_fault(door, tls, name))]
    if not found:
        try:
            server_tls(door, tls)
        except PemError as error:
            found = [str(error)]
    return found


def _find_fault(door: str, tls: Tls, name: str) -> str:
    try:
        _load(door, tls, name)
    except PemError as error:
        return str(error)
    return ""


def _load(door: str, tls: Tls, name: str) -> bytes:
    try:
        return load_pem(getattr(tls, name))
    except PemError as error:
        raise PemError(f"{door}.tls.{name}: {error}") from None
