"""API room: the gRPC server with its port, TLS, reflection, health and drain.

It knows no service: what a call does is in `api/grpc_calls.py` and the methods.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import grpc
import structlog

from tocsin.api.auth import KeyGuard, KeyRing
from tocsin.api.call import CommandObserver, Services
from tocsin.api.grpc_calls import ApiCalls, Switchboard
from tocsin.api.grpc_streams import Drain, HealthService, reflection_handlers
from tocsin.api.listening import ListenError, check_free, join_address
from tocsin.api.methods.table import ADMIN_SERVICE, SERVICE
from tocsin.api.pace import AnswerPace
from tocsin.api.tls import DoorTls, ServerTls
from tocsin.protocol.grpc_limits import call_options, ping_options
from tocsin.telemetry.spans import Tracer

DEFAULT_MAX_RECEIVE = 4 * 1024 * 1024
REFUSALS_AT_ONCE = 10
"""Calls without the key that one address gets answered at once in a second; enough for
an honest caller to see what is wrong. Further ones wait `REFUSAL_HOLD_S`."""
REFUSAL_HOLD_S = 3.0
CHECKS_AT_ONCE = 20
"""Health checks of one connection that are answered at once in a second. Not of one
address: balancers may share theirs with strangers."""
CHECK_HOLD_S = 1.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class GrpcSettings:
    """`grpc_api` of the configuration, and `admin.key`. `host` empty is every address.

    `max_receive_bytes` 0 is gRPC's default of 4 MiB. `port` 0 is any free one.
    """

    host: str = ""
    port: int = 10000
    keys: KeyRing = field(default_factory=KeyRing)
    operators: KeyRing = field(default_factory=KeyRing)
    reflection: bool = True
    max_receive_bytes: int = DEFAULT_MAX_RECEIVE
    transport_errors: bool = False
    tls: DoorTls | None = None
    reuse_port: bool = False


class GrpcServer:
    """Serves the API; `port` is known after `start`."""

    def __init__(
        self,
        services: Services,
        settings: GrpcSettings,
        *,
        observer: CommandObserver | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self._settings = settings
        self._tracer = tracer
        self._services = services
        self._observer = observer
        self._server: Any = None
        self._drain: Drain | None = None
        self.port = 0

    async def start(self) -> None:
        """Open the port and serve; raises `ListenError` naming a busy port."""
        settings = self._settings
        guard, operators = KeyGuard(settings.keys), KeyGuard(settings.operators)
        self._drain = Drain()
        calls = ApiCalls(
            self._services,
            transport_errors=settings.transport_errors,
            observer=self._observer,
            tracer=self._tracer,
        )
        names = (SERVICE.full_name, ADMIN_SERVICE.full_name)
        checks = AnswerPace(self._drain, at_once=CHECKS_AT_ONCE, hold_s=CHECK_HOLD_S)
        refusals = AnswerPace(
            self._drain, at_once=REFUSALS_AT_ONCE, hold_s=REFUSAL_HOLD_S
        )
        health = HealthService(self._drain, *names, before_check=checks.keep)
        handlers = calls.handlers() | health.handlers()
        if settings.reflection:
            handlers |= reflection_handlers(self._drain, *names)
        server = grpc.aio.server(
            handlers=(Switchboard(guard, operators, handlers, refusals),),
            options=_options(settings),
        )
        self.port = _open_port(server, settings)
        await server.start()
        self._server = server
        _log_access(settings.keys, self.port)

    async def stop(self, grace_s: float) -> None:
        """Turn new calls away, let running ones end within `grace_s`, then close.

        Open health and reflection streams end at once.
        """
        server, self._server = self._server, None
        if server is None or self._drain is None:
            return
        # Streams are ended first: `stop` would wait for them.
        self._drain.begin()
        await server.stop(grace_s)


def _options(settings: GrpcSettings) -> list[tuple[str, int]]:
    return [
        ("grpc.so_reuseport", int(settings.reuse_port)),
        (
            "grpc.max_receive_message_length",
            settings.max_receive_bytes or DEFAULT_MAX_RECEIVE,
        ),
        *call_options(),
        *ping_options(),
    ]


def _open_port(server: Any, settings: GrpcSettings) -> int:
    address = join_address(settings.host or "[::]", settings.port)
    check_free(
        settings.host, settings.port, "grpc_api.port", reuse_port=settings.reuse_port
    )
    try:
        if settings.tls is None:
            port: int = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, server_credentials(settings.tls))
    except RuntimeError:
        # gRPC's exception has no cause; it logs the cause itself.
        raise ListenError(
            address, "grpc_api.port", "the port is in use or the address is not ours"
        ) from None
    return port


def server_credentials(tls: DoorTls) -> grpc.ServerCredentials:
    """The door's TLS in gRPC's form, which asks for news before each handshake."""
    known = tls.pem

    def find_news() -> grpc.ServerCertificateConfiguration | None:
        nonlocal known
        if tls.pem is known:
            return None
        known = tls.pem
        return _certificates(known)

    return grpc.dynamic_ssl_server_credentials(
        _certificates(known),
        find_news,  # type: ignore[arg-type] # None is no change, as gRPC says
        require_client_authentication=known.client_ca_pem is not None,
    )


def _certificates(pem: ServerTls) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(pem.key_pem, pem.cert_pem)], root_certificates=pem.client_ca_pem
    )


def _log_access(keys: KeyRing, port: int) -> None:
    if keys.is_closed:
        _log.warning(
            "gRPC API answers nobody but health checks: no key is configured; set"
            " grpc_api.key (TOCSIN_GRPC_API_KEY), or grpc_api.insecure to do without",
            port=port,
        )
    elif keys.is_open:
        _log.warning("gRPC API needs no key: grpc_api.insecure is set", port=port)
    else:
        _log.info("gRPC API listens", port=port, callers=keys.names)
