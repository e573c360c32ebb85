"""Opens what servers and workers share: the database, the queue, the uids.

Everything that is opened here is closed by the exit stack of the caller.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from tocsin.app.analytics import OpenAnalytics
from tocsin.app.clock import SharedClock
from tocsin.app.faults import CannotOpen, opening
from tocsin.app.lifecycle import start_beside
from tocsin.config import Config
from tocsin.config.redis_addresses import mask_redis
from tocsin.core.ports.audit import AuditStore
from tocsin.core.ports.breakers import BreakerStore
from tocsin.core.ports.devices import DeviceStore, UserTopicStore, VerdictStore
from tocsin.core.ports.providers import TokenStore
from tocsin.core.ports.queue import JobQueue, RateLimiter
from tocsin.core.ports.receipts import ReceiptStore
from tocsin.core.ports.sends import UidStore
from tocsin.core.removals import RemovalLimit
from tocsin.push.queue_watch import QueueWatch
from tocsin.push.repair import Repair
from tocsin.storage.engine import Database
from tocsin.storage.results import SqlResultStore
from tocsin.storage.send_log import SqlSendLog
from tocsin.telemetry.metrics import Metrics
from tocsin.telemetry.spans import Tracer

_QUEUE = "push_notifications.queue"

_log = structlog.get_logger(__name__)


@dataclass
class Resources:
    """What is open; a part is `None` where the configuration has none."""

    config: Config
    metrics: Metrics
    clock: SharedClock
    database: Database | None = None
    queue: JobQueue | None = None
    devices: DeviceStore | None = None
    user_topics: UserTopicStore | None = None
    uids: UidStore | None = None
    receipts: ReceiptStore | None = None
    verdicts: VerdictStore | None = None
    audit: AuditStore | None = None
    results: SqlResultStore | None = None
    """`None` where callers are told nothing."""
    breakers: BreakerStore | None = None
    tokens: TokenStore | None = None
    limiter: RateLimiter | None = None
    analytics: OpenAnalytics | None = None
    checks: dict[str, Callable[[], Awaitable[object]]] = field(default_factory=dict)
    queue_watch: QueueWatch | None = None
    send_log: SqlSendLog | None = None
    repair: Repair | None = None
    notices: Callable[[], Mapping[str, str]] = dict
    tracer: Tracer | None = None


async def open_resources(
    config: Config, stack: AsyncExitStack, *, as_it_is: bool = False
) -> Resources:
    """Open and migrate whatever the configuration names.

    `as_it_is` creates and migrates nothing, see `open_database`. Raises `CannotOpen`
    naming key and place, `MigrationError` for a schema that does not fit.
    """
    resources = Resources(config, Metrics(config.prometheus.namespace), SharedClock())
    database = await open_database(config, stack, as_it_is=as_it_is)
    if database is not None:
        resources.database = database
        _add_stores(resources, database, _open_replicas(config, stack))
    if config.push_notifications.enabled:
        with opening_queue(config):
            await _open_queue(resources, database, stack, as_it_is=as_it_is)
    return resources


async def open_database(
    config: Config, stack: AsyncExitStack, *, as_it_is: bool = False
) -> Database | None:
    """Open the registry's database and bring its schema up to date.

    With `as_it_is` nothing is made: a SQLite file has to be there, and the schema
    has to be this release's. Raises `CannotOpen` and `MigrationError`.
    """
    from tocsin.storage.migrations import migrate, require_head

    if config.database.kind is None:
        return None
    key, place, find_cause = _place_of_database(config)
    if as_it_is and config.database.kind == "sqlite":
        _require_file(key, place)
    database = _open_engine(config)
    stack.push_async_callback(database.close)
    with opening(key, place, find_cause=find_cause):
        if as_it_is:
            await require_head(database)
            return database
        applied = await migrate(database)
    if config.database.kind == "sqlite" and (fault := find_cause()):
        # Reading it goes well: without this the first registration would fail.
        raise CannotOpen(key, place, fault)
    if applied:
        _log.info("database schema is up to date", applied=applied)
    return database


def _require_file(key: str, path: str) -> None:
    if not Path(path).exists():
        raise CannotOpen(
            key,
            path,
            "there is no such file, and this verb makes none; name the one that the"
            " server uses",
            is_configuration=True,
        )


def _open_engine(config: Config) -> Database:
    from tocsin.storage.engine import open_postgres, open_sqlite

    if config.database.kind == "sqlite":
        return open_sqlite(config.database.sqlite.path)
    settings = config.database.postgresql
    return open_postgres(
        settings.dsn,
        pool_max_size=settings.pool_max_size,
        pgbouncer=settings.pgbouncer,
    )


def _place_of_database(config: Config) -> tuple[str, str, Callable[[], str]]:
    """Its key, where it is, and what looks for a fault of that place."""
    from tocsin.storage.places import (
        describe_postgres,
        describe_sqlite,
        find_sqlite_fault,
    )

    if config.database.kind == "sqlite":
        path = config.database.sqlite.path
        return (
            "database.sqlite.path",
            describe_sqlite(path),
            lambda: find_sqlite_fault(path),
        )
    dsn = config.database.postgresql.dsn
    return "database.postgresql.dsn", describe_postgres(dsn), lambda: ""


def opening_queue(config: Config) -> AbstractContextManager[None]:
    """Faults of the queue's opening, with its key and place."""
    queue = config.push_notifications.queue
    if config.queue_kind == "redis":
        reused = queue.redis.reuse_from_engine and config.engine.type == "redis"
        key = "engine.redis.address" if reused else _QUEUE + ".redis.address"
        where = " ".join(map(mask_redis, queue.redis.address))
        return opening(key, f"Redis at {where}")
    if config.queue_dsn and config.queue_dsn != config.database.postgresql.dsn:
        from tocsin.storage.places import describe_postgres

        return opening(_QUEUE + ".postgresql.dsn", describe_postgres(config.queue_dsn))
    key, place, find_cause = _place_of_database(config)
    return opening(key, place, find_cause=find_cause)


