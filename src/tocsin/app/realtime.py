"""Builds the realtime corridor: channels, broker, hub, and the way in for clients.

Everything that is opened here is closed by the exit stack of the caller.
"""

from __future__ import annotations

import asyncio
import socket
import time
import uuid
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

import structlog
from aiohttp import web

from tocsin.api.call import ChannelServices
from tocsin.app.client_doors import client_routes
from tocsin.app.counted import CountedBroker, CountedBus, CountedPresence
from tocsin.app.faults import opening
from tocsin.app.lifecycle import start_beside
from tocsin.app.node_listener import NodeListener
from tocsin.app.realtime_settings import (
    namespace_settings,
    session_settings,
    token_settings,
)
from tocsin.channels.authorizing import Authorizer
from tocsin.channels.control import ControlService
from tocsin.channels.denials import DenialCheck
from tocsin.channels.history import HistoryService
from tocsin.channels.namespaces import Namespaces
from tocsin.channels.presence import PresenceService
from tocsin.channels.publishing import AT_ONCE, Publisher
from tocsin.channels.survey import SurveyService
from tocsin.channels.tokens import TokenVerifier
from tocsin.channels.users import DenialService, UserStatusService
from tocsin.config import Config
from tocsin.config.engine import Denials
from tocsin.config.redis_addresses import mask_redis
from tocsin.core.errors import ApiError
from tocsin.core.ports.channels import (
    Broker,
    ControlBus,
    DenialStore,
    PresenceStore,
    UserStatusStore,
)
from tocsin.core.ports.clock import Clock
from tocsin.core.ports.online import ReachedStore
from tocsin.core.version import VERSION
from tocsin.hub.hub import Hub
from tocsin.sessions.context import ChannelAccess, Context, answer_ping
from tocsin.sessions.timers import TimerWheel
from tocsin.telemetry.metrics import Metrics
from tocsin.telemetry.window import MetricsWindow
from tocsin.transports.admission import Admission
from tocsin.transports.key_fetcher import HttpKeyFetcher

NODES_INTERVAL_S = 10.0
VERSION = f"{VERSION} OSS"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Engine:
    """What the configured engine gives: all in memory, or all in Redis."""

    broker: Broker
    presence: PresenceStore
    bus: ControlBus
    statuses: UserStatusStore
    denials: DenialStore
    reached: ReachedStore
    is_local: bool


@dataclass(slots=True)
class Realtime:
    """The corridor at work."""

    config: Config
    engine: Engine
    hub: Hub
    namespaces: Namespaces
    verifier: TokenVerifier
    context: Context
    admission: Admission
    services: ChannelServices

    def routes(self) -> list[web.RouteDef]:
        """The ways in for clients on the public HTTP port; raises `DemoPageError`."""
        return client_routes(self.config, self.context, self.admission, self.engine.bus)

    async def close_connections(self) -> None:
        """Send every client elsewhere; its presence and channels are left."""
        await self.hub.close()


async def open_realtime(
    config: Config, metrics: Metrics, clock: Clock, stack: AsyncExitStack
) -> Realtime:
    """Open the engine and join the other nodes; leaving `stack` leaves them."""
    node = str(uuid.uuid4())
    engine = _counted(await _open_engine(config, clock, node, stack), metrics)
    hub = Hub(
        engine.broker,
        uid=node,
        name=_node_name(config),
        version=VERSION,
        meter=metrics.clients,
    )
    # Listeners before the start: messages come from then on.
    engine.broker.listen(hub)
    engine.bus.listen(_listening_node(config, metrics, hub, stack))
    urls = config.engine.redis.urls if config.engine.type == "redis" else ()
    shown = [mask_redis(url) for url in urls]
    with opening("engine.redis.address", f"Redis at {' '.join(shown)}"):
        await engine.broker.start()
    stack.push_async_callback(engine.broker.close)
    with opening("engine.redis.address", f"Redis at {' '.join(shown[:1])}"):
        await engine.bus.start()
    stack.push_async_callback(engine.bus.close)
    realtime = await _build(config, metrics, clock, engine, hub, stack)
    _watch_nodes(realtime, metrics, stack)
    return realtime


