"""Builds and runs the API server, with a worker inside where one belongs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial

import structlog

from tocsin.api.call import Services
from tocsin.api.grpc_server import GrpcServer, GrpcSettings
from tocsin.app.access import Access
from tocsin.app.admin import build_admin
from tocsin.app.analytics import open_analytics
from tocsin.app.client_doors import open_uni_grpc
from tocsin.app.credentials import (
    configured_integrations,
    warn_of_dangers,
)
from tocsin.app.file_sharing import warn_of_another
from tocsin.app.http_doors import open_http
from tocsin.app.letter_watching import start_letter_watch
from tocsin.app.lifecycle import Stopper, keep_what_started, unless_stopped
from tocsin.app.online_first import build_channel_first
from tocsin.app.push_limits import prepare_limits, read_limits
from tocsin.app.queue_watching import start_queue_watch
from tocsin.app.realtime import Realtime, open_realtime
from tocsin.app.realtime_reloading import prepare_realtime
from tocsin.app.reloading import Reloader, Source
from tocsin.app.renewal import ProviderSet
from tocsin.app.resources import Resources, open_resources
from tocsin.app.send_log import start_send_log
from tocsin.app.tracing import api_tracer, open_tracing, traced_queue
from tocsin.app.watching import Watcher
from tocsin.app.worker import build_providers, row_sink, start_worker
from tocsin.config import Config
from tocsin.core.clock import SystemClock
from tocsin.core.ports.online import OnlinePublisher
from tocsin.core.ports.sends import ResultSink
from tocsin.core.push import RecipientType
from tocsin.delivery.online import OnlineUsers
from tocsin.push.checks import DeviceLimits
from tocsin.push.devices import DeviceService
from tocsin.push.sending import SendService
from tocsin.push.status import StatusService
from tocsin.push.topics import TopicService
from tocsin.telemetry.metrics import Metrics

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Listening:
    """Where a started server answers; a port of 0 means that it does not.

    `internal_port` has API, health and metrics, and is `http_port` unless set apart.
    """

    grpc_port: int
    http_port: int
    internal_port: int
    uni_grpc_port: int
    services: Services
    resources: Resources
    realtime: Realtime
    access: Access
    limits: DeviceLimits
    credentials: ProviderSet | None = None
    """Those of the worker inside."""


async def start_server(
    config: Config,
    stack: AsyncExitStack,
    stopper: Stopper,
    *,
    sinks: Sequence[ResultSink] = (),
) -> Listening:
    """Open everything and serve; leaving `stack` drains and closes it."""
    resources = await open_resources(config, stack)
    await open_tracing(resources, stack)
    await warn_of_another(config, stack)
    await start_queue_watch(resources, stack)
    await start_send_log(resources, stack)
    resources.analytics = await open_analytics(
        config, resources.metrics, resources.database, stack
    )
    # Not the queue's clock: clients' tokens follow the clock of whoever signed them.
    realtime = await open_realtime(config, resources.metrics, SystemClock(), stack)
    resources.checks["broker"] = realtime.engine.broker.check
    # A stack of its own, entered here so that the worker ends after the doors and
    # before the channels, which it reads.
    work = await stack.enter_async_context(AsyncExitStack())
    credentials = None
    if config.worker_embedded:
        credentials = await build_providers(resources, work)
    limits = read_limits(config)
    services = replace(
        build_services(resources, limits, build_channel_first(config, realtime)),
        realtime=realtime.services,
    )
    start_letter_watch(resources, services.operators.audit, stack)
    observer = CommandCounter(resources.metrics)
    access = Access(config, resources.metrics)
    http = await open_http(
        resources, services, observer, access, stack, clients=realtime.routes()
    )
    uni_grpc_port = await open_uni_grpc(
        config, realtime.context, realtime.admission, access.certificates, stack
    )
    # Called before the HTTP ports close: clients are told while they are connected.
    stack.push_async_callback(realtime.close_connections)
    grpc_port = 0
    if config.grpc_api.enabled:
        server = GrpcServer(
            services,
            _grpc_settings(config, access),
            observer=observer,
            tracer=api_tracer(resources),
        )
        await server.start()
        stack.push_async_callback(server.stop, config.shutdown.timeout)
        grpc_port = server.port
    # Entered last, so called first: load balancers are told before any door closes.
    stack.callback(http.begin_drain)
    stack.callback(services.operators.results.close)
    if credentials is not None:
        # After every port is bound: a process that cannot serve must take no work.
        engine = realtime.engine
        online = OnlineUsers(engine.presence, engine.reached, resources.clock)
        await start_worker(
            resources, credentials, work, stopper, sinks=sinks, online=online
        )
    return Listening(
        grpc_port,
        http.port,
        http.internal_port,
        uni_grpc_port,
        services,
        resources,
        realtime,
        access,
        limits,
        credentials,
    )


async def run_server(
    config: Config,
    stopper: Stopper,
    *,
    source: Source | None = None,
) -> int:
    """The life of `tocsin serve`; `source` brings the configuration anew."""
    watcher = None if source is None else Watcher(config, source.path)
    async with AsyncExitStack() as stack:
        listening = await unless_stopped(start_server(config, stack, stopper), stopper)
        if listening is not None:
            keep_what_started()
            if source is not None and watcher is not None:
                parts = (
                    listening.access.prepare,
                    partial(prepare_realtime, listening.realtime),
                    partial(prepare_limits, listening.limits),
                )
                reloader = Reloader(
                    config,
                    source.reread,
                    parts=parts,
                    providers=listening.credentials,
                    metrics=listening.resources.metrics,
                )
                watcher.start(reloader, stopper, stack)
        await stopper.wait()
    _log.info("server stopped")
    return 0


def build_services(
    resources: Resources, limits: DeviceLimits, online: OnlinePublisher | None
) -> Services:
    """The services behind the API; `online` publishes what goes to channels first."""
    push = resources.config.push_notifications
    integrations = configured_integrations(push)
    warn_of_dangers(push)
    metrics = resources.metrics

    def count_expired(provider: str, kind: RecipientType, count: int) -> None:
        labels = (provider, kind.value, "", "false", "expired")
        metrics.push_notifications.add(count, *labels)

    def count_request(kind: RecipientType, result: str) -> None:
        metrics.push_requests.add(1, kind.value, result)

    def count_scheduled(kind: RecipientType) -> None:
        metrics.push_scheduled_requests.add(1, kind.value)

    def count_cancelled(provider: str, kind: RecipientType, count: int) -> None:
        labels = (provider, kind.value, "", "false", "cancelled")
        metrics.push_notifications.add(count, *labels)

    return Services(
        devices=DeviceService(
            resources.devices,
            limits,
            integrations=integrations,
            switch_user_topics=push.switch_user_topics_on_update,
        ),
        topics=TopicService(resources.devices, resources.user_topics, limits),
        sends=SendService(
            traced_queue(resources),
            resources.uids,
            clock=resources.clock,
            integrations=integrations,
            has_database=resources.devices is not None,
            uid_ttl_s=push.uid_ttl,
            limits=limits,
            online=online,
            watch=resources.queue_watch,
            on_expired=count_expired,
            on_request=count_request,
            on_scheduled=count_scheduled,
            on_cancelled=count_cancelled,
            rows=row_sink(resources),
            log=resources.send_log,
            repair=resources.repair,
        ),
        statuses=_status_service(resources),
        admin=build_admin(resources),
    )


def _status_service(resources: Resources) -> StatusService:
    analytics = resources.analytics
    if analytics is None:
        return StatusService()
    return StatusService(analytics.writer, analytics.store, clock=resources.clock)


class CommandCounter:
    """Turns what the API reports of each call into metrics."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def observe_command(
        self, method: str, protocol: str, seconds: float, error_code: int
    ) -> None:
        """One call ended; code 0 is success."""
        self._metrics.observe_command(seconds, protocol, method)
        if error_code:
            self._metrics.api_command_errors.add(1, protocol, method, str(error_code))

    def observe_key(self, name: str, protocol: str, result: str) -> None:
        """A call came with a named key."""
        self._metrics.api_key_commands.add(1, protocol, name, result)


def _grpc_settings(config: Config, access: Access) -> GrpcSettings:
    grpc = config.grpc_api
    return GrpcSettings(
        host=grpc.address,
        port=grpc.port,
        keys=access.keys.grpc,
        operators=access.keys.grpc_operators,
        reflection=grpc.reflection,
        max_receive_bytes=grpc.max_receive_message_size,
        transport_errors=grpc.error_mode == "transport",
        tls=access.certificates.open("grpc_api", grpc.tls),
        reuse_port=grpc.reuse_port,
    )
