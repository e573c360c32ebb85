"""Records results in the queue while a batch is under way.

At most `MAX_UNRECORDED` results may exist that a crash would forget: the pace
of sending waits for the journal, never the other way round.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tocsin.core.errors import ApiError
from tocsin.core.outcome import Outcome
from tocsin.core.ports.clock import Clock
from tocsin.core.ports.queue import JobConsumer
from tocsin.delivery.outages import Outages
from tocsin.delivery.run import Run
from tocsin.delivery.settlement import Settlement

MAX_UNRECORDED = 100
RELIABLE_UNRECORDED = 10
"""The same for requests that want it smaller, and pay with speed."""


class Journal:
    """Counts unrecorded results over all batches of a worker and writes them."""

    def __init__(
        self,
        queue: JobConsumer,
        settlement: Settlement,
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
