"""One batch under way: its results, their record in the queue, and its pace.

At most `MAX_UNRECORDED` results may exist that a crash would forget: the pace of
sending waits for the journal, never the other way round.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

from tocsin.core.elapsed import elapsed_s
from tocsin.core.errors import ApiError
from tocsin.core.outcome import Outcome, Result, Verdict
from tocsin.core.ports.clock import Clock
from tocsin.core.ports.queue import Delivery, JobConsumer
from tocsin.core.push import Payload, SendJob
from tocsin.core.push_services import SERVICES
from tocsin.delivery.credentials import CredentialState, Trust
from tocsin.delivery.outages import Outages

FINAL = frozenset({Verdict.DELIVERED, Verdict.UNREGISTERED})
"""Verdicts that end a recipient for good, so that progress may skip it.

The others live on in a follow-up job or a dead letter, and those exist only
once the batch is settled: until then a take-over must try them again. So do
those of `held`, whose verdict is not believed.
"""

MAX_UNRECORDED = 100
"""Of all batches of a worker together: so many may be sent twice after a crash."""
RELIABLE_UNRECORDED = 10
"""The same for requests that want it smaller, and pay with speed."""


class Run:
    """A delivery of this job while it is worked on."""

    def __init__(
        self, delivery: Delivery, job: SendJob, payload: Payload, started_ms: int
    ) -> None:
        self.delivery = delivery
        self.job = job
        self.payload = payload
        self.started_ms = started_ms
        self.recipients = job.work.recipients
        # Asked for each result, so it is looked up once.
        self._origin_of = SERVICES.tokens_of(job.provider).origin
        size = len(self.recipients)
        self.bitmap = bytearray(delivery.done.ljust((size + 7) // 8, b"\0"))
        self.pending = [
            i for i in range(size) if not self.bitmap[i >> 3] >> (i & 7) & 1
        ]
        self.results: list[Result] = []
        self.done_before = size - len(self.pending)
        # For the log: the codes of who is tried again, and of whom the next try
        # would reach too late; who expired untried; whose device is removed.
        self.retried: Counter[str] = Counter()
        self.too_late: Counter[str] = Counter()
        self.expired = 0
        self.removed = 0
        self.held: set[int] = set()
        self.doubted: set[int] = set()
        self.trust: Trust | None = None
        # Its results are taken in one after the other, by the journal and at the end.
        self.taking = asyncio.Lock()
        self.taken = 0
        self.recorded = 0
        self.complete = False
        self.stopped = False

    def origin(self, index: int) -> str:
        """The push service of a target, where a credential has several."""
        return self._origin_of(self.recipients.targets[index])

    @property
    def lost(self) -> bool:
        """Whether another worker has it; see also `is_held`."""
        return self.delivery.lost

    @property
    def is_held(self) -> bool:
        """Whether the hold on it can be trusted now; without it nothing is sent."""
        return elapsed_s() < self.delivery.held_until

    def take(self) -> list[Result]:
        """Results that nobody took before; the final ones are still to be marked."""
        fresh = self.results[self.taken :]
        self.taken += len(fresh)
        return fresh

    def mark_done(self, results: Sequence[Result]) -> None:
        """Mark those of these that are final, so that nobody tries them again."""
        bitmap = self.bitmap
        for index, outcome, _ in results:
            if outcome.verdict in FINAL and index not in self.held:
                bitmap[index >> 3] |= 1 << (index & 7)

    def unsent(self) -> list[int]:
        """Pending indexes that no result came for."""
        answered = {index for index, _, _ in self.results}
        return [index for index in self.pending if index not in answered]


class TakesIn(Protocol):
    """Settlement, as the journal sees it."""

    async def take_in(self, runs: Sequence[Run]) -> None:
        """See `Settlement.take_in`."""
        ...


class Journal:
    """Counts unrecorded results over all batches of a worker and writes them."""

    def __init__(
        self,
        queue: JobConsumer,
        settlement: TakesIn,
        clock: Clock,
        *,
        max_unrecorded: int = MAX_UNRECORDED,
        outages: Outages | None = None,
    ) -> None:
        self._outages = outages or Outages()
        self._queue = queue
        self._settlement = settlement
        self._clock = clock
        self.max = max_unrecorded
        self.unrecorded = 0
        self._dirty: dict[int, Run] = {}
        self._wake = asyncio.Event()
        self._room: list[asyncio.Future[None]] = []

    def reporter(self, run: Run) -> Callable[[int, Outcome], None]:
        """The provider's `Report` for this run; called once per recipient."""
        results, note, now_ms = run.results, self._note, self._clock.now_ms

        def report(index: int, outcome: Outcome) -> None:
            results.append((index, outcome, now_ms()))
            note(run)

        return report

    def has_room(self) -> bool:
        """Whether one more request may start."""
        return self.unrecorded < self.max

    async def wait(self) -> None:
        """Wait for room, or for anything else that `wake_waiters` was called for."""
        waiter = asyncio.get_running_loop().create_future()
        self._room.append(waiter)
        await waiter

    def wake_waiters(self) -> None:
        """Let everybody who waits look again.

        Room came, holds were renewed or lost, or the worker stops.
        """
        waiters, self._room = self._room, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def release(self, run: Run) -> None:
        """The run is settled or given up: nothing of it is at risk any more."""
        self._dirty.pop(id(run), None)
        self._forget(run, len(run.results) - run.recorded)

    async def write_for_ever(self) -> None:
        """Write whatever came in, as long as the task lives."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            dirty, self._dirty = self._dirty, {}
            await self._write([run for run in dirty.values() if not run.complete])

    def _note(self, run: Run) -> None:
        self.unrecorded += 1
        self._dirty[id(run)] = run
        if not self._wake.is_set():
            self._wake.set()

    async def _write(self, runs: list[Run]) -> None:
        await self._settlement.take_in(runs)
        taken = {id(run): run.taken for run in runs}
        while progress := {
            run.delivery.receipt: bytes(run.bitmap)
            for run in runs
            if not (run.complete or run.lost)
        }:
            try:
                await self._queue.record_progress(progress)
                break
            except ApiError as error:
                # Sending waits meanwhile: the gate is shut until this works.
                self._outages.note(error, doing="record progress")
                await asyncio.sleep(0.5)
        for run in runs:
            if not run.complete:
                self._forget(run, taken[id(run)] - run.recorded)

    def _forget(self, run: Run, count: int) -> None:
        if count > 0:
            run.recorded += count
            self.unrecorded -= count
            if self._room and self.has_room():
                self.wake_waiters()


class RunPace:
    """Lets a run start requests while results are recorded in step.

    Nothing starts while the hold on the delivery is in doubt: another worker may
    have begun the same batch. `wait` answers `False` for good once the worker stops,
    the delivery was lost to another worker, the request expired, or the credential
    is paused.
    """

    def __init__(
        self, run: Run, journal: Journal, credential: CredentialState, clock: Clock
    ) -> None:
        self._run = run
        self._journal = journal
        self._credential = credential
        self._clock = clock
        self._expire_at_ms = run.job.expire_at_ms
        self._most = journal.max
        if run.payload.reliable:
            self._most = min(self._most, RELIABLE_UNRECORDED)

    def ready(self) -> bool:
        """Cheap on purpose: it runs once per recipient."""
        return self._may_start() and not self._must_stop()

    async def wait(self) -> bool:
        """Wait for room in the journal and a sure hold, or for a reason to stop."""
        while not self._must_stop():
            if self._may_start():
                return True
            await self._journal.wait()
        return False

    def _may_start(self) -> bool:
        return self._journal.unrecorded < self._most and self._run.is_held

    def _must_stop(self) -> bool:
        run = self._run
        if run.stopped or run.lost:
            return True
        if not (self._expire_at_ms or self._credential.paused_until_ms):
            return False
        now_ms = self._clock.now_ms()
        return self._credential.is_paused(now_ms) or 0 < self._expire_at_ms <= now_ms
