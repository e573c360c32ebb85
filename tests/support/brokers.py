"""A listener that remembers, and brokers of each kind for one contract."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from redis.asyncio import Redis
from tests.support.redis_server import RedisServer

from tocsin.broker.control_memory import MemoryControlBus
from tocsin.broker.control_redis import RedisControlBus
from tocsin.broker.memory import MemoryBroker
from tocsin.broker.presence_memory import MemoryPresence
from tocsin.broker.presence_redis import RedisPresence
from tocsin.broker.redis import RedisBroker
from tocsin.core.channel import ClientInfo, NodeInfo, Publication, StreamPosition
from tocsin.core.channel_ports import Broker, ControlBus, PresenceStore
from tocsin.core.control import ControlCommand


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


Kind = str
KINDS: tuple[Kind, ...] = ("memory", "redis", "redis-shards")


@asynccontextmanager
async def running_broker(
    kind: Kind, server: RedisServer, heard: Heard
) -> AsyncIterator[Broker]:
    """A started broker of this kind that tells `heard`."""
    async with AsyncExitStack() as stack:
        broker: Broker
        if kind == "memory":
            broker = MemoryBroker()
        else:
            count = 1 if kind == "redis" else 3
            clients = [redis_client(server, db, stack) for db in range(count)]
            broker = RedisBroker(clients)
        broker.listen(heard)
        await broker.start()
        stack.push_async_callback(broker.close)
        yield broker


def redis_client(server: RedisServer, db: int, stack: AsyncExitStack) -> Redis:
    """A client that is closed with the stack."""
    client: Redis = Redis.from_url(f"redis://{server.address}/{db}")
    stack.push_async_callback(client.aclose)
    return client


@asynccontextmanager
async def open_presence(
    kind: Kind, server: RedisServer
) -> AsyncIterator[PresenceStore]:
    """A presence store of this kind."""
    async with AsyncExitStack() as stack:
        if kind == "memory":
            yield MemoryPresence()
        else:
            count = 1 if kind == "redis" else 3
            clients = [redis_client(server, db, stack) for db in range(count)]
            yield RedisPresence(clients)


@asynccontextmanager
async def running_bus(
    kind: Kind, server: RedisServer, listening: Listening
) -> AsyncIterator[ControlBus]:
    """A started control bus of this kind for one node."""
    async with AsyncExitStack() as stack:
        bus: ControlBus
        if kind == "memory":
            bus = MemoryControlBus(listening.uid)
        else:
            client = redis_client(server, 0, stack)
            bus = RedisControlBus(client, node=listening.uid, ping_interval_s=0.2)
        bus.listen(listening)
        await bus.start()
        stack.push_async_callback(bus.close)
        yield bus
