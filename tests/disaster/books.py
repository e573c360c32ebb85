"""What the product itself has written down of a run: dead letters and accounts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from tests.disaster.accounts import Letter
from tests.disaster.callers import Record
from tests.disaster.schedule import Plan
from tests.disaster.stage import Stage

from tocsin.app.faults import CannotOpen
from tocsin.app.resources import open_resources
from tocsin.config.loader import load_config
from tocsin.core.accounts import Part, WalkEnd
from tocsin.core.errors import ApiError
from tocsin.core.push import DeadLetter, SendJob
from tocsin.core.send_log import SendRecord
from tocsin.storage.send_log import SqlSendLog


@dataclass
class Books:
    """Dead letters, how many of each send expired, and what is wrong with accounts."""

    letters: list[Letter] = field(default_factory=list)
    expired: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def read_books(stage: Stage, records: Sequence[Record]) -> Books:
    """Read them; that they cannot be read is a fault as well."""
    books = Books()
    try:
        asyncio.run(_read(stage, records, books))
    except (ApiError, CannotOpen) as error:
        books.faults.append(f"the books cannot be read: {error}")
    return books


async def _read(stage: Stage, records: Sequence[Record], books: Books) -> None:
    config = load_config(str(stage.config_file), environ={}).config
    async with AsyncExitStack() as stack:
        resources = await open_resources(config, stack, as_it_is=True)
        queue, database = resources.queue, resources.database
        assert queue is not None
        assert database is not None
        after = ""
        while letters := await queue.list_dead(limit=100, after=after):
            books.letters += map(_letter, letters)
            after = letters[-1].id
        log = SqlSendLog(database, clock=resources.clock)
        for record in records:
            for uid in record.uids:
                kept = await log.fetch(uid=uid)
                books.faults += _find_faults(stage.plan, record, kept)
                if kept is not None and WalkEnd.EXPIRED not in kept.account.walk_ends:
                    expired = kept.account.parts[Part.EXPIRED]
                    books.expired[record.send.name] = expired


def _find_faults(plan: Plan, record: Record, kept: SendRecord | None) -> Iterator[str]:
    """What is wrong with the account of an accepted send in the send log."""
    name = record.send.name
    if kept is None:
        if not plan.loses_data:
            yield f"{name} is not in the send log"
        return
    account = kept.account
    if fault := account.find_fault():
        yield f"the account of {name} does not close: {fault}"
    wanted = len(record.send.tokens)
    is_short = record.send.kind == "tokens" and account.matched != wanted
    if is_short and not plan.loses_data:
        yield f"the account of {name} has {account.matched} of {wanted} recipients"


def _letter(letter: DeadLetter) -> Letter:
    job = letter.job
    tokens = job.work.recipients.targets if isinstance(job, SendJob) else ()
    return Letter(letter.uid, frozenset(tokens), letter.reason)
