"""The stores of a life in memory."""

from __future__ import annotations

from collections.abc import Sequence

from tests.support.memory_queue import MemoryJobQueue, MemoryQueueData
from tests.support.memory_registry import MemoryDevices, MemoryRegistry, MemoryVerdicts
from tests.support.memory_send_log import MemoryLogData, MemorySendLog

from tocsin.core.ports.clock import Clock
from tocsin.core.ports.sends import UidClaim
from tocsin.core.push import SendJob
from tocsin.core.send_log import SendRecord
from tocsin.push.queue_watch import ProcessQueueMarks


class _Claims:
    """`UidStore` over the claims of the log, which share a table in a database."""

    def __init__(self, data: MemoryLogData, clock: Clock) -> None:
        self._data = data
        self._clock = clock

    async def claim(
        self, uid: str, *, fingerprint: bytes, push_id: str, ttl_s: float
    ) -> UidClaim:
        assert not ttl_s, "with a log uids are claimed there"
        found = self._data.claims.get(uid)
        if found is None or found.expires_at_ms <= self._clock.now_ms():
            return UidClaim(push_id, accepted=False)
        return UidClaim(found.push_id, found.accepted, found.epoch)

    async def confirm(self, uid: str, *, epoch: str = "") -> None:
        if (found := self._data.claims.get(uid)) is not None:
            found.accepted, found.epoch = True, epoch


class MemoryStores:
    """See `Stores`."""

    def __init__(self, clock: Clock, *, lease_s: float) -> None:
        self._clock = clock
        self._lease_s = lease_s
        self._queue = MemoryQueueData("epoch-1")
        self._log = MemoryLogData()
        self._registry = MemoryRegistry()
        self._marks = ProcessQueueMarks()

    async def queue(self, owner: str) -> MemoryJobQueue:
        return MemoryJobQueue(
            self._clock, data=self._queue, owner=owner, takeover_s=self._lease_s
        )

    def log(self) -> MemorySendLog:
        return MemorySendLog(self._clock, data=self._log)

    def uids(self) -> _Claims:
        return _Claims(self._log, self._clock)

    def devices(self) -> MemoryDevices:
        return MemoryDevices(self._registry, clock=self._clock)

    def verdicts(self) -> MemoryVerdicts:
        return MemoryVerdicts(self._registry, clock=self._clock)

    def marks(self) -> ProcessQueueMarks:
        return self._marks

    async def lose_queue(self) -> None:
        number = int(self._queue.epoch.rpartition("-")[2])
        self._queue.lose(epoch=f"epoch-{number + 1}")

    async def left(self) -> list[str]:
        entries = [f"{e.job.queue} has {e.job.id}" for e in self._queue.entries()]
        accounts = [f"the queue has an account of {id}" for id in self._queue.accounts]
        payloads = [f"the queue has a payload of {id}" for id in self._queue.payloads]
        return entries + accounts + payloads

    async def letters(self) -> list[tuple[str, Sequence[str]]]:
        return [
            (letter.reason, letter.job.work.recipients.targets)
            for letter, _ in self._queue.letters.values()
            if isinstance(letter.job, SendJob)
        ]

    async def records(self) -> list[SendRecord]:
        return [row.record for row in self._log.rows.values()]
