"""Builds and opens the HTTP ports: API, health and metrics, on one port or two."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import structlog
from aiohttp.web import RouteDef

from tocsin.api.call import CommandObserver, Services
from tocsin.api.http_api import (
    MAX_BODY_BYTES,
    AdminHttpApi,
    HttpApi,
    HttpApiSettings,
)
from tocsin.api.http_gateway import HttpGateway
from tocsin.api.push_funnel import PushFunnel
from tocsin.api.tls import DoorTls
from tocsin.app.access import Access
from tocsin.app.door_keys import DoorKeys
from tocsin.app.resources import Resources
from tocsin.app.tracing import api_tracer, exemplars
from tocsin.config import Config
from tocsin.config.path_checks import ADMIN_PREFIX

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class HttpDoors:
    """What is open; `public` and `internal` are the same unless set apart."""

    public: HttpGateway | None = None
    internal: HttpGateway | None = None
    api: HttpApi | None = None

    @property
    def port(self) -> int:
        """The public port, 0 without one."""
        return self.public.port if self.public else 0

    @property
    def internal_port(self) -> int:
        """The port of API, health and metrics, 0 without one."""
        return self.internal.port if self.internal else 0

    def begin_drain(self) -> None:
        """Tell balancers and clients to look elsewhere; the doors stay open."""
        if self.internal is not None:
            self.internal.begin_drain()
        if self.api is not None:
            self.api.begin_drain()


async def open_http(
    resources: Resources,
    services: Services,
    observer: CommandObserver,
    access: Access,
    stack: AsyncExitStack,
    *,
    clients: Sequence[RouteDef] = (),
) -> HttpDoors:
    """Open what the configuration asks for; leaving `stack` closes it.

    `clients` are the public routes of the client transports.
    """
    config = resources.config
    http, keys = config.http_server, access.keys
    tls = access.certificates.open("http_server", http.tls)
    api = None
    if not config.http_api.disabled:
        api = _build_api(resources, services, observer, keys)
    is_split = http.internal_at != http.public_at
    routes: list[RouteDef] = [] if is_split else list(clients)
    is_served = routes or config.health.enabled or config.prometheus.enabled
    if api is not None or is_served or not keys.http_operators.is_closed:
        # Before the API's, which may take all paths. A key may come later.
        routes += _build_admin(resources, services, observer, keys).routes()
    if api is not None:
        routes += api.routes()
        routes += _build_funnel(config, services, observer, keys).routes()
    internal = None
    if routes or config.health.enabled or config.prometheus.enabled:
        internal = await _open_internal(resources, api, routes, tls, stack)
    if not is_split:
        return HttpDoors(internal, internal, api)
    public = HttpGateway(
        *http.public_at,
        health=False,
        tls=tls,
        routes=clients,
        reuse_port=http.reuse_port,
    )
    await public.start()
    stack.push_async_callback(public.stop)
    return HttpDoors(public, internal, api)


async def _open_internal(
    resources: Resources,
    api: HttpApi | None,
    routes: Iterable[RouteDef],
    tls: DoorTls | None,
    stack: AsyncExitStack,
) -> HttpGateway:
    config, metrics = resources.config, resources.metrics
    http = config.http_server
    gateway = HttpGateway(
        *http.internal_at,
        checks=resources.checks,
        notices=resources.notices,
        health=config.health.enabled,
        render_metrics=(lambda: (metrics.render(), metrics.content_type))
        if config.prometheus.enabled
        else None,
        render_exemplars=exemplars(resources),
        routes=routes,
        shutdown_timeout_s=config.shutdown.timeout,
        setting=f"http_server.{'internal_' if http.internal_port else ''}port",
        tls=tls,
        max_body_bytes=MAX_BODY_BYTES,
        # An internal port apart answers for one process: health and metrics are
        # its own.
        reuse_port=http.reuse_port and http.internal_at == http.public_at,
    )
    await gateway.start()
    stack.push_async_callback(gateway.stop)
    if config.health.enabled or config.prometheus.enabled:
        _log.info("health and metrics listen", port=gateway.port)
    if api is not None:
        api.log_access(gateway.port)
    return gateway


def _build_api(
    resources: Resources, services: Services, observer: CommandObserver, keys: DoorKeys
) -> HttpApi:
    api = resources.config.http_api
    settings = HttpApiSettings(
        keys=keys.http,
        prefix=api.handler_prefix,
        transport_errors=api.error_mode == "transport",
    )
    tracer = api_tracer(resources)
    return HttpApi(services, settings, observer=observer, tracer=tracer)


def _build_admin(
    resources: Resources, services: Services, observer: CommandObserver, keys: DoorKeys
) -> AdminHttpApi:
    settings = HttpApiSettings(
        keys=keys.http_operators,
        prefix=ADMIN_PREFIX,
        transport_errors=resources.config.http_api.error_mode == "transport",
    )
    tracer = api_tracer(resources)
    return AdminHttpApi(services, settings, observer=observer, tracer=tracer)


def _build_funnel(
    config: Config, services: Services, observer: CommandObserver, keys: DoorKeys
) -> PushFunnel:
    api = config.http_api
    return PushFunnel(
        services,
        keys.http,
        prefix=api.handler_prefix,
        transport_errors=api.error_mode == "transport",
        observer=observer,
    )
