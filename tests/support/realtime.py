"""A node's realtime side in one process, over memory brokers and loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from tocsin.broker.control_memory import MemoryControlBus
from tocsin.broker.memory import MemoryBroker
from tocsin.broker.presence_memory import MemoryPresence
from tocsin.channels.authorizing import Authorizer
from tocsin.channels.denials import DenialCheck
from tocsin.channels.history import HistoryService
from tocsin.channels.namespaces import Namespaces, NamespaceSettings
from tocsin.channels.presence import PresenceService
from tocsin.channels.publishing import Publisher
from tocsin.channels.tokens import TokenSettings, TokenVerifier
from tocsin.core.channel import ChannelOptions
from tocsin.core.clock import SystemClock
from tocsin.hub.hub import Hub
from tocsin.sessions.context import ChannelAccess, Context
from tocsin.sessions.settings import SessionSettings
from tocsin.sessions.timers import TimerWheel
from tocsin.transports.admission import Admission
from tocsin.transports.websocket import WebSocketEndpoint, WebSocketSettings

SECRET = "secret-of-the-tests"
OPEN_CHANNEL = ChannelOptions(
    presence=True,
    join_leave=True,
    history_size=100,
    history_ttl=300,
    allow_positioning=True,
    allow_recovery=True,
    allowed_delta_types=("fossil",),
    allow_tags_filter=True,
    allow_subscribe_for_client=True,
    allow_subscribe_for_anonymous=True,
    allow_publish_for_client=True,
    allow_publish_for_anonymous=True,
    allow_history_for_client=True,
    allow_history_for_anonymous=True,
    allow_presence_for_client=True,
    allow_presence_for_anonymous=True,
)


def build_context(
    settings: SessionSettings | None = None,
    *,
    options: ChannelOptions = OPEN_CHANNEL,
    namespaces: Mapping[str, ChannelOptions] | None = None,
    **parts: Any,
) -> Context:
    """Everything that sessions share, in memory; needs a running loop.

    `parts` replace what is built: broker, presence, clock, wheel, … `personal` gives
    every user a channel; `denied` is the store of all that is taken back.
    """
    settings = settings or SessionSettings(insecure=True)
    clock = parts.pop("clock", None) or SystemClock()
    broker = parts.pop("broker", None) or MemoryBroker()
    presence = parts.pop("presence", None) or MemoryPresence()
    hub = Hub(
        broker,
        uid="node-1",
        name="test",
        version="0",
        position_grace_s=parts.pop("position_grace_s", 0.01),
    )
    broker.listen(hub)
    control = MemoryControlBus("node-1")
    control.listen(hub)
    rules = Namespaces(
        NamespaceSettings(
            without_namespace=options,
            namespaces=namespaces or {},
            personal=parts.pop("personal", False),
            personal_namespace=parts.pop("personal_namespace", ""),
        ),
        insecure=settings.insecure,
    )
    verifier = parts.pop("verifier", None)
    denied = parts.pop("denied", None)
    context = Context(
        settings=settings,
        channels=ChannelAccess(
            rules,
            Authorizer(
                rules,
                verifier
                or TokenVerifier(TokenSettings(hmac_secret_key=SECRET), clock=clock),
                clock=clock,
                denials=DenialCheck(
                    blocks=denied,
                    revocations=denied,
                    invalidations=denied,
                    orders=lambda: hub.orders,
                ),
            ),
            Publisher(rules, broker),
            HistoryService(rules, broker),
            PresenceService(rules, presence),
        ),
        hub=hub,
        broker=broker,
        presence=presence,
        clock=clock,
        wheel=parts.pop("wheel", None) or TimerWheel(),
        control=control,
        version="0.0.0 OSS",
    )
    for name, part in parts.items():
        setattr(context, name, part)
    return context


@dataclass(slots=True)
class RunningNode:
    """A node that serves WebSocket on a free port."""

    context: Context
    port: int

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/connection/websocket"


@asynccontextmanager
async def running_node(
    context: Context, websocket: WebSocketSettings | None = None
) -> AsyncIterator[RunningNode]:
    """Serve the context's sessions until the block ends."""
    settings = context.settings
    admission = Admission(
        settings.connection_limit,
        settings.connection_rate_limit,
        clock=asyncio.get_running_loop().time,
    )
    endpoint = WebSocketEndpoint(context, admission, websocket)
    app = web.Application()
    app.router.add_get("/connection/websocket", endpoint.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield RunningNode(context, port)
    finally:
        await context.hub.close()
        await runner.cleanup()
        context.wheel.close()
