"""Sessions room: what all connections of a node share.

Plain values and services; it decides nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from tocsin.channels.authorizing import Authorizer
from tocsin.channels.history import HistoryService
from tocsin.channels.namespaces import Namespaces
from tocsin.channels.presence import PresenceService
from tocsin.channels.publishing import Publisher
from tocsin.core.ports.channels import Broker, ControlBus, PresenceStore
from tocsin.core.ports.clock import Clock
from tocsin.hub.hub import Hub
from tocsin.sessions.refusals import RefusalLog
from tocsin.sessions.settings import SessionSettings
from tocsin.sessions.timers import TimerWheel

RpcHandler = Callable[[str, bytes], Awaitable[bytes]]
"""User and data in, data out; raises `ClientFault` for an error reply."""

RpcHandlers = Mapping[str, RpcHandler]


async def answer_ping(user: str, data: bytes) -> bytes:  # noqa: ARG001 - every handler is called alike
    """The method `ping` of `rpc.ping`: an empty answer."""
    return b""


@dataclass(frozen=True, slots=True)
class ChannelAccess:
    """The services of `channels` that decide what clients may do, and do it."""

    namespaces: Namespaces
    authorizer: Authorizer
    publisher: Publisher
    history: HistoryService
    presence: PresenceService


@dataclass(slots=True)
class Context:
    """What all connections of a node share. `settings` is replaced at a reload.

    A session uses `broker` and `presence` for what every subscription needs: position,
    recovery, presence, joins and leaves. What a client asks for by a command goes
    through `channels`, which checks permissions.
    """

    settings: SessionSettings
    channels: ChannelAccess
    hub: Hub
    broker: Broker
    presence: PresenceStore
    clock: Clock
    wheel: TimerWheel
    control: ControlBus | None = None
    rpc: RpcHandlers = field(default_factory=dict)
    version: str = ""
    refusals: RefusalLog = field(init=False)

    def __post_init__(self) -> None:
        self.refusals = RefusalLog(self.wheel)
