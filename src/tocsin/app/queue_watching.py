"""Watches the queue for data that it lost, beside a server or a worker.

It decides nothing: what a loss is says `push/queue_watch.py`.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import structlog

from tocsin.app.lifecycle import start_beside
from tocsin.app.resources import Resources
from tocsin.config import Config
from tocsin.core.errors import ApiError
from tocsin.core.ports.sends import QueueMarkStore
from tocsin.push.queue_watch import ProcessQueueMarks, QueueWatch

INTERVAL_S = 3.0
"""Seconds between two looks: a loss has to be named within ten."""
LOOK_TIMEOUT_S = 5.0

_log = structlog.get_logger(__name__)


async def start_queue_watch(resources: Resources, stack: AsyncExitStack) -> None:
    """Look once, then every few seconds until `stack` is left."""
    if resources.queue is None:
        return
    metrics = resources.metrics
    marks: QueueMarkStore = ProcessQueueMarks()
    if resources.database is not None:
        from tocsin.storage.queue_marks import SqlQueueMarkStore

        marks = SqlQueueMarkStore(resources.database)

    def count(kind: str) -> None:
        metrics.push_queue_losses.add(1, kind)

    watch = QueueWatch(
        resources.queue,
        marks,
        place=place_of_queue(resources.config),
        clock=resources.clock,
        on_loss=count,
    )
    resources.queue_watch = watch
    resources.notices = watch.notices
    await _look(watch, resources)
    start_beside(_look_for_ever(watch, resources), stack)


async def _look_for_ever(watch: QueueWatch, resources: Resources) -> None:
    while True:
        await asyncio.sleep(INTERVAL_S)
        await _look(watch, resources)


async def _look(watch: QueueWatch, resources: Resources) -> None:
    try:
        # A store that hangs must not stop the looks that follow.
        async with asyncio.timeout(LOOK_TIMEOUT_S):
            await watch.check()
    except (ApiError, TimeoutError) as error:
        # A store that is away is reported by those who need it.
        _log.debug("queue not compared with what was known of it", error=str(error))
    resources.metrics.push_queue_lost_at.set(watch.lost_at_ms / 1000)


def place_of_queue(config: Config) -> str:
    """Where the queue is, for logs and comparisons, without users and passwords."""
    queue = config.push_notifications.queue
    if config.queue_kind == "redis":
        from tocsin.config.redis_addresses import parse_redis

        address = parse_redis(queue.redis.address[0])
        nodes = [f"{host}:{port}" for host, port in address.nodes] or [address.path]
        parts = [*nodes, address.master_name, f"db {address.db}"]
        return f"Redis at {' '.join(filter(None, parts))}, {queue.redis.prefix}"
    if config.queue_kind == "postgresql":
        from tocsin.storage.places import describe_postgres

        prefix = queue.postgresql.prefix
        return f"{describe_postgres(config.queue_dsn)}, {prefix}queue_jobs"
    return f"the SQLite file of the registry, {queue.postgresql.prefix}queue_jobs"
