"""The services of the realtime corridor over memory, and a node that remembers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.support.clock import MovedClock

from tocsin.api.call import ChannelServices
from tocsin.broker.control_memory import MemoryControlBus
from tocsin.broker.memory import MemoryBroker
from tocsin.broker.presence_memory import MemoryPresence
from tocsin.broker.users_memory import MemoryDenials, MemoryUserStatuses
from tocsin.channels.control import ControlService
from tocsin.channels.denials import DenialCheck
from tocsin.channels.history import HistoryService
from tocsin.channels.namespaces import Namespaces, NamespaceSettings
from tocsin.channels.presence import PresenceService
from tocsin.channels.publishing import Publisher
from tocsin.channels.survey import SurveyService
from tocsin.channels.users import DenialService, UserStatusService
from tocsin.core.channel import (
    ChannelOptions,
    ClientInfo,
    History,
    HistoryFilter,
    NodeInfo,
    Publication,
    PublishOptions,
    PublishResult,
    StreamPosition,
)
from tocsin.core.control import ControlCommand, Target
from tocsin.core.errors import BrokerUnavailable, InternalError
from tocsin.core.glob import compile_glob

STREAM = ChannelOptions(history_size=10, history_ttl=60)
NAMESPACES: Mapping[str, ChannelOptions] = {
    "kept": STREAM,
    "seen": ChannelOptions(presence=True),
    "json": ChannelOptions(publication_data_format="json"),
    "object": ChannelOptions(publication_data_format="json_object"),
    "binary": ChannelOptions(publication_data_format="binary"),
    "map": ChannelOptions(subscription_type="map"),
    "delta": ChannelOptions(history_size=10, history_ttl=60, delta_publish=True),
}


@dataclass
class Heard:
    """A `BrokerListener` that keeps publications."""

    publications: list[tuple[str, Publication, bytes | None]] = field(
        default_factory=list
    )

    def on_publication(
        self,
        channel: str,
        publication: Publication,
        position: StreamPosition,
        previous: bytes | None,
    ) -> None:
        self.publications.append((channel, publication, previous))

    def on_join(self, channel: str, info: ClientInfo) -> None:
        raise AssertionError("nobody joins here")

    def on_leave(self, channel: str, info: ClientInfo) -> None:
        raise AssertionError("nobody leaves here")

    def on_gap(self) -> None:
        raise AssertionError("memory has no gaps")


@dataclass
class Node:
    """A `ControlListener` that keeps commands and answers for given connections."""

    commands: list[ControlCommand] = field(default_factory=list)
    subscribers: dict[str, int] = field(default_factory=dict)
    connections: dict[str, dict[str, Any]] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    matches: bool = False
    is_silent: bool = False

    def run(self, command: ControlCommand) -> None:
        self.commands.append(command)

    def answer_survey(self, op: str, params: bytes) -> bytes:
        if self.is_silent:
            raise InternalError("a node stays silent")
        asked = json.loads(params)
        if op == "channels":
            glob = compile_glob(asked["pattern"] or "*")
            return json.dumps(
                {c: n for c, n in self.subscribers.items() if glob.fullmatch(c)}
            ).encode()
        assert op == "connections"
        user = asked["user"]
        return json.dumps(
            {
                client: each
                for client, each in self.connections.items()
                if not user or each["user"] == user
            }
        ).encode()

    def describe(self) -> NodeInfo:
        return NodeInfo(
            "node-uid",
            "node-name",
            "1.2.3 OSS",
            num_clients=4,
            num_users=3,
            num_subs=2,
            num_channels=1,
            uptime_s=7,
            metrics=self.metrics,
            metrics_interval_s=60.0 if self.metrics else 0.0,
        )

    def has_match(self, target: Target) -> bool:
        return self.matches


class AwayBroker(MemoryBroker):
    """A broker that cannot be reached; some channels may be spared."""

    def __init__(self, spared: Iterable[str] = ()) -> None:
        super().__init__()
        self._spared = set(spared)

    async def publish(
        self, channel: str, data: bytes, options: PublishOptions
    ) -> PublishResult:
        if channel in self._spared:
            return await super().publish(channel, data, options)
        raise BrokerUnavailable("gone")

    async def fetch_history(
        self, channel: str, filter: HistoryFilter, *, meta_ttl_s: int
    ) -> History:
        raise BrokerUnavailable("gone")


class Corridor:
    """Everything in memory; parts may be looked into."""

    def __init__(
        self,
        *,
        broker: MemoryBroker | None = None,
        namespaces: Mapping[str, ChannelOptions] | None = None,
        statuses: bool = True,
        denials: bool = True,
        at_once: int = 1,
    ) -> None:
        self.clock = MovedClock()
        self.heard = Heard()
        self.node = Node()
        self.broker = broker or MemoryBroker()
        self.broker.listen(self.heard)
        self.presence = MemoryPresence()
        self.bus = MemoryControlBus("node-uid")
        self.bus.listen(self.node)
        self.namespaces = Namespaces(
            NamespaceSettings(namespaces=namespaces or NAMESPACES)
        )
        self.suppressed: list[tuple[str, str]] = []
        self.online: list[str] = []
        self.status_store = MemoryUserStatuses(self.clock)
        store = MemoryDenials(self.clock) if denials else None
        self.denied = DenialCheck(blocks=store, revocations=store, invalidations=store)
        survey = SurveyService(self.bus)
        self.services = ChannelServices(
            publisher=Publisher(
                self.namespaces,
                self.broker,
                at_once=at_once,
                on_suppressed=lambda *each: self.suppressed.append(each),
            ),
            history=HistoryService(self.namespaces, self.broker),
            presence=PresenceService(self.namespaces, self.presence),
            control=ControlService(
                self.namespaces, self.bus, clock=self.clock, local=self.node
            ),
            survey=survey,
            statuses=UserStatusService(
                self.status_store if statuses else None,
                clock=self.clock,
                online=lambda: self.online,
            ),
            denials=DenialService(
                self.bus,
                survey,
                clock=self.clock,
                blocks=store,
                revocations=store,
                invalidations=store,
            ),
        )

    @property
    def now_s(self) -> int:
        return self.clock.now_ms() // 1000

    async def hear(self, *channels: str) -> None:
        """Listen to these channels from now on."""
        for channel in channels:
            await self.broker.subscribe(channel)

    def data(self) -> Sequence[tuple[str, bytes]]:
        """What was heard: channel and data."""
        return [(channel, each.data) for channel, each, _ in self.heard.publications]


def connection(
    user: str,
    *,
    uid: str = "",
    issued_at: int = 0,
    subscription_tokens: Mapping[str, tuple[str, int]] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """A connection as a node describes it in a survey."""
    tokens = subscription_tokens or {}
    return {
        "user": user,
        "state": {
            "channels": {"news": {"source": 1}},
            "connection_token": {"uid": uid, "issued_at": issued_at},
            "subscription_tokens": {
                channel: {"uid": each[0], "issued_at": each[1]}
                for channel, each in tokens.items()
            },
            "meta": '{"m":1}',
        },
        **more,
    }
