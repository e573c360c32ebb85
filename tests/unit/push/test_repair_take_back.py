from __future__ import annotations

import pytest
from tests.support.jobs import ManualClock
from tests.support.memory_queue import MemoryJobQueue
from tests.support.memory_registry import MemoryUids
from tests.support.memory_send_log import MemorySendLog

from tocsin.core.errors import QueueUnavailable
from tocsin.core.push import Body, RawRecipient, SendRequest, TargetKind
from tocsin.core.send_log import Progress, SendRecord
from tocsin.push.log_keeper import SendLogKeeper
from tocsin.push.repair import Repair
from tocsin.push.sending import SendService


class LoggedSends:
    """A server with a log, whose queue may lose everything."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.queue = MemoryJobQueue(self.clock)
        self.log = MemorySendLog(self.clock)
        self.taken_back: list[int] = []
        repair = Repair(self.queue, self.queue.accounts, self.log, clock=self.clock)
        self.keeper = SendLogKeeper(
            self.log, self.queue.accounts, repair, owner="k", clock=self.clock
        )
        self.service = SendService(
            self.queue,
            MemoryUids(self.clock),
            clock=self.clock,
            enabled_providers=("fcm",),
            has_database=True,
            log=self.log,
            repair=repair,
            on_cancelled=lambda *told: self.taken_back.append(told[2]),
        )
        self.request = SendRequest(
            RawRecipient("fcm", TargetKind.TOKEN, ("a", "b")),
            {"fcm": Body(b'{"notification": {"title": "Hi"}}')},
            uid="u",
            send_at_ms=self.clock.now_ms() + 60_000,
        )

    async def record(self) -> SendRecord:
        await self.keeper.look()
        found = await self.log.fetch(uid="u")
        assert found is not None
        return found


async def test_a_send_that_the_queue_lost_is_taken_back() -> None:
    """Repair does not queue it again: it is over, and its account closes."""
    room = LoggedSends()
    await room.service.send(room.request)
    room.queue.data.lose()
    await room.service.cancel("u")
    room.clock.advance(120)
    record = await room.record()
    assert record.progress is Progress.CANCELLED
    assert record.account.parts == {"cancelled": 2}
    assert record.account.find_fault() == ""
    assert room.taken_back == [2]
    assert room.queue.jobs == []


async def test_what_its_server_was_about_to_queue_is_not_queued_any_more() -> None:
    """The call that brought it stood still while its caller took the send back."""
    room = LoggedSends()
    room.queue.faults["enqueue"] = [QueueUnavailable("away")]
    with pytest.raises(QueueUnavailable):
        await room.service.send(room.request)
    (row,) = room.log.data.rows.values()
    await room.log.accept_again(row.accepting)
    await room.service.cancel("u")
    assert (await room.record()).progress is Progress.CANCELLED
    # Its account is forgotten by now; the queue knows the send all the same.
    accepting = row.accepting
    assert not await room.queue.enqueue(accepting.payload, accepting.jobs)


async def test_one_that_is_in_the_queue_or_over_is_left_to_the_queue() -> None:
    room = LoggedSends()
    await room.service.send(room.request)
    await room.service.cancel("u")
    await room.service.cancel("u")
    assert (await room.record()).progress is Progress.CANCELLED
    await room.service.cancel("u")
    await room.service.cancel("unknown")
    assert room.taken_back == [2]


async def test_one_that_is_due_is_not_taken_back() -> None:
    """It is late, and will be queued again: its caller is late as well."""
    room = LoggedSends()
    await room.service.send(room.request)
    room.queue.data.lose()
    room.clock.advance(61)
    await room.service.cancel("u")
    assert not (await room.record()).progress.is_over
    assert len(room.queue.jobs) == 1
