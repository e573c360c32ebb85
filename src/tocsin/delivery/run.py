"""One batch in the hands of this worker: its results so far. Pure state."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

from tocsin.core.elapsed import elapsed_s
from tocsin.core.outcome import Result, Verdict
from tocsin.core.ports.queue import Delivery
from tocsin.core.push import Payload, SendJob
from tocsin.core.push_services import SERVICES
from tocsin.delivery.credentials import Trust

FINAL = frozenset({Verdict.DELIVERED, Verdict.UNREGISTERED})
"""Verdicts that end a recipient for good, so that progress may skip it.

The others live on in a follow-up job or a dead letter, and those exist only
once the batch is settled: until then a take-over must try them again. So do
those of `held`, whose verdict is not believed.
"""


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
