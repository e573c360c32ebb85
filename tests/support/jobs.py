"""A clock, a scripted provider and small jobs, for tests of the worker's mind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tocsin.core.device import DeviceFilter
from tocsin.core.outcome import DELIVERED, Outcome
from tocsin.core.ports.providers import Batch, Pace, Report
from tocsin.core.push import (
    Body,
    Expand,
    ExpandJob,
    Payload,
    Recipients,
    RecipientType,
    Send,
    SendJob,
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


def make_send_job(
    count: int = 3, *, devices: bool = True, **changes: object
) -> SendJob:
    targets = tuple(f"token-{i}" for i in range(count))
    work = Send(
        TargetKind.TOKEN,
        Recipients(
            targets,
            tuple(f"device-{i}" for i in range(count)) if devices else (),
            ("android",) * count if devices else (),
        ),
    )
    values: dict[str, object] = {
        "id": "p1:fcm:0:0",
        "push_id": "p1",
        "provider": "fcm",
        "work": work,
        "recipient_type": RecipientType.FILTER,
        "accepted_at_ms": 1_800_000_000_000,
    }
    return SendJob(**{**values, **changes})  # type: ignore[arg-type]


def make_walk_job(work: Expand | None = None, **changes: object) -> ExpandJob:
    """The first page of a walk over one topic, where nothing else is given."""
    values: dict[str, object] = {
        "id": "p1:x",
        "push_id": "p1",
        "provider": "fcm",
        "work": work or Expand(DeviceFilter(topics=("t",))),
        "recipient_type": RecipientType.FILTER,
        "accepted_at_ms": 1_800_000_000_000,
    }
    return ExpandJob(**{**values, **changes})  # type: ignore[arg-type]
