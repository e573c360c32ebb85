"""The engine's ports with a counter before each; they change nothing else.

The label for namespaces stays empty, as in the published open server.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from tocsin.core.channel import (
    ClientInfo,
    History,
    HistoryFilter,
    NodeInfo,
    PresenceStats,
    PublishOptions,
    PublishResult,
)
from tocsin.core.control import ControlCommand
from tocsin.core.ports.channels import (
    Broker,
    BrokerListener,
    ControlBus,
    ControlListener,
    PresenceStore,
)
from tocsin.telemetry.metrics import Metrics


class CountedBroker:
    """A `Broker` that counts what it is asked."""

    def __init__(self, inner: Broker, metrics: Metrics) -> None:
        self._inner = inner
        self._sent = metrics.node_messages_sent
        self._actions = metrics.node_actions

    def listen(self, listener: BrokerListener) -> None:
        """See the port."""
        self._inner.listen(listener)

    async def start(self) -> None:
        """See the port."""
        await self._inner.start()

    async def subscribe(self, channel: str) -> None:
        """See the port."""
        self._actions.add(1, "broker_subscribe", "")
        await self._inner.subscribe(channel)

    async def unsubscribe(self, channel: str) -> None:
        """See the port."""
        self._actions.add(1, "broker_unsubscribe", "")
        await self._inner.unsubscribe(channel)

    async def publish(
        self, channel: str, data: bytes, options: PublishOptions
    ) -> PublishResult:
        """See the port."""
        self._sent.add(1, "publication", "")
        return await self._inner.publish(channel, data, options)

    async def publish_join(self, channel: str, info: ClientInfo) -> None:
        """See the port."""
        self._sent.add(1, "join", "")
        await self._inner.publish_join(channel, info)

    async def publish_leave(self, channel: str, info: ClientInfo) -> None:
        """See the port."""
        self._sent.add(1, "leave", "")
        await self._inner.publish_leave(channel, info)

    async def fetch_history(
        self, channel: str, filter: HistoryFilter, *, meta_ttl_s: int
    ) -> History:
        """See the port."""
        self._actions.add(1, "history" if filter.limit else "history_stream_top", "")
        return await self._inner.fetch_history(channel, filter, meta_ttl_s=meta_ttl_s)

    async def remove_history(self, channel: str) -> None:
        """See the port."""
        self._actions.add(1, "history_remove", "")
        await self._inner.remove_history(channel)

    async def check(self) -> None:
        """See the port."""
        await self._inner.check()

    async def close(self) -> None:
        """See the port."""
        await self._inner.close()


class CountedPresence:
    """A `PresenceStore` that counts what it is asked."""

    def __init__(self, inner: PresenceStore, metrics: Metrics) -> None:
        self._inner = inner
        self._actions = metrics.node_actions

    async def add(self, channel: str, info: ClientInfo) -> None:
        """See the port."""
        self._actions.add(1, "add_presence", "")
        await self._inner.add(channel, info)

    async def remove(self, channel: str, client: str, user: str) -> None:
        """See the port."""
        self._actions.add(1, "remove_presence", "")
        await self._inner.remove(channel, client, user)

    async def fetch(self, channel: str) -> Mapping[str, ClientInfo]:
        """See the port."""
        self._actions.add(1, "presence", "")
        return await self._inner.fetch(channel)

    async def fetch_stats(self, channel: str) -> PresenceStats:
        """See the port."""
        self._actions.add(1, "presence_stats", "")
        return await self._inner.fetch_stats(channel)


class CountedBus:
    """A `ControlBus` that counts what it is asked."""

    def __init__(self, inner: ControlBus, metrics: Metrics) -> None:
        self._inner = inner
        self._metrics = metrics
        self._sent = metrics.node_messages_sent
        self._actions = metrics.node_actions

    def listen(self, listener: ControlListener) -> None:
        """See the port."""
        self._inner.listen(listener)

    async def start(self) -> None:
        """See the port."""
        await self._inner.start()

    async def broadcast(self, command: ControlCommand) -> None:
        """See the port."""
        self._sent.add(1, "control", "")
        await self._inner.broadcast(command)

    async def survey(
        self, op: str, params: bytes, *, timeout_s: float = 10.0
    ) -> Sequence[bytes]:
        """See the port."""
        self._actions.add(1, "survey", "")
        started = time.perf_counter()
        try:
            return await self._inner.survey(op, params, timeout_s=timeout_s)
        finally:
            self._metrics.observe_survey(time.perf_counter() - started, op)

    async def send_to_node(self, node: str, op: str, params: bytes) -> bool:
        """See the port."""
        self._sent.add(1, "control", "")
        return await self._inner.send_to_node(node, op, params)

    async def fetch_nodes(self) -> Sequence[NodeInfo]:
        """See the port."""
        return await self._inner.fetch_nodes()

    async def close(self) -> None:
        """See the port."""
        await self._inner.close()
