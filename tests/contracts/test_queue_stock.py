"""The port `QueueStock`: a queue moves into any other, whole and once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.job_queues import (
    EXPAND,
    SEND,
    QueueBackend,
    backend_for,
    drain,
    expand_job,
    payload_for,
    receive_soon,
    send_job,
)

from tocsin.app.moving import move_queue
from tocsin.core.clock import SystemClock
from tocsin.core.ports.queue import JobQueue
from tocsin.core.ports.queue_stock import QueueStock, Stored, StoredLetter
from tocsin.core.push import Send
from tocsin.queue.redis_operator import RedisQueueStock
from tocsin.queue.sql_operator import SqlQueueStock

QUICK_S = 2.0
MOVES = [
    ("redis", "sqlite"),
    ("sqlite", "redis"),
    ("postgresql", "redis"),
    ("redis", "postgresql"),
    ("sqlite", "postgresql"),
    ("redis-cluster", "redis"),
]


@dataclass
class Side:
    """One end of a move."""

    backend: QueueBackend
    queue: JobQueue

    def stock(self) -> QueueStock:
        if self.backend.engine == "redis":
            return RedisQueueStock(self.backend.redis(), takeover_s=QUICK_S)
        return SqlQueueStock(self.backend.sql())


@pytest.fixture(params=MOVES, ids=lambda pair: "-to-".join(pair))
async def sides(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[tuple[Side, Side]]:
    """An old and a new queue, both empty."""
    old_engine, new_engine = request.param
    async for old in backend_for(request, old_engine, tmp_path):
        async for new in backend_for(request, new_engine, tmp_path):
            yield (
                Side(old, await old.open(takeover_s=QUICK_S)),
                Side(new, await new.open()),
            )


def now_ms() -> int:
    return SystemClock().now_ms()


async def fill(queue: JobQueue) -> None:
    """Something of everything: fresh, put off, scheduled, dead, unreadable."""
    await queue.enqueue(payload_for("p1"), [expand_job("p1"), send_job("p1", id="a")])
    await queue.enqueue(payload_for("p2"), [send_job("p2", id="b")])
    scheduled = [send_job("p3", id="c")]
    await queue.enqueue(payload_for("p3"), scheduled, due_ms=now_ms() + 60_000)
    first, second = await drain(queue, [SEND])
    later = (send_job("p1", id="d"), now_ms() + 60_000)
    await queue.settle(first, follow=[later], dead=[(first.job, "no")])
    await queue.settle(second, follow=[(send_job("p2", id="e"), 0)])


async def test_everything_arrives_and_nothing_stays(sides: tuple[Side, Side]) -> None:
    """Due times, payloads, dead letters and the uid to cancel by come along."""
    old, new = sides
    await fill(old.queue)
    moved = await move_queue(old.stock(), new.stock())
    assert (moved.entries, moved.delayed, moved.letters, moved.held) == (4, 2, 1, 0)
    assert await old.queue.waiting([EXPAND, SEND]) == {EXPAND: 0, SEND: 0}
    assert await old.queue.list_dead(limit=5) == []
    for push_id in ("p1", "p2", "p3"):
        assert await old.queue.fetch_payload(push_id) is None
        assert await new.queue.fetch_payload(push_id) == payload_for(push_id)
    assert await new.queue.waiting([EXPAND, SEND]) == {EXPAND: 1, SEND: 3}
    assert [d.job.id for d in await drain(new.queue, [SEND])] == ["e"]
    assert [job.id for job in await new.queue.cancel("uid-1")] == ["c"]
    assert await new.queue.fetch_payload("p3") is None
    [letter] = await new.queue.list_dead(limit=5)
    assert (letter.job.id, letter.reason) == ("a", "no")
    assert await new.queue.replay_dead([letter.id]) == 1
    assert (await receive_soon(new.queue)).job.id == "a"


async def test_payloads_go_with_their_last_job_there(sides: tuple[Side, Side]) -> None:
    """The new queue counts the jobs of a request as the old one did."""
    old, new = sides
    jobs = [send_job("p1") for _ in range(3)]
    await old.queue.enqueue(payload_for("p1"), jobs)
    await move_queue(old.stock(), new.stock())
    first, second, last = await drain(new.queue)
    for delivery in (first, second):
        await new.queue.settle(delivery)
        assert await new.queue.fetch_payload("p1") is not None
    await new.queue.settle(last)
    assert await new.queue.fetch_payload("p1") is None


async def test_what_a_living_worker_holds_stays(sides: tuple[Side, Side]) -> None:
    """It is counted, not moved; after its holder's silence it can be moved."""
    old, new = sides
    await old.queue.enqueue(payload_for("p1"), [send_job("p1"), send_job("p1")])
    held = await receive_soon(old.queue)
    await old.queue.record_progress({held.receipt: b"\5"})
    assert await old.stock().count_held() == 1
    moved = await move_queue(old.stock(), new.stock())
    assert (moved.entries, moved.held) == (1, 1)
    deadline = time.monotonic() + 10
    while await old.stock().count_held():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    moved = await move_queue(old.stock(), new.stock())
    assert (moved.entries, moved.held) == (1, 0)
    works = [d.job.work for d in await drain(new.queue)]
    sizes = [work.recipients.targets for work in works if isinstance(work, Send)]
    assert sorted(map(len, sizes)) == [1, 3]  # two of the held one were done
    assert ("token-b",) in sizes


async def test_a_move_that_broke_off_doubles_nothing(sides: tuple[Side, Side]) -> None:
    """Stored over there but not yet forgotten here: the next move passes it by."""
    old, new = sides
    await fill(old.queue)
    stock = old.stock()
    with pytest.raises(ConnectionError):
        await move_queue(BreaksOff(stock), new.stock())
    moved = await move_queue(stock, new.stock())
    assert (moved.entries, moved.letters) == (4, 1)
    assert await new.queue.waiting([EXPAND, SEND]) == {EXPAND: 1, SEND: 3}
    assert len(await new.queue.list_dead(limit=9)) == 1
    for push_id in ("p1", "p2", "p3"):
        assert await old.queue.fetch_payload(push_id) is None


async def test_unreadable_entries_move_as_they_are(sides: tuple[Side, Side]) -> None:
    """A release that can read them may work on the new queue."""
    old, new = sides
    await old.backend.plant(SEND, "p1", b"from the future")
    await move_queue(old.stock(), new.stock())
    assert await drain(new.queue) == []
    [letter] = await new.queue.list_dead(limit=5)
    assert letter.reason.startswith("undecodable")


class BreaksOff:
    """A stock whose process dies between storing there and forgetting here."""

    def __init__(self, stock: QueueStock) -> None:
        self._stock = stock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stock, name)

    async def give_up(
        self, entries: Sequence[Stored], letters: Sequence[StoredLetter] = ()
    ) -> None:
        raise ConnectionError
