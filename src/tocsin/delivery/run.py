"""One batch under way: its results, their record in the queue, and its pace.

At most `MAX_UNRECORDED` results, plus the requests in flight, may be forgotten by a
crash. To keep that bound, sending waits for the journal to write.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

from tocsin.core.accounts import removed_half
from tocsin.core.elapsed import elapsed_s
from tocsin.core.errors import ApiError
from tocsin.core.lanes import Priority
from tocsin.core.outcome import Outcome, Result, Verdict
from tocsin.core.ports.clock import Clock
from tocsin.core.ports.queue import Delivery, JobConsumer
from tocsin.core.push import Payload, SendJob
from tocsin.core.push_services import SERVICES
from tocsin.delivery.body_trials import BodyTrial
from tocsin.delivery.credentials import CredentialState, Trust
from tocsin.delivery.outages import Outages

FINAL = frozenset({Verdict.DELIVERED, Verdict.UNREGISTERED})
"""Verdicts after which a recipient is done, and is marked so in the progress.

Recipients with any other verdict go on in a follow-up job or a dead letter. Those
exist only once the batch is settled, so a worker that takes over before has to try
them again. The same is true of `Run.held`, whose verdicts are not believed.
"""

MAX_UNRECORDED = 100
"""Over all batches of a worker: so many results may be lost, and sent again, after
a crash."""
RELIABLE_UNRECORDED = 10
"""The same for requests with `reliable`: fewer duplicates, and slower sending."""


class Run:
    """A delivery of this job while it is worked on."""

    def __init__(
        self, delivery: Delivery, job: SendJob, payload: Payload, started_ms: int
    ) -> None:
        self.delivery = delivery
        self.job = job
        self.payload = payload
        # What it was begun with, `None` until then; a probe finds out, by one
        # recipient, whether the credential works again.
        self.credential: CredentialState | None = None
        self.is_probe = False
        # `None` where one recipient's answer says nothing of the others' body.
        self.trial: BodyTrial | None = None
        self.started_ms = started_ms
        self.recipients = job.work.recipients
        # Asked for each result, so it is looked up once.
        self._origin_of = SERVICES.tokens_of(job.provider).origin
        size = len(self.recipients)
        length = (size + 7) // 8
        self.bitmap = bytearray(delivery.done[:length].ljust(length, b"\0"))
        self.removed_bits = bytearray(
            removed_half(delivery.done, size).ljust(length, b"\0")
        )
        self.pending = self.recipients.undone(delivery.done)
        self.results: list[Result] = []
        self.done_before = size - len(self.pending)
        # For the log line. `retried` and `too_late` count codes: of recipients that
        # are tried again, and of those whose next try would be after their expiry.
        # `expired` counts recipients without any try, `unconfirmed` those of `too_late`
        # whose last request may have arrived, `suspected` those whose guarded verdict
        # was believed.
        self.retried: Counter[str] = Counter()
        self.too_late: Counter[str] = Counter()
        self.expired = 0
        self.unconfirmed = 0
        self.suspected = 0
        self.removed = 0
        # Indexes whose verdict is not believed: definite ones in `held`, guarded ones
        # in `doubted`. `trust` is `None` until the guarded ones are judged, at the end.
        self.held: set[int] = set()
        self.doubted: set[int] = set()
        self.trust: Trust | None = None
        # The journal takes results in while the batch runs, and the dispatcher at its
        # end: the lock keeps one from passing the other between two awaits.
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
        """Whether another worker has this batch; see also `is_held`."""
        return self.delivery.lost

    @property
    def is_held(self) -> bool:
        """Whether our hold can be trusted now; nothing is sent without one."""
        return elapsed_s() < self.delivery.held_until

    def take(self) -> list[Result]:
        """Results that were not taken before; `mark_done` has not seen them yet."""
        fresh = self.results[self.taken :]
        self.taken += len(fresh)
        return fresh

    def mark_done(self, results: Sequence[Result]) -> None:
        """Mark those of these that are final, so that nobody tries them again."""
        bitmap = self.bitmap
        for index, outcome, _ in results:
            if outcome.verdict in FINAL and index not in self.held:
                bitmap[index >> 3] |= 1 << (index & 7)
                if outcome.verdict is Verdict.UNREGISTERED:
                    self.removed_bits[index >> 3] |= 1 << (index & 7)

    @property
    def record(self) -> bytes:
        """What the queue is to keep of it, in the form of `Delivery.done`."""
        done = bytes(self.bitmap)
        return done + self.removed_bits if any(self.removed_bits) else done

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
        # Looked up once: `report` runs for every push.
        results, note, now_ms = run.results, self._note, self._clock.now_ms

        def report(index: int, outcome: Outcome) -> None:
            at_ms = now_ms()
            results.append((index, outcome, at_ms))
            trial = run.trial
            if trial is not None and not trial.proven:
                trial.note(outcome, at_ms)
                self.wake_waiters()
            note(run)

        return report

    def has_room(self) -> bool:
        """Whether one more request may start."""
        return self.unrecorded < self.max

    async def wait(self, *, first: bool = False) -> None:
        """Wait until `wake_waiters` is called, for whatever reason.

        Those who are `first` are woken before the others, and so find room if anybody
        does.
        """
        waiter = asyncio.get_running_loop().create_future()
        self._room.insert(0 if first else len(self._room), waiter)
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
        """Count this run's results no more: it is settled, or left to others."""
        self._dirty.pop(id(run), None)
        self._forget(run, len(run.results) - run.recorded)

    async def write_for_ever(self) -> None:
        """Write whatever came in, as long as the task lives."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            # Taken away before the write: results that come during it mark their run
            # dirty for the next one. A complete run is recorded by its settlement.
            dirty, self._dirty = self._dirty, {}
            await self._write([run for run in dirty.values() if not run.complete])

    def _note(self, run: Run) -> None:
        self.unrecorded += 1
        self._dirty[id(run)] = run
        if not self._wake.is_set():
            self._wake.set()

    async def _write(self, runs: list[Run]) -> None:
        await self._settlement.take_in(runs)
        # Noted before the write: results that come during it are not recorded by it.
        taken = {id(run): run.taken for run in runs}
        while progress := {
            run.delivery.receipt: run.record
            for run in runs
            if not (run.complete or run.lost)
        }:
            try:
                await self._queue.record_progress(progress)
                break
            except ApiError as error:
                # Sending stops by itself meanwhile, once `MAX_UNRECORDED` is reached.
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
    """Lets a run start requests as long as the journal keeps up with its results.

    Nothing starts while the hold on the delivery is in doubt, since another worker
    may have begun the same batch. `wait` returns `False`, and the run ends, once the
    worker stops, another worker has the delivery, the request has expired, its body is
    refused, or the credential is paused; a probe finds out whether it has to be.
    """

    def __init__(
        self, run: Run, journal: Journal, credential: CredentialState, clock: Clock
    ) -> None:
        self._run = run
        self._journal = journal
        self._credential = credential
        self._clock = clock
        self._expire_at_ms = run.job.expire_at_ms
        self._trial = run.trial
        self._is_urgent = run.job.priority is Priority.TRANSACTIONAL
        self._most = journal.max
        self.started_on_trial = 0
        if run.payload.reliable:
            self._most = min(self._most, RELIABLE_UNRECORDED)

    def ready(self) -> bool:
        """Whether the next request may start; cheap, as it runs once per recipient."""
        if not self._may_start() or self._must_stop():
            return False
        trial = self._trial
        if trial is not None and not trial.proven:
            trial.in_flight += 1
            self.started_on_trial += 1
        return True

    async def wait(self) -> bool:
        """Wait for room in the journal and a sure hold, or for a reason to stop."""
        while not self._must_stop():
            if self._may_start():
                return True
            await self._journal.wait(first=self._is_urgent)
        return False

    def _may_start(self) -> bool:
        trial = self._trial
        return (
            self._journal.unrecorded < self._most
            and self._run.is_held
            and (trial is None or trial.has_room())
        )

    def _must_stop(self) -> bool:
        run = self._run
        trial = self._trial
        if run.stopped or run.lost or (trial is not None and trial.halt is not None):
            return True
        breaker = self._credential.breaker
        # True of most runs, which so never read the clock for each recipient.
        if not self._expire_at_ms and breaker is None:
            return False
        now_ms = self._clock.now_ms()
        if breaker is not None and not run.is_probe and breaker.stops(now_ms):
            return True
        return 0 < self._expire_at_ms <= now_ms