def _listening_node(
    config: Config, metrics: Metrics, hub: Hub, stack: AsyncExitStack
) -> NodeListener:
    listener = NodeListener(
        hub,
        MetricsWindow(metrics.all_series),
        interval_s=config.node.info_metrics_aggregate_interval,
    )
    start_beside(listener.turn_for_ever(), stack)
    return listener


async def _build(
    config: Config,
    metrics: Metrics,
    clock: Clock,
    engine: Engine,
    hub: Hub,
    stack: AsyncExitStack,
) -> Realtime:
    namespaces = Namespaces(namespace_settings(config), insecure=config.client.insecure)
    fetcher = HttpKeyFetcher()
    stack.push_async_callback(fetcher.close)
    connection, subscription = token_settings(config)
    verifier = TokenVerifier(
        connection,
        subscription,
        clock=clock,
        fetcher=fetcher,
        skip_signature=config.client.insecure_skip_token_signature_verify,
    )
    stores = _Denied(config, engine, clock)
    denials = DenialCheck(
        blocks=stores.blocks,
        revocations=stores.revocations,
        invalidations=stores.invalidations,
        orders=lambda: hub.orders,
    )
    services = _build_services(config, metrics, clock, engine, hub, namespaces, stores)
    services.statuses.start()
    stack.push_async_callback(services.statuses.close)
    wheel = TimerWheel()
    stack.callback(wheel.close)
    ping = config.rpc.ping
    context = Context(
        settings=session_settings(config),
        channels=ChannelAccess(
            namespaces,
            Authorizer(namespaces, verifier, clock=clock, denials=denials),
            services.publisher,
            services.history,
            services.presence,
        ),
        hub=hub,
        broker=engine.broker,
        presence=engine.presence,
        clock=clock,
        wheel=wheel,
        control=engine.bus,
        rpc={ping.method: answer_ping} if ping.enabled else {},
        version=VERSION,
    )
    _warn(config)
    client = config.client
    admission = Admission(
        client.connection_limit,
        client.connection_rate_limit,
        clock=time.monotonic,
        on_refused=metrics.clients.refused,
    )
    return Realtime(
        config=config,
        engine=engine,
        hub=hub,
        namespaces=namespaces,
        verifier=verifier,
        context=context,
        admission=admission,
        services=services,
    )


