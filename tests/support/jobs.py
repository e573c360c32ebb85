"""A queue in memory and a scripted provider, for tests of the worker's mind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tocsin.core.elapsed import elapsed_s
from tocsin.core.outcome import DELIVERED, Outcome
from tocsin.core.ports.providers import Batch, Pace, Report
from tocsin.core.ports.queue import Delivery, QueuePosition
from tocsin.core.push import (
    Body,
    DeadLetter,
    Job,
    Payload,
    RecipientType,
    Send,
    TargetKind,
)


class ManualClock:
    """A clock that moves only when told."""

    def __init__(self, now_ms: int = 1_800_000_000_000) -> None:
        self.value_ms = now_ms

    def now_ms(self) -> int:
        return self.value_ms

    def advance(self, seconds: float) -> None:
        self.value_ms += int(seconds * 1000)


@dataclass
class MemoryJobQueue:
    """The `JobQueue` port over lists; nothing is taken over, nothing expires.

    Holds can be trusted for `lease_s`, and those in `stuck` are not renewed.
    """

    clock: ManualClock
    ready: dict[str, list[tuple[Job, int]]] = field(default_factory=dict)
    payloads: dict[str, Payload] = field(default_factory=dict)
    dead: list[tuple[Job, str]] = field(default_factory=list)
    progress: dict[str, bytes] = field(default_factory=dict)
    held: dict[str, Delivery] = field(default_factory=dict)
    settled: list[str] = field(default_factory=list)
    lost: set[str] = field(default_factory=set)
    lease_s: float = 30.0
    stuck: set[str] = field(default_factory=set)
    failures: list[Exception] = field(default_factory=list)
    serial: int = 0
    asked: int = 0
    excused: list[str] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    epoch: str = "first"

    async def enqueue(
        self,
        payload: Payload,
        jobs: Sequence[Job],
        *,
        once_ttl_s: float = 0,
        due_ms: int = 0,
    ) -> bool:
        self.payloads[payload.push_id] = payload
        for job in jobs:
            self.put(job, due_ms)
        return True

    async def cancel(self, uid: str) -> list[Job]:
        return []

    def put(self, job: Job, due_ms: int = 0) -> None:
        self.ready.setdefault(job.queue, []).append((job, due_ms))

    async def receive(
        self, queues: Sequence[str], *, limit: int, wait_s: float
    ) -> list[Delivery]:
        found: list[Delivery] = []
        for name in queues:
            later: list[tuple[Job, int]] = []
            for job, due_ms in self.ready.get(name, []):
                if len(found) < limit and due_ms <= self.clock.now_ms():
                    self.serial += 1
                    delivery = Delivery(
                        job,
                        f"{name}|{self.serial}",
                        1,
                        b"",
                        elapsed_s() + self.lease_s,
                    )
                    self.held[delivery.receipt] = delivery
                    found.append(delivery)
                else:
                    later.append((job, due_ms))
            self.ready[name] = later
        if not found:
            await asyncio.sleep(0.002)
        return found

    async def fetch_payload(self, push_id: str) -> Payload | None:
        return self.payloads.get(push_id)

    async def record_progress(self, progress: Mapping[str, bytes]) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.progress.update(progress)

    async def settle(
        self,
        delivery: Delivery,
        *,
        follow: Sequence[tuple[Job, int]] = (),
        dead: Sequence[tuple[Job, str]] = (),
    ) -> bool:
        if self.failures:
            raise self.failures.pop(0)
        if self.held.pop(delivery.receipt, None) is None:
            return False
        self.progress.pop(delivery.receipt, None)
        self.settled.append(delivery.receipt)
        for job, due_ms in follow:
            self.put(job, due_ms)
        self.dead.extend(dead)
        return True

    async def keep_alive(self, deliveries: Sequence[Delivery]) -> list[str]:
        self.asked += 1
        lost = [
            each.receipt
            for each in deliveries
            if each.receipt in self.lost or each.receipt not in self.held
        ]
        for each in deliveries:
            if each.receipt not in self.stuck.union(lost):
                each.held_until = elapsed_s() + self.lease_s
        return lost

    async def asked_times(self, count: int) -> None:
        """Wait until holds were asked for so many times more."""
        until = self.asked + count
        async with asyncio.timeout(10):
            while self.asked < until:  # noqa: ASYNC110 - a count is waited for
                await asyncio.sleep(0.001)

    async def excuse(self, deliveries: Sequence[Delivery]) -> None:
        self.excused += [delivery.receipt for delivery in deliveries]

    async def find_queued(self, deliveries: Sequence[Delivery]) -> set[str]:
        return {d.receipt for d in deliveries} - self.gone

    async def position(self) -> QueuePosition:
        return QueuePosition(self.epoch, self.serial)

    async def waiting(
        self, queues: Sequence[str], *, only_due: bool = False
    ) -> dict[str, int]:
        now_ms = self.clock.now_ms()
        return {
            name: sum(
                not only_due or due_ms <= now_ms
                for _, due_ms in self.ready.get(name, [])
            )
            for name in queues
        }

    async def list_dead(self, *, limit: int, after: str = "") -> list[DeadLetter]:
        return [
            DeadLetter(str(number), job, reason, 0)
            for number, (job, reason) in enumerate(self.dead[:limit])
        ]

    async def replay_dead(self, ids: Sequence[str]) -> int:
        return 0

    async def purge_dead(self, ids: Sequence[str]) -> int:
        return 0

    async def now_ms(self) -> int | None:
        return None

    async def check(self) -> None:
        return None

    async def close(self) -> None:
        return None

    def waiting_jobs(self, name: str) -> list[tuple[Job, int]]:
        return self.ready.get(name, [])


class ScriptedProvider:
    """Answers each target by a function; keeps what it was asked to send."""

    name = "fcm"
    integration = "fcm"
    batch_size = 500

    def __init__(
        self,
        answer: Callable[[str], Outcome] = lambda _: DELIVERED,
        before: Callable[[str], object] | None = None,
    ) -> None:
        self.answer = answer
        self.before = before
        self.sent: list[str] = []

    async def send(self, batch: Batch, report: Report, pace: Pace) -> None:
        for index in batch.pending:
            if not pace.ready() and not await pace.wait():
                return
            target = batch.targets[index]
            if self.before is not None:
                self.before(target)
            self.sent.append(target)
            await asyncio.sleep(0)
            report(index, self.answer(target))

    async def close(self) -> None:
        return None


def make_payload(push_id: str = "p1") -> Payload:
    return Payload(push_id, "u1", "", {"fcm": Body(b'{"data":{}}')})


def make_send_job(count: int = 3, *, devices: bool = True, **changes: object) -> Job:
    targets = tuple(f"token-{i}" for i in range(count))
    work = Send(
        TargetKind.TOKEN,
        targets,
        tuple(f"device-{i}" for i in range(count)) if devices else (),
        ("android",) * count if devices else (),
    )
    values: dict[str, object] = {
        "id": "p1:fcm:0:0",
        "push_id": "p1",
        "provider": "fcm",
        "work": work,
        "recipient_type": RecipientType.FILTER,
        "accepted_at_ms": 1_800_000_000_000,
    }
    return Job(**{**values, **changes})  # type: ignore[arg-type]
