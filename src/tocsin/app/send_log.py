"""Opens the send log, and keeps it beside a server or a worker.

It decides nothing: what is kept says `push/log_keeper.py`, what is lost
`push/repair.py`.
"""

from __future__ import annotations

import asyncio
import uuid
from contextlib import AsyncExitStack

import structlog

from tocsin.app.lifecycle import start_beside
from tocsin.app.resources import Resources
from tocsin.core.errors import ApiError
from tocsin.core.ports.queue import JobQueue
from tocsin.core.ports.send_log import SendLog, SendSource
from tocsin.push.letter_keeper import LetterKeeper
from tocsin.push.log_keeper import SendLogKeeper
from tocsin.push.repair import Repair

INTERVAL_S = 1.0
"""Seconds between two looks; so old is what the log says of a long send at most."""
LOOK_TIMEOUT_S = 60.0
COUNT_EVERY = 10
"""Looks between two counts of the open sends."""

_log = structlog.get_logger(__name__)


async def start_send_log(resources: Resources, stack: AsyncExitStack) -> None:
    """Open the log where there are a database and a queue, and begin to keep it."""
    queue, database = resources.queue, resources.database
    if queue is None:
        return
    if database is None:
        _log.warning(
            "no database: accepted sends are kept in the queue alone, and what it loses"
            " is lost (Redis: up to a second with appendfsync everysec); set"
            " database.postgresql.dsn for a send log"
        )
        return
    from tocsin.storage.letter_copies import SqlLetterCopies
    from tocsin.storage.send_log import SqlSendLog

    settings = resources.config.push_notifications
    log = SqlSendLog(database, clock=resources.clock, results=resources.results)
    resources.send_log = log
    resources.repair = build_repair(resources, queue, log)
    watch = resources.queue_watch

    async def is_whole() -> bool:
        if watch is not None:
            await watch.check()
        return not keeper.has_lost()

    keeper = SendLogKeeper(
        log,
        queue.accounts,
        resources.repair,
        owner=uuid.uuid4().hex,
        clock=resources.clock,
        lease_s=settings.retry.takeover,
        keep_s=settings.send_log.keep,
        lost_at_ms=lambda: 0 if watch is None else watch.lost_at_ms,
        epoch=lambda: "" if watch is None else watch.epoch,
        on_broken=lambda *_: resources.metrics.push_broken_accounts.add(1),
        letters=LetterKeeper(
            queue, queue.letters, SqlLetterCopies(database), is_whole=is_whole
        ),
    )
    start_beside(_keep_for_ever(keeper, log, resources), stack)


def build_repair(resources: Resources, queue: JobQueue, log: SendLog) -> Repair:
    """What queues lost sends again, by the configuration."""
    return Repair(
        queue,
        queue.accounts,
        log,
        clock=resources.clock,
        watch=resources.queue_watch,
        resume=resources.config.push_notifications.send_log.repair == "resume",
        on_repaired=lambda result: resources.metrics.push_repairs.add(1, result),
    )


async def _keep_for_ever(
    keeper: SendLogKeeper, log: SendSource, resources: Resources
) -> None:
    looks = 0
    while True:
        await asyncio.sleep(INTERVAL_S)
        try:
            # A store that hangs must not stop the looks that follow.
            async with asyncio.timeout(LOOK_TIMEOUT_S):
                await keeper.look()
                if looks % COUNT_EVERY == 0:
                    resources.metrics.push_open_sends.set(await log.count_open())
        except (ApiError, TimeoutError) as error:
            # A store that is away is reported by those who need it.
            _log.debug("send log not compared with the queue", error=str(error))
        except Exception:  # noqa: BLE001 - the border of a background task
            # Whatever one row has in it: nobody would repair anything any more.
            _log.exception("a look at the send log failed; the next one tries again")
        looks += 1
