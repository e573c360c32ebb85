"""From a door's TLS section to PEM that can be served; names the key of a fault."""

from __future__ import annotations

from collections.abc import Iterator

from tocsin.api.tls import ServerTls, TlsError, build_ssl_context
from tocsin.config import Config, PemError, load_pem
from tocsin.config.server import Tls


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
    doors: dict[str, Tls] = {"http_server": config.http_server.tls}
    if config.grpc_api.enabled:
        doors["grpc_api"] = config.grpc_api.tls
    if config.uni_grpc.enabled:
        doors["uni_grpc"] = config.uni_grpc.tls
    for door, tls in doors.items():
        if not tls.enabled:
            continue
        names = ["cert_pem", "key_pem", *(["client_ca_pem"] * bool(tls.client_ca_pem))]
        found = [text for name in names if (text := _find_fault(door, tls, name))]
        if not found:
            try:
                server_tls(door, tls)
            except PemError as error:
                found = [str(error)]
        yield from found


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
