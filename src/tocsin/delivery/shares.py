"""How much of a worker's lanes each credential holds, so that none delays another.

Credentials of one provider share its lanes. One whose provider answers slowly, or not
at all, would come to hold all that a lane may hold. What such a credential holds is
therefore set aside: the others have the lane's whole room, it has as much for itself,
and what comes beyond that goes back into the queue for a while.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import structlog

from tocsin.core.elapsed import elapsed_s
from tocsin.core.lanes import Priority
from tocsin.core.ports.clock import Clock
from tocsin.core.ports.providers import PushProvider
from tocsin.core.ports.queue import Delivery
from tocsin.core.push import Job, SendJob

SLOW_AFTER_S = 0.25
"""Work in hand for so long makes a credential slow, …"""
HEALTHY_PER_S = 2000
"""… plus the time in which a provider that is well answers all that it holds."""
SLOW_ROOMS = 8
"""Slow credentials together hold at most so many times what a lane may hold."""

BACK_AFTER_MS = 500
"""What was put back is handed out again after this time at the earliest, …"""
STEP_MS = 2
BATCH_STEP_MS = 50
"""… and by so much later than what was put back before it: for one recipient, and for
a batch of 500. Else all of it would come round again at once, for nothing."""
LONGEST_LINE_MS = 60_000
"""Nothing waits for so much longer than it has to, however much is before it."""

REPORT_EVERY_S = 60.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Room:
    """How many jobs and recipients a lane may hold at once."""

    jobs: int
    recipients: int


@dataclass(slots=True, eq=False)
class _Holding:
    """What one credential holds of one lane: start and size by delivery, in order."""

    started: dict[int, tuple[float, int]] = field(default_factory=dict)
    recipients: int = 0
    returns_at_ms: int = 0
    reported_at_s: float = float("-inf")

    def is_slow(self, now_s: float) -> bool:
        """Whether its oldest work is older than a healthy provider would let it be."""
        if not self.started:
            return False
        oldest_s, _ = next(iter(self.started.values()))
        return now_s - oldest_s > SLOW_AFTER_S + self.recipients / HEALTHY_PER_S


class CredentialShares:
    """All lanes of one worker by credential.

    `providers` are its adapters by integration, `room` is what each lane may hold.
    """

    def __init__(
        self, providers: Mapping[str, PushProvider], clock: Clock, *, room: Room
    ) -> None:
        self._providers = providers
        self._room = room
        self._clock = clock
        self._lanes: dict[tuple[str, Priority], dict[str, _Holding]] = {}

    def begin(self, delivery: Delivery, size: int) -> None:
        """Count this as in hand from now on."""
        if isinstance(delivery.job, SendJob):
            holding = self._holding(delivery.job)
            holding.started[id(delivery)] = elapsed_s(), size
            holding.recipients += size

    def end(self, delivery: Delivery) -> None:
        """Count it as in hand no more."""
        if isinstance(delivery.job, SendJob):
            holding = self._holding(delivery.job)
            _, size = holding.started.pop(id(delivery), (0.0, 0))
            holding.recipients -= size

    def set_aside(self, provider: str, priority: Priority) -> Room:
        """What slow credentials hold of this lane: it takes no room from the others."""
        slow = list(self._slow(provider, priority))
        return Room(
            sum(len(each.started) for each in slow),
            sum(each.recipients for each in slow),
        )

    def is_full(self, job: Job) -> bool:
        """Whether its credential is slow, and holds all that it may of its lane.

        Of a walk: whether its batches would be put back.
        """
        slow = list(self._slow(job.provider, job.priority))
        holding = self._holding(job)
        if holding not in slow:
            return False
        share = min(1.0, SLOW_ROOMS / len(slow))
        return (
            len(holding.started) >= self._room.jobs * share
            or holding.recipients >= self._room.recipients * share
        )

    def put_off(self, job: SendJob, *, until_ms: int = 0) -> int:
        """When this shall come again, in Unix milliseconds; `until_ms` or later.

        Each call gives a later time than the one before, so that what waits for one
        credential comes back in line.
        """
        holding, now_ms = self._holding(job), self._clock.now_ms()
        first_ms = max(until_ms, now_ms + BACK_AFTER_MS)
        size = len(job.work.recipients)
        step_ms = max(STEP_MS, size * BATCH_STEP_MS // 500)
        last_ms = first_ms + LONGEST_LINE_MS
        due_ms = max(first_ms, min(last_ms, holding.returns_at_ms + step_ms))
        holding.returns_at_ms = due_ms
        return due_ms

    def report(self, job: SendJob) -> None:
        """Say that this credential is slow, but not again and again."""
        holding, now_s = self._holding(job), elapsed_s()
        if now_s - holding.reported_at_s < REPORT_EVERY_S:
            return
        holding.reported_at_s = now_s
        _log.warning(
            "provider credential answers slowly; its surplus waits in the queue",
            provider=job.provider,
            integration=job.credential,
            priority=job.priority.value,
            jobs=len(holding.started),
            recipients=holding.recipients,
        )

    def _holding(self, job: Job) -> _Holding:
        lane = self._lanes.setdefault((job.provider, job.priority), {})
        return lane.setdefault(job.credential, _Holding())

    def _slow(self, provider: str, priority: Priority) -> Iterator[_Holding]:
        """Those that are slow; one that shares its lane with nobody is never."""
        now_s = elapsed_s()
        lane = self._lanes.get((provider, priority), {})
        slow = [holding for holding in lane.values() if holding.is_slow(now_s)]
        if slow and self._has_several(provider):
            yield from slow

    def _has_several(self, provider: str) -> bool:
        return sum(each.name == provider for each in self._providers.values()) > 1