def _open_replicas(config: Config, stack: AsyncExitStack) -> list[Database]:
    """The databases that lists and walks are read from; they are never migrated."""
    from tocsin.storage.engine import open_postgres

    if not config.push_notifications.read_from_replica:
        return []
    settings = config.database.postgresql
    replicas = [
        open_postgres(
            dsn, pool_max_size=settings.pool_max_size, pgbouncer=settings.pgbouncer
        )
        for dsn in settings.replica_dsn
    ]
    for replica in replicas:
        stack.push_async_callback(replica.close)
    return replicas


def _add_stores(
    resources: Resources, database: Database, replicas: Sequence[Database]
) -> None:
    from tocsin.storage.audit_log import SqlAuditStore
    from tocsin.storage.breakers import SqlBreakerStore
    from tocsin.storage.devices import SqlDeviceStore
    from tocsin.storage.tickets import SqlReceiptStore
    from tocsin.storage.uids import SqlUidStore
    from tocsin.storage.user_topics import SqlUserTopicStore
    from tocsin.storage.verdicts import SqlVerdictStore

    limit = resources.config.push_notifications.limits.topics_per_device
    resources.devices = SqlDeviceStore(
        database,
        clock=resources.clock,
        topics_per_device=limit,
        replicas=replicas,
    )
    resources.user_topics = SqlUserTopicStore(database, topics_per_user=limit)
    resources.uids = SqlUidStore(database, clock=resources.clock)
    resources.receipts = SqlReceiptStore(database)
    resources.audit = SqlAuditStore(database)
    if resources.config.push_notifications.results.detail != "off":
        resources.results = SqlResultStore(database, clock=resources.clock)
    resources.verdicts = SqlVerdictStore(database, clock=resources.clock)
    resources.breakers = SqlBreakerStore(database, clock=resources.clock)
    resources.checks["database"] = database.check
    resources.metrics.watch_pool("database", database.pool_stats)
    for number, replica in enumerate(replicas):
        resources.metrics.watch_pool(f"replica_{number}", replica.pool_stats)


