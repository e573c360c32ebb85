"""Moves everything unfinished from one queue engine into another, losing nothing.

It knows no engine: it reads, stores and forgets through the port `QueueStock`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from tocsin.config import Config
from tocsin.core.ports.queue_stock import QueueStock

PAGE = 200


@dataclass(slots=True)
class Moved:
    """What a move carried over. `held` are entries that it had to leave."""

    entries: int = 0
    delayed: int = 0
    letters: int = 0
    held: int = 0


async def move_queue(
    source: QueueStock,
    target: QueueStock,
    *,
    on_progress: Callable[[Moved], None] = lambda _: None,
) -> Moved:
    """Carry over all entries, delayed ones and dead letters; repeatable.

    Each is stored over there before it is forgotten here, and stored once however
    often a move breaks off. Entries in the hands of a living worker are left, and
    counted in `held`: begin only when there are none.
    """
    moved = Moved()
    origin = await source.origin()
    while True:
        entries, payloads = await source.fetch_entries(limit=PAGE)
        letters = await source.fetch_letters(limit=PAGE)
        if not entries and not letters:
            moved.held = await source.count_held()
            return moved
        accounts = await source.fetch_accounts({each.push_id for each in entries})
        # In this order: a crash in between leaves them in both, and `take_in`
        # stores only once.
        await target.take_in(
            entries, payloads, letters, origin=origin, accounts=accounts
        )
        await source.give_up(entries, letters)
        moved.entries += len(entries)
        moved.delayed += sum(entry.due_ms > 0 for entry in entries)
        moved.letters += len(letters)
        on_progress(moved)


def is_same_queue(one: Config, other: Config) -> bool:
    """Whether both configurations name the same place, so that nothing can move."""
    return _place(one) == _place(other)


async def open_stock(
    config: Config, stack: AsyncExitStack, *, as_it_is: bool = False
) -> QueueStock:
    """The stock of the configured queue, with its tables made; no worker starts.

    `as_it_is` makes none: they have to be there, and of this release.
    """
    from tocsin.app.resources import open_database, opening_queue
    from tocsin.queue.redis_connection import connect
    from tocsin.queue.redis_operator import RedisQueueStock
    from tocsin.queue.sql import SqlJobQueue
    from tocsin.queue.sql_operator import SqlQueueStock
    from tocsin.storage.engine import open_postgres

    push = config.push_notifications
    if config.queue_kind == "redis":
        settings = push.queue.redis
        client = connect(settings.address)
        stack.push_async_callback(client.aclose)
        takeover_s = push.retry.takeover
        return RedisQueueStock(client, prefix=settings.prefix, takeover_s=takeover_s)
    if config.queue_kind == "postgresql":
        database = open_postgres(
            config.queue_dsn, pgbouncer=config.queue_behind_pgbouncer
        )
        stack.push_async_callback(database.close)
    else:
        opened = await open_database(config, stack, as_it_is=as_it_is)
        assert opened is not None  # noqa: S101 - a queue in SQLite has its file
        database = opened
    prefix = push.queue.postgresql.prefix
    queue = SqlJobQueue(database.engine, owner="drain", prefix=prefix)
    with opening_queue(config):
        await (queue.start_as_it_is() if as_it_is else queue.start())
    return SqlQueueStock(database.engine, prefix=prefix)


def _place(config: Config) -> tuple[object, ...]:
    queue = config.push_notifications.queue
    if config.queue_kind == "redis":
        return ("redis", queue.redis.address, queue.redis.prefix)
    if config.queue_kind == "postgresql":
        return ("postgresql", config.queue_dsn, queue.postgresql.prefix)
    return ("sqlite", config.database.sqlite.path, queue.postgresql.prefix)
