"""A listener that remembers, and brokers of each kind for one contract."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import pytest
from redis.asyncio import Redis

from tocsin.broker.control_memory import MemoryControlBus
from tocsin.broker.control_redis import RedisControlBus
from tocsin.broker.memory import MemoryBroker
from tocsin.broker.presence_memory import MemoryPresence
from tocsin.broker.presence_redis import RedisPresence
from tocsin.broker.redis import RedisBroker
from tocsin.broker.redis_clients import open_clients
from tocsin.core.channel import ClientInfo, NodeInfo, Publication, StreamPosition
from tocsin.core.control import ControlCommand
from tocsin.core.ports.channels import Broker, ControlBus, PresenceStore


@dataclass
class Heard:
    """What a broker told, in order."""

    publications: list[tuple[str, Publication, StreamPosition, bytes | None]] = field(
        default_factory=list
    )
    joins: list[tuple[str, ClientInfo]] = field(default_factory=list)
    leaves: list[tuple[str, ClientInfo]] = field(default_factory=list)
    gaps: int = 0

    def on_publication(
        self,
        channel: str,
        publication: Publication,
        position: StreamPosition,
        previous: bytes | None,
    ) -> None:
        self.publications.append((channel, publication, position, previous))

    def on_join(self, channel: str, info: ClientInfo) -> None:
        self.joins.append((channel, info))

    def on_leave(self, channel: str, info: ClientInfo) -> None:
        self.leaves.append((channel, info))

    def on_gap(self) -> None:
        self.gaps += 1

    def data(self) -> list[bytes]:
        return [publication.data for _, publication, _, _ in self.publications]


@dataclass
class Listening:
    """A node that keeps the commands it was given."""

    uid: str
    commands: list[ControlCommand] = field(default_factory=list)
    asked: list[tuple[str, bytes]] = field(default_factory=list)
    silent: bool = False

    def run(self, command: ControlCommand) -> None:
        self.commands.append(command)

    def answer_survey(self, op: str, params: bytes) -> bytes:
        self.asked.append((op, params))
        return self.uid.encode() + b":" + params

    def describe(self) -> NodeInfo:
        return NodeInfo(self.uid, f"name-{self.uid}", "1", num_clients=3)


async def until(condition: Callable[[], object], *, deadline_s: float = 10) -> None:
    """Wait for a condition of the event loop's state."""
    async with asyncio.timeout(deadline_s):
        while not condition():  # noqa: ASYNC110 - any state may be waited for
            await asyncio.sleep(0.005)


KINDS = ("memory", "redis", "redis-shards", "redis-cluster", "redis-mixed")
"""Engines: in this process, one server, three, a cluster, a server and a cluster."""


def empty_engine(request: pytest.FixtureRequest, kind: str) -> list[str]:
    """The addresses of such an engine, which holds nothing; none for memory."""
    urls: list[str] = []
    if kind in ("redis", "redis-shards", "redis-mixed"):
        server = request.getfixturevalue("redis_address")
        count = 3 if kind == "redis-shards" else 1
        urls += [f"redis://{server}/{db}" for db in range(count)]
    if kind in ("redis-cluster", "redis-mixed"):
        urls.append(request.getfixturevalue("redis_cluster_address"))
    return urls


def open_redis(urls: Sequence[str], stack: AsyncExitStack) -> list[Redis]:
    """A client for each address, closed with the stack."""
    clients = open_clients(urls, io_timeout_s=10)
    for client in clients:
        stack.push_async_callback(client.aclose)
    return clients


@asynccontextmanager
async def running_broker(urls: Sequence[str], heard: Heard) -> AsyncIterator[Broker]:
    """A started broker there, or in this process, that tells `heard`."""
    async with AsyncExitStack() as stack:
        broker: Broker
        broker = RedisBroker(open_redis(urls, stack)) if urls else MemoryBroker()
        broker.listen(heard)
        await broker.start()
        stack.push_async_callback(broker.close)
        yield broker


@asynccontextmanager
async def open_presence(urls: Sequence[str]) -> AsyncIterator[PresenceStore]:
    """A presence store there, or in this process."""
    async with AsyncExitStack() as stack:
        yield RedisPresence(open_redis(urls, stack)) if urls else MemoryPresence()


@asynccontextmanager
async def running_bus(
    urls: Sequence[str], listening: Listening
) -> AsyncIterator[ControlBus]:
    """A started control bus there, or in this process, for one node."""
    async with AsyncExitStack() as stack:
        bus: ControlBus
        if not urls:
            bus = MemoryControlBus(listening.uid)
        else:
            (client,) = open_redis(urls[:1], stack)
            bus = RedisControlBus(client, node=listening.uid, ping_interval_s=0.2)
        bus.listen(listening)
        await bus.start()
        stack.push_async_callback(bus.close)
        yield bus