class _Denied:
    """The stores of denials, `None` for each part that is off."""

    def __init__(self, config: Config, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self.blocks = self._choose(config.user_block)
        self.revocations = self._choose(config.token_revoke)
        self.invalidations = self._choose(config.user_tokens_invalidate)

    def _choose(self, section: Denials) -> DenialStore | None:
        from tocsin.broker.users_memory import MemoryDenials

        if not section.enabled:
            return None
        if section.storage_type == "memory" and not self._engine.is_local:
            return MemoryDenials(self._clock)
        return self._engine.denials


def _build_services(
    config: Config,
    metrics: Metrics,
    clock: Clock,
    engine: Engine,
    hub: Hub,
    namespaces: Namespaces,
    stores: _Denied,
) -> ChannelServices:
    def count_suppressed(reason: str, _channel: str) -> None:
        metrics.broker_publish_suppressed.add(1, reason, "")

    survey = SurveyService(engine.bus)
    status = config.user_status
    statuses = UserStatusService(
        engine.statuses if status.enabled else None,
        clock=clock,
        ttl_s=int(status.expire_interval),
        online=hub.users,
    )
    # Set afterwards, since hub and statuses need each other.
    hub.note_user = statuses.note_online
    return ChannelServices(
        publisher=Publisher(
            namespaces,
            engine.broker,
            at_once=1 if engine.is_local else AT_ONCE,
            on_suppressed=count_suppressed,
        ),
        history=HistoryService(namespaces, engine.broker),
        presence=PresenceService(namespaces, engine.presence),
        control=ControlService(namespaces, engine.bus, clock=clock, local=hub),
        survey=survey,
        statuses=statuses,
        denials=DenialService(
            engine.bus,
            survey,
            clock=clock,
            blocks=stores.blocks,
            revocations=stores.revocations,
            invalidations=stores.invalidations,
        ),
    )


def _counted(engine: Engine, metrics: Metrics) -> Engine:
    return replace(
        engine,
        broker=CountedBroker(engine.broker, metrics),
        presence=CountedPresence(engine.presence, metrics),
        bus=CountedBus(engine.bus, metrics),
    )


async def _open_engine(
    config: Config, clock: Clock, node: str, stack: AsyncExitStack
) -> Engine:
    if config.engine.type == "redis":
        return await _open_redis(config, node, stack)
    from tocsin.broker.control_memory import MemoryControlBus
    from tocsin.broker.memory import MemoryBroker
    from tocsin.broker.presence_memory import MemoryPresence
    from tocsin.broker.reached_memory import MemoryReached
    from tocsin.broker.users_memory import MemoryDenials, MemoryUserStatuses

    return Engine(
        broker=MemoryBroker(),
        presence=MemoryPresence(),
        bus=MemoryControlBus(node),
        statuses=MemoryUserStatuses(clock),
        denials=MemoryDenials(clock),
        reached=MemoryReached(clock),
        is_local=True,
    )


async def _open_redis(config: Config, node: str, stack: AsyncExitStack) -> Engine:
    from tocsin.broker.control_redis import RedisControlBus
    from tocsin.broker.presence_redis import RedisPresence
    from tocsin.broker.reached_redis import RedisReached
    from tocsin.broker.redis import RedisBroker
    from tocsin.broker.redis_clients import open_clients
    from tocsin.broker.users_redis import RedisDenials, RedisUserStatuses

    redis = config.engine.redis
    clients = open_clients(
        redis.urls,
        connect_timeout_s=redis.connect_timeout,
        io_timeout_s=redis.io_timeout,
    )
    # First on the stack, so closed last: broker, bus and stores use them until
    # then.
    for client in clients:
        stack.push_async_callback(client.aclose)
    return Engine(
        broker=RedisBroker(clients, prefix=redis.prefix),
        presence=RedisPresence(
            clients, prefix=redis.prefix, ttl_s=int(redis.presence_ttl)
        ),
        bus=RedisControlBus(clients[0], node=node, prefix=redis.prefix),
        statuses=RedisUserStatuses(clients, prefix=redis.prefix),
        denials=RedisDenials(clients[0], prefix=redis.prefix),
        reached=RedisReached(clients, prefix=redis.prefix),
        is_local=False,
    )


def _watch_nodes(realtime: Realtime, metrics: Metrics, stack: AsyncExitStack) -> None:
    """Gauges of this node at each scrape; how many nodes there are, now and then."""
    hub, bus = realtime.hub, realtime.engine.bus
    known = [1]

    def read() -> Sequence[int]:
        described = hub.describe()
        return (
            described.num_clients,
            described.num_users,
            described.num_subs,
            described.num_channels,
            known[0],
        )

    async def count_nodes() -> None:
        while True:
            try:
                known[0] = len(await bus.fetch_nodes())
            except ApiError as error:
                _log.warning("nodes could not be counted", error=error.message)
            await asyncio.sleep(NODES_INTERVAL_S)

    metrics.watch_node(read)
    start_beside(count_nodes(), stack)


def _node_name(config: Config) -> str:
    return config.node.name or f"{socket.gethostname()}_{config.http_server.port}"


def _warn(config: Config) -> None:
    client = config.client
    if client.insecure:
        _log.warning(
            "client.insecure is on: everybody may connect, subscribe and publish;"
            " unset it outside of development"
        )
    if client.insecure_skip_token_signature_verify:
        _log.warning(
            "client.insecure_skip_token_signature_verify is on: anybody can be"
            " any user, unless something before this server verifies tokens"
        )
    shared = config.http_server, config.grpc_api, config.uni_grpc
    if config.engine.type == "memory" and any(door.reuse_port for door in shared):
        _log.warning(
            "reuse_port is on, and channels are in the memory of each process alone:"
            " who is connected to another one gets nothing; set engine.type to redis"
        )