async def _open_queue(
    resources: Resources,
    database: Database | None,
    stack: AsyncExitStack,
    *,
    as_it_is: bool,
) -> None:
    kind = resources.config.queue_kind
    if kind == "redis":
        queue = await _open_redis_queue(resources, stack, as_it_is=as_it_is)
    else:
        queue = await _open_sql_queue(resources, database, stack, as_it_is=as_it_is)
    resources.queue = queue
    # Before anything is due by it.
    await resources.clock.learn(queue)
    start_beside(resources.clock.follow(queue), stack)
    # A queue in a database of its own has put that database's check there.
    resources.checks.setdefault("queue", queue.check)


async def _open_redis_queue(
    resources: Resources, stack: AsyncExitStack, *, as_it_is: bool
) -> JobQueue:
    from tocsin.queue.breakers import RedisBreakerStore
    from tocsin.queue.rates import RedisRateLimiter
    from tocsin.queue.redis_connection import connect
    from tocsin.queue.redis_stream import RedisStreamJobQueue
    from tocsin.queue.tokens import RedisTokenStore
    from tocsin.queue.uids import RedisUidStore

    push = resources.config.push_notifications
    settings = push.queue.redis
    client = connect(settings.address)
    stack.push_async_callback(client.aclose)
    resources.limiter = RedisRateLimiter(client, prefix=settings.prefix)
    queue = RedisStreamJobQueue(
        client,
        consumer=consumer_name(),
        prefix=settings.prefix,
        max_stream_length=settings.max_stream_length,
        takeover_s=push.retry.takeover,
        dates=resources.clock,
    )
    stack.push_async_callback(queue.close)
    await queue.start(is_visit=as_it_is)
    resources.tokens = RedisTokenStore(client, prefix=settings.prefix)
    if resources.uids is None:
        resources.uids = RedisUidStore(client, prefix=settings.prefix)
    if resources.breakers is None:
        resources.breakers = RedisBreakerStore(client, prefix=settings.prefix)
    return queue


async def _open_sql_queue(
    resources: Resources,
    database: Database | None,
    stack: AsyncExitStack,
    *,
    as_it_is: bool,
) -> JobQueue:
    from tocsin.queue.rates import SqlRateLimiter
    from tocsin.queue.sql import SqlJobQueue
    from tocsin.queue.tokens import SqlTokenStore
    from tocsin.storage.engine import open_postgres

    config = resources.config
    push = config.push_notifications
    own = config.queue_dsn if config.queue_kind == "postgresql" else ""
    if database is None or (own and own != config.database.postgresql.dsn):
        database = open_postgres(own, pgbouncer=config.queue_behind_pgbouncer)
        stack.push_async_callback(database.close)
        resources.metrics.watch_pool("queue", database.pool_stats)
        resources.checks["queue"] = database.check
    resources.limiter = SqlRateLimiter(
        database.engine, prefix=push.queue.postgresql.prefix, clock=resources.clock
    )
    leases = None
    if database.dialect == "postgresql":
        leases = open_postgres(
            own or config.database.postgresql.dsn,
            # For renewals alone; see `SqlJobQueue`.
            pool_max_size=1,
            pgbouncer=config.queue_behind_pgbouncer,
        )
        stack.push_async_callback(leases.close)
    queue = SqlJobQueue(
        database.engine,
        owner=consumer_name(),
        prefix=push.queue.postgresql.prefix,
        max_pending=push.queue.max_pending,
        takeover_s=push.retry.takeover,
        leases=leases.engine if leases is not None else None,
        dates=resources.clock,
    )
    stack.push_async_callback(queue.close)
    await (queue.start_as_it_is() if as_it_is else queue.start())
    resources.tokens = SqlTokenStore(
        database.engine, prefix=push.queue.postgresql.prefix, clock=resources.clock
    )
    return queue


def removal_limit(config: Config) -> RemovalLimit:
    """How many devices verdicts may remove before a person has to look."""
    removals = config.push_notifications.removals
    return RemovalLimit(removals.max_share, int(removals.window * 1000), removals.least)


def consumer_name() -> str:
    """Unique per process, and readable in a list of consumers."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
