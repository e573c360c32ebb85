"""No sequence of answers to a misconfigured credential removes a living device."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs
from tests.support.jobs import ManualClock, make_payload, make_send_job
from tests.support.memory_registry import (
    MemoryDevices,
    MemoryRegistry,
    MemoryVerdicts,
)

from tocsin.core.device import Registration
from tocsin.core.outcome import DELIVERED, Outcome, Verdict
from tocsin.core.ports.queue import Delivery
from tocsin.delivery.breakers import Breakers, LocalBreakerStore
from tocsin.delivery.reports import count_recipients
from tocsin.delivery.retries import RetryPolicy
from tocsin.delivery.run import Run
from tocsin.delivery.settlement import Settlement
from tocsin.telemetry.metrics import Metrics

DEVICES = 60
WRONG = [
    Outcome(Verdict.SUSPECT, "sender_id_mismatch"),
    Outcome(Verdict.SUSPECT, "bad_device_token"),
    Outcome(Verdict.MISCONFIGURED, "not_found", slow_down=True),
    Outcome(Verdict.MISCONFIGURED, "third_party_auth_error"),
    Outcome(Verdict.RETRY, "unavailable"),
    Outcome(Verdict.RETRY, "quota", retry_after_s=5.0, slow_down=True),
    Outcome(Verdict.REJECTED, "invalid_argument", of_body=True),
]
"""What a wrong project, key, topic or environment is answered; never a delivery."""


@dataclass(frozen=True)
class Sent:
    """A batch: by which worker, of which send, to how many from where on."""

    worker: int
    push: int
    first: int
    size: int
    answers: tuple[int, ...]
    later_s: int


SENDS = st.builds(
    Sent,
    worker=st.integers(0, 1),
    push=st.integers(0, 4),
    first=st.integers(0, DEVICES - 1),
    size=st.integers(1, DEVICES),
    answers=st.lists(
        st.one_of(st.just(0), st.integers(0, len(WRONG) - 1)), min_size=1, max_size=8
    ).map(tuple),
    later_s=st.sampled_from([0, 1, 60, 4_000, 90_000]),
)


class Misconfigured:
    """Two workers on one registry, whose credential once was right."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        registry = MemoryRegistry()
        self.devices = MemoryDevices(registry, clock=self.clock)
        for number in range(DEVICES):
            self.devices.put(
                Registration("fcm", f"token-{number}", "android"), f"device-{number}"
            )
        self.clock.advance(1)
        store = LocalBreakerStore()
        self.workers = [
            Settlement(
                devices=self.devices,
                retry=RetryPolicy(),
                clock=self.clock,
                metrics=Metrics(),
                verdicts=MemoryVerdicts(registry, clock=self.clock),
                breakers=Breakers(
                    store, clock=self.clock, metrics=Metrics(), worker=f"w{number}"
                ),
            )
            for number in range(2)
        ]

    async def take(self, sent: Sent, *, works: bool = False) -> None:
        settlement = self.workers[sent.worker]
        size = min(sent.size, DEVICES - sent.first)
        whole = make_send_job(DEVICES, push_id=f"p{sent.push}")
        job = whole.part(range(sent.first, sent.first + size), id="x")
        run = Run(
            Delivery(job, "send:fcm|1", 1, b""),
            job,
            make_payload(job.push_id),
            self.clock.now_ms(),
        )
        for index in range(size):
            chosen = WRONG[sent.answers[index % len(sent.answers)]]
            outcome = DELIVERED if works else chosen
            run.results.append((index, outcome, self.clock.now_ms()))
        run.complete = True
        await settlement.take_in([run])
        follow, dead = settlement.plan(run)
        left = sum(count_recipients(part) for part, _ in [*follow, *dead])
        assert left + run.suspected + run.too_late.total() == (0 if works else size)
        self.clock.advance(sent.later_s)


@settings(max_examples=150, deadline=None)
@given(
    before=st.lists(SENDS, max_size=6),
    wrong=st.lists(SENDS, min_size=1, max_size=12),
)
def test_it_removes_nobody(before: list[Sent], wrong: list[Sent]) -> None:
    """However healthy it was before, and whichever worker hears what of which send."""

    async def play() -> None:
        world = Misconfigured()
        for sent in before:
            await world.take(sent, works=True)
        for sent in wrong:
            await world.take(sent)
        assert len(world.devices.rows) == DEVICES
        assert all(
            row.removed_at_ms is None for row in world.devices.registry.rows.values()
        )

    with capture_logs():
        asyncio.run(play())
