"""The API over stores in memory, as a real gRPC server on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import grpc
from tests.support.memory_queue import MemoryJobQueue
from tests.support.memory_registry import (
    MemoryAudit,
    MemoryDevices,
    MemoryUids,
    MemoryUserTopics,
)
from tests.support.memory_results import MemoryResults
from tests.support.memory_send_log import MemorySendLog

from tocsin.admin.audit import AuditTrail
from tocsin.admin.credentials import CredentialName, CredentialService
from tocsin.admin.dead_letters import DeadLetterService
from tocsin.admin.letter_search import LetterSearch
from tocsin.admin.mending import MendChecks
from tocsin.admin.removals import RemovalService
from tocsin.admin.results import ResultService
from tocsin.admin.send_audit import SendAudit
from tocsin.admin.sends import SendsService
from tocsin.api.auth import AccessKey, KeyRing, digest_of
from tocsin.api.call import AdminServices, Services
from tocsin.api.grpc_server import GrpcServer, GrpcSettings
from tocsin.core.api_methods import ADMIN_METHODS
from tocsin.core.clock import SystemClock
from tocsin.core.push import RecipientType
from tocsin.delivery.breakers import LocalBreakerStore
from tocsin.protocol import api_pb2_grpc
from tocsin.push.checks import DeviceLimits
from tocsin.push.devices import DeviceService
from tocsin.push.sending import SendService
from tocsin.push.topics import TopicService
from tocsin.telemetry.spans import Tracer

KEY = "secret-key"
WITH_KEY = (("authorization", f"apikey {KEY}"),)
ADMIN_KEY = "operators-key"
AS_OPERATOR = (("authorization", f"apikey {ADMIN_KEY}"),)


def single_key(key: str = KEY) -> KeyRing:
    """The keys of a door with just this one."""
    return KeyRing([AccessKey("", digest_of(key))])


def operators_key(key: str = ADMIN_KEY) -> KeyRing:
    """The keys for operators with just this one; none where it is empty."""
    known = [AccessKey("admin.key", digest_of(key), ADMIN_METHODS)]
    return KeyRing(known if key else ())


@dataclass
class Observed:
    """A `CommandObserver` that keeps what it hears."""

    commands: list[tuple[str, str, int]] = field(default_factory=list)
    keys: list[tuple[str, str, str]] = field(default_factory=list)

    def observe_command(
        self, method: str, protocol: str, seconds: float, error_code: int
    ) -> None:
        assert seconds >= 0
        self.commands.append((method, protocol, error_code))

    def observe_key(self, name: str, protocol: str, result: str) -> None:
        self.keys.append((name, protocol, result))


class World:
    """The services over memory, and the memory to look into."""

    def __init__(
        self,
        *,
        database: bool = True,
        enabled: tuple[str, ...] = ("fcm",),
        limits: DeviceLimits | None = None,
    ) -> None:
        limits = replace(limits or DeviceLimits(), payload_size=2048)
        self.user_topics = MemoryUserTopics()
        self.devices = MemoryDevices(self.user_topics.registry)
        self.queue = MemoryJobQueue()
        self.uids = MemoryUids()
        self.expired: list[tuple[str, RecipientType, int]] = []
        self.observed = Observed()
        self.audit = MemoryAudit()
        self.breakers = LocalBreakerStore()
        self.results = MemoryResults(SystemClock())
        audit = AuditTrail(self.audit if database else None, clock=SystemClock())
        self.send_log = MemorySendLog(SystemClock())
        credentials = CredentialService(
            self.breakers if database else None,
            [CredentialName("fcm", "fcm", "d1")],
            clock=SystemClock(),
            backlog=self.queue,
            audit=audit,
        )
        sends = SendsService(
            self.send_log if database else None,
            self.queue.accounts,
            search=LetterSearch(self.queue),
            credentials=credentials,
            breakers=self.breakers if database else None,
            clock=SystemClock(),
        )
        devices = self.devices if database else None
        user_topics = self.user_topics if database else None
        self.services = Services(
            devices=DeviceService(devices, limits, enabled_providers=enabled),
            topics=TopicService(devices, user_topics, limits),
            sends=SendService(
                self.queue,
                self.uids,
                clock=SystemClock(),
                enabled_providers=enabled,
                has_database=database,
                batch_sizes={"fcm": 2},
                limits=limits,
                on_expired=lambda *args: self.expired.append(args),
            ),
            admin=AdminServices(
                dead_letters=DeadLetterService(
                    self.queue,
                    audit=audit,
                    mends=MendChecks(enabled, payload_size=2048),
                ),
                credentials=credentials,
                sends=sends,
                send_audit=SendAudit(sends, self.queue.accounts, clock=SystemClock()),
                removals=RemovalService(devices, audit=audit),
                audit=audit,
                results=ResultService(self.results if database else None),
            ),
        )

    @property
    def changes(self) -> int:
        """How often anything was written anywhere."""
        return self.devices.writes + self.user_topics.writes + len(self.queue.accepted)


@asynccontextmanager
async def serving(
    world: World, *, tracer: Tracer | None = None, **settings: Any
) -> AsyncIterator[GrpcServer]:
    """A started server on a free loopback port with the key `KEY`."""
    chosen = {"host": "127.0.0.1", "port": 0, "keys": single_key(), **settings}
    server = GrpcServer(
        world.services,
        GrpcSettings(**chosen),
        observer=world.observed,
        tracer=tracer,
    )
    await server.start()
    try:
        yield server
    finally:
        await server.stop(0)


@asynccontextmanager
async def calling(server: GrpcServer) -> AsyncIterator[Any]:
    """A stub on a channel of its own."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield api_pb2_grpc.CentrifugoApiStub(channel)
