"""The worker against a queue in memory: pace, progress, drain, poison."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.support.jobs import (
    ManualClock,
    ScriptedProvider,
    make_send_job,
    make_walk_job,
)
from tests.support.memory_queue import MemoryJobQueue
from tests.support.memory_registry import MemoryDevices

from tocsin.core.device import DeadToken, DeviceFilter
from tocsin.core.elapsed import elapsed_s
from tocsin.core.errors import InternalError, QueueUnavailable, StatementRefused
from tocsin.core.lanes import EXPAND, SEND, LaneChoice, Priority, queue_name
from tocsin.core.outcome import DELIVERED, Outcome, Verdict
from tocsin.core.ports.queue import Delivery
from tocsin.core.push import Expand, Job, Send
from tocsin.core.removals import Removal, RemovalGuard
from tocsin.delivery import lane as lane_module
from tocsin.delivery.dispatch import Dispatcher
from tocsin.delivery.lane import MAX_DELIVERIES, Lane
from tocsin.delivery.recipients import AHEAD_BATCHES, PAGE_SIZE, Expander
from tocsin.delivery.retries import RetryPolicy
from tocsin.delivery.run import Journal
from tocsin.delivery.settlement import Settlement
from tocsin.delivery.shares import CredentialShares, Room
from tocsin.delivery.worker import ALL_LANES, Worker
from tocsin.telemetry.metrics import Metrics


def pages(count: int, *faults: Exception) -> MemoryDevices:
    """So many devices on topic `t`; the first walks fail."""
    devices = MemoryDevices()
    devices.fill(count, topics=("t",))
    devices.faults = [*faults]
    return devices


class DeadList(MemoryDevices):
    """A registry that remembers which tokens it was told are dead."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[DeadToken] = []

    async def remove_dead(
        self, dead: Sequence[DeadToken], *, guard: RemovalGuard | None = None
    ) -> Removal:
        self.told += dead
        return await super().remove_dead(dead, guard=guard)


class Bench:
    """A worker and everything around it."""

    def __init__(
        self,
        provider: ScriptedProvider,
        devices: MemoryDevices | None = None,
        registry: MemoryDevices | None = None,
        lanes: LaneChoice = ALL_LANES,
    ) -> None:
        self.full = ""
        self.clock = ManualClock()
        self.queue = MemoryJobQueue(self.clock)
        self.metrics = Metrics()
        self.provider = provider
        self.settlement = Settlement(
            devices=registry,
            retry=RetryPolicy(),
            clock=self.clock,
            metrics=self.metrics,
        )
        self.journal = Journal(
            self.queue, self.settlement, self.clock, max_unrecorded=10
        )
        self.shares = CredentialShares(
            {"fcm": provider}, self.clock, room=Room(64, 2000)
        )
        self.dispatcher = Dispatcher(
            queue=self.queue,
            shares=self.shares,
            providers={"fcm": provider},
            journal=self.journal,
            settlement=self.settlement,
            clock=self.clock,
            metrics=self.metrics,
        )
        self.expander = Expander(
            queue=self.queue,
            devices=devices,
            batch_sizes={"fcm": 500},
            settlement=self.settlement,
            clock=self.clock,
            shares=self.shares,
        )
        self.worker = Worker(
            shares=self.shares,
            lanes=lanes,
            queue=self.queue,
            providers={"fcm": provider},
            dispatcher=self.dispatcher,
            expander=self.expander,
            journal=self.journal,
            metrics=self.metrics,
            takeover_s=0.05,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self.worker.start()
        try:
            yield
        finally:
            await self.worker.stop(1)

    def lane(self, stage: str = SEND) -> Lane:
        """The normal lane of a stage."""
        name = queue_name(stage, "fcm")
        return next(lane for lane in self.worker.lanes if name in lane.queues)

    def is_free(self) -> bool:
        """Whether no task works on anything."""
        return not any(lane._tasks for lane in self.worker.lanes)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - any state may be waited for
                await asyncio.sleep(0.001)


async def test_a_batch_is_sent_and_settled() -> None:
    """Every recipient is sent once, and the entry leaves the queue."""
    bench = Bench(ScriptedProvider())
    bench.queue.put(make_send_job(25))
    async with bench.running():
        await bench.until(lambda: bool(bench.queue.settled))
    assert sorted(bench.provider.sent) == sorted(f"token-{i}" for i in range(25))
    assert bench.queue.held == []
    assert bench.journal.unrecorded == 0


async def test_dead_tokens_are_dated_when_their_batch_was_begun() -> None:
    """Not by the answer: who registers while a batch is under way keeps the device."""
    gone = Outcome(Verdict.UNREGISTERED, "unregistered")
    registry = DeadList()
    bench = Bench(ScriptedProvider(lambda _: gone), registry=registry)
    bench.provider.before = lambda _: bench.clock.advance(60)
    begun_ms = bench.clock.now_ms()
    bench.queue.put(make_send_job(2))
    async with bench.running():
        await bench.until(lambda: bool(bench.queue.settled))
    assert [token.before_ms for token in registry.told] == [begun_ms] * 2


async def test_sending_never_runs_ahead_of_the_journal() -> None:
    """While progress cannot be recorded, at most the limit is at risk."""
    bench = Bench(ScriptedProvider())
    bench.queue.faults["record_progress"] = [InternalError("queue is away")] * 3
    at_risk: list[int] = []
    bench.provider.before = lambda _: at_risk.append(bench.journal.unrecorded)
    bench.queue.put(make_send_job(60))
    async with bench.running():
        await bench.until(lambda: bool(bench.queue.settled))
    assert max(at_risk) < 10
    assert len(bench.provider.sent) == 60


async def test_recorded_recipients_are_not_sent_again() -> None:
    """A batch taken over from a dead worker starts where that one was recorded."""
    bench = Bench(ScriptedProvider())
    done = bytes([0b1010_0101, 0b10])
    job = make_send_job(10)
    delivery = bench.queue.hand_out(job, count=2, done=done)
    await bench.dispatcher.work_on(delivery, job)
    assert bench.provider.sent == [f"token-{i}" for i in (1, 3, 4, 6, 8)]


async def test_drain_puts_back_what_was_not_started() -> None:
    """On stop, requests in flight end and the rest returns to the queue."""
    bench = Bench(ScriptedProvider())
    stopped = asyncio.Event()

    def stop_at_five(target: str) -> None:
        if target == "token-4":
            bench.dispatcher.stop()
            stopped.set()

    bench.provider.before = stop_at_five
    bench.queue.put(make_send_job(20))
    async with bench.running():
        await stopped.wait()
    [(job, _)] = bench.queue.waiting_jobs("send:fcm")
    assert isinstance(job.work, Send)
    assert set(job.work.recipients.targets) | set(bench.provider.sent) == {
        f"token-{i}" for i in range(20)
    }
    assert not set(job.work.recipients.targets) & set(bench.provider.sent)


async def test_an_expired_batch_is_counted_and_not_sent() -> None:
    """After expire_at nothing reaches the provider."""
    bench = Bench(ScriptedProvider())
    bench.queue.put(make_send_job(3, expire_at_ms=bench.clock.now_ms()))
    async with bench.running():
        await bench.until(lambda: bool(bench.queue.settled))
    assert bench.provider.sent == []
    labels = ("fcm", "filter", "", "false", "expired")
    assert bench.metrics.push_notifications.get(*labels) == 3


async def test_expiry_in_the_middle_of_a_batch_stops_it() -> None:
    """Recipients whose turn comes after expire_at count as expired."""
    bench = Bench(ScriptedProvider())

    def pass_time(target: str) -> None:
        if target == "token-2":
            bench.clock.advance(60)

    bench.provider.before = pass_time
    bench.queue.put(make_send_job(10, expire_at_ms=bench.clock.now_ms() + 30_000))
    async with bench.running():
        await bench.until(lambda: bool(bench.queue.settled))
    assert bench.provider.sent == ["token-0", "token-1", "token-2"]
    labels = ("fcm", "filter", "", "false", "expired")
    assert bench.metrics.push_notifications.get(*labels) == 7
    assert bench.queue.waiting_jobs("send:fcm") == []


async def test_a_paused_credential_sends_its_batches_back() -> None:
    """A broken credential stops the batch; all the rest waits for the pause."""
    fault = Outcome(Verdict.MISCONFIGURED, "permission_denied", slow_down=True)
    bench = Bench(ScriptedProvider(answer=lambda _: fault))
    bench.queue.put(make_send_job(50))
    async with bench.running():
        await bench.until(lambda: bool(bench.queue.settled))
    assert 0 < len(bench.provider.sent) < 50
    waiting = bench.queue.waiting_jobs("send:fcm:retry")
    count = sum(
        len(j.work.recipients.targets) for j, _ in waiting if isinstance(j.work, Send)
    )
    assert count == 50
    assert all(due > bench.clock.now_ms() for _, due in waiting)


async def test_what_a_throttled_credential_holds_up_comes_back_in_line() -> None:
    """Not all at the end of the pause, where it would only bring the next one."""
    fault = Outcome(Verdict.RETRY, "quota", slow_down=True, retry_after_s=60)
    bench = Bench(ScriptedProvider(answer=lambda _: fault))
    bench.queue.put(make_send_job(1))
    async with bench.running():
        await bench.until(lambda: bool(bench.queue.settled))
        for number in range(100):
            bench.queue.put(make_send_job(1, id=f"late-{number}"))
        await bench.until(lambda: len(bench.queue.settled) == 101)
    waiting = bench.queue.waiting_jobs("send:fcm:retry")
    dues = [due_ms for job, due_ms in waiting if job.id.startswith("late-")]
    assert len(set(dues)) == len(dues) == 100
    assert min(dues) >= bench.clock.now_ms() + 59_000
    assert max(dues) - min(dues) >= 2 * 99


async def test_a_lost_batch_is_left_to_its_new_owner() -> None:
    """When another worker took it over, no further request starts."""
    bench = Bench(ScriptedProvider())
    bench.provider.before = lambda _: bench.queue.take_away("send:fcm|1")
    gate = asyncio.Event()
    original = bench.provider.answer

    def answer(target: str) -> Outcome:
        gate.set()
        return original(target)

    bench.provider.answer = answer
    bench.queue.put(make_send_job(5000))
    async with bench.running():
        await gate.wait()
        await bench.until(lambda: bench.dispatcher.idle)
    assert len(bench.provider.sent) < 5000
    assert bench.queue.settled == []


async def test_nothing_is_sent_on_a_hold_that_ran_out() -> None:
    """A worker that cannot renew waits, and goes on where it was once it can."""
    bench = Bench(ScriptedProvider())
    receipt = "send:fcm|1"

    def run_out(target: str) -> None:
        if target == "token-3":
            bench.queue.stuck.add(receipt)
            bench.lane().held[receipt].held_until = elapsed_s() - 0.001

    bench.provider.before = run_out
    bench.queue.put(make_send_job(20))
    async with bench.running():
        await bench.until(lambda: len(bench.provider.sent) == 4)
        await bench.queue.called("keep_alive", 3)
        assert len(bench.provider.sent) == 4
        assert bench.queue.settled == []
        bench.queue.stuck.clear()
        await bench.until(lambda: bool(bench.queue.settled))
    assert bench.provider.sent == [f"token-{i}" for i in range(20)]


async def test_a_hold_that_ran_out_before_the_first_request_sends_nothing() -> None:
    """A batch that waited too long in this worker is left to whoever has it now."""
    bench = Bench(ScriptedProvider())
    bench.queue.trusted_s = -1
    bench.queue.stuck.add("send:fcm|1")
    bench.queue.put(make_send_job(5))
    async with bench.running():
        await bench.queue.called("keep_alive", 3)
        bench.queue.take_away("send:fcm|1")
        await bench.until(lambda: bench.dispatcher.idle)
    assert bench.provider.sent == []
    assert bench.queue.settled == []


async def test_what_is_lost_before_its_first_request_is_not_begun() -> None:
    """The worker learns of it while it still reads the payload."""
    bench = Bench(ScriptedProvider())
    gate = bench.queue.gates["fetch_payload"] = asyncio.Event()
    receipt = bench.queue.put(make_send_job(5))
    async with bench.running():
        await bench.until(lambda: receipt in bench.lane().held)
        bench.queue.take_away(receipt)
        await bench.until(lambda: bench.lane().held == {})
        gate.set()
        await bench.until(lambda: bench.is_free())
    assert bench.provider.sent == []
    assert bench.queue.settled == []


async def test_holds_are_renewed_while_it_is_asked_where_a_lost_one_went() -> None:
    """The queue may be slow to tell; the others must not run out meanwhile."""
    bench = Bench(ScriptedProvider())
    gate = bench.queue.gates["find_queued"] = asyncio.Event()
    payloads = bench.queue.gates["fetch_payload"] = asyncio.Event()
    other = bench.queue.hand_out(make_send_job(1))
    other.held_until = elapsed_s()
    lost = bench.queue.put(make_send_job(1))
    lane = bench.lane()
    async with bench.running():
        lane.held[other.receipt] = other
        await bench.until(lambda: lost in lane.held)
        bench.queue.take_away(lost)
        await bench.queue.called("find_queued", 1)
        await bench.queue.called("keep_alive", 3)
        assert other.held_until > elapsed_s()
        gate.set()
        payloads.set()


async def test_what_a_worker_took_over_from_itself_is_not_begun_again() -> None:
    """Its lane still works on that entry: the new hold is its own, once."""
    bench = Bench(ScriptedProvider())
    lane = bench.lane()
    gate = bench.queue.gates["fetch_payload"] = asyncio.Event()
    bench.queue.stuck.add("send:fcm|1")
    bench.queue.put(make_send_job(5))
    async with bench.running():
        await bench.until(lambda: "send:fcm|1" in lane.held)
        held = lane.held["send:fcm|1"]
        held.held_until = elapsed_s() - 1
        again = replace(held, count=2, held_until=elapsed_s() + 30)
        lane.take([again])
        gate.set()
        await bench.until(lambda: bool(bench.queue.settled))
        await bench.until(lambda: bench.dispatcher.idle)
    assert bench.provider.sent == [f"token-{i}" for i in range(5)]


_REJECTED = Outcome(Verdict.REJECTED, "invalid_message")
_BUSY = Outcome(Verdict.RETRY, "unavailable")
_BROKEN = Outcome(Verdict.MISCONFIGURED, "permission_denied", slow_down=True)


@pytest.mark.parametrize(
    ("answer", "changes", "integration"),
    [
        (_REJECTED, {}, "fcm"),
        (_BUSY, {}, "fcm"),
        (_BUSY, {"expire_at_ms": ManualClock().now_ms() + 500}, "fcm"),
        (_BUSY, {"first_try_at_ms": 1}, "fcm"),
        (_BROKEN, {}, "fcm"),
        (DELIVERED, {"expire_at_ms": 1}, "fcm"),
        (DELIVERED, {}, "gone"),
    ],
)
@pytest.mark.parametrize("stage", ["send", "poison", "expand"])
async def test_a_batch_that_another_settled_leaves_no_trace(
    stage: str, answer: Outcome, changes: dict[str, Any], integration: str
) -> None:
    """No dead letter, retry, expiry or put-back is counted or reported of it."""
    bench = Bench(ScriptedProvider(answer=lambda _: answer), pages(3))
    job: Job = make_send_job(3, integration=integration, **changes)
    if stage == "expand":
        job = make_walk_job(integration=integration, **changes)
    count = MAX_DELIVERIES + 1 if stage == "poison" else 1
    # The queue holds no such entry any more: whoever has settled it was another.
    delivery = Delivery(job, "send:fcm|9", count, b"")
    with capture_logs() as lines:
        await bench.lane(EXPAND if stage == EXPAND else SEND).handle(delivery)
    assert (bench.queue.dead, bench.queue.jobs) == ([], [])
    rendered = bench.metrics.render().decode()
    for name in ("push_dead_letters", "push_retries", 'code="expired"'):
        assert not [
            line
            for line in rendered.splitlines()
            if name in line and not line.startswith("#") and not line.endswith(" 0")
        ]
    assert [line for line in lines if "dead letters" in line["event"]] == []
    assert [line for line in lines if line["event"] == "batch settled"] == []


async def test_what_is_for_later_is_no_lag() -> None:
    """A send for next month must not look like workers that do not keep up."""
    bench = Bench(ScriptedProvider())
    for _ in range(2):
        bench.queue.put(make_send_job(1), bench.clock.now_ms() + 60_000)
    gauge = bench.metrics.push_queue_consuming_lag
    gauge.set(-1, "fcm", "send:fcm")
    async with bench.running():
        await bench.until(lambda: gauge.get("fcm", "send:fcm") != -1)
    assert gauge.get("fcm", "send:fcm") == 0


async def test_a_failing_job_stays_in_the_queue() -> None:
    """A bug in one job neither settles it nor stops the worker."""
    bench = Bench(ScriptedProvider())

    def explode(target: str) -> None:
        if target == "token-1":
            raise RuntimeError("boom")

    bench.provider.before = explode
    bench.queue.put(make_send_job(3))
    bench.queue.put(make_send_job(1, id="p1:fcm:0:1"))
    async with bench.running():
        await bench.until(lambda: len(bench.queue.settled) == 1)
        await bench.until(lambda: bench.dispatcher.idle)
    assert bench.queue.held == ["send:fcm|1"]
    assert bench.journal.unrecorded == 0


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses that a test can wait for."""
    for name in ("FIRST_PAUSE_S", "LONGEST_PAUSE_S", "WAIT_S"):
        monkeypatch.setattr(lane_module, name, 0.002)


@pytest.mark.usefixtures("quick")
async def test_a_registry_that_is_away_makes_no_walk_poison() -> None:
    """However often it fails, the walk goes on when it is back; two lines tell it."""
    away = [InternalError("the database says no")] * (5 * MAX_DELIVERIES)
    devices = pages(PAGE_SIZE + 1, *away)
    bench = Bench(ScriptedProvider(), devices)
    walk = Expand(DeviceFilter(topics=("t",)))
    with capture_logs() as logs:
        bench.queue.put(make_walk_job(walk))
        async with bench.running():
            await bench.until(lambda: len(bench.provider.sent) == PAGE_SIZE + 1)
    assert bench.queue.dead == []
    assert len(set(bench.provider.sent)) == PAGE_SIZE + 1
    bad = [line for line in logs if line["log_level"] in ("warning", "error")]
    assert [(line["store"], line["doing"]) for line in bad] == [
        ("database", "work on jobs")
    ]


@pytest.mark.usefixtures("quick")
async def test_a_statement_that_is_refused_is_a_fault_of_the_job() -> None:
    """The store is there: given back uncounted, such a job would come for ever."""
    devices = pages(1, StatementRefused("the database says no"))
    bench = Bench(ScriptedProvider(), devices)
    walk = Expand(DeviceFilter(topics=("t",)))
    with capture_logs() as logs:
        bench.queue.put(make_walk_job(walk))
        async with bench.running():
            await bench.until(
                lambda: any(line["event"].startswith("job failed") for line in logs)
            )
    assert bench.queue.settled == []


@pytest.mark.usefixtures("quick")
async def test_a_queue_that_is_away_gets_its_jobs_back_uncounted() -> None:
    """Neither reading a payload nor giving a job back uses up an attempt."""
    bench = Bench(ScriptedProvider())
    faults = [QueueUnavailable("no answer") for _ in range(2 * MAX_DELIVERIES)]
    bench.queue.faults["fetch_payload"] = [*faults]
    for fault in faults:  # and each time it is not given back at the first try
        bench.queue.faults["settle"] += [fault, None]
    with capture_logs() as logs:
        bench.queue.put(make_send_job(3))
        async with bench.running():
            await bench.until(lambda: len(bench.provider.sent) == 3)
            await bench.until(lambda: bench.dispatcher.idle)
    assert bench.queue.dead == []
    assert bench.provider.sent == ["token-0", "token-1", "token-2"]
    bad = [line for line in logs if line["log_level"] in ("warning", "error")]
    assert [line["store"] for line in bad] == ["queue"]


@pytest.mark.usefixtures("quick")
async def test_what_is_given_back_is_without_what_was_sent() -> None:
    """Recipients whose result is recorded are not in the job that returns."""
    bench = Bench(ScriptedProvider())
    bench.queue.faults["fetch_payload"] = [QueueUnavailable("no answer")]
    dead = MemoryJobQueue(bench.clock, data=bench.queue.data, owner="dead")
    lost = dead.hand_out(make_send_job(10), done=bytes([0b1010_0101]))
    dead.fall_silent(lost.receipt)
    async with bench.running():
        await bench.until(lambda: len(bench.provider.sent) == 6)
    assert bench.provider.sent == [f"token-{i}" for i in (1, 3, 4, 6, 8, 9)]


@pytest.mark.usefixtures("quick")
async def test_what_another_worker_has_by_then_is_not_given_back() -> None:
    """It would be sent by that one, and once more by whoever is handed it."""
    bench = Bench(ScriptedProvider())
    gate = bench.queue.gates["fetch_payload"] = asyncio.Event()
    bench.queue.faults["fetch_payload"] = [QueueUnavailable("no answer")]
    receipt = bench.queue.put(make_send_job(3))
    async with bench.running():
        await bench.queue.called("fetch_payload", 1)
        bench.queue.take_away(receipt)  # while the queue was away
        gate.set()
        await bench.until(lambda: bench.is_free())
        await bench.until(lambda: not bench.lane().held)
    assert bench.queue.settled == []
    assert bench.queue.waiting_jobs("send:fcm") == []


@pytest.mark.usefixtures("quick")
async def test_a_poison_job_stays_poison_while_the_queue_is_away() -> None:
    """To give it back would let it end ten workers more."""
    bench = Bench(ScriptedProvider())
    lane = bench.lane()
    delivery = bench.queue.hand_out(make_send_job(3), count=MAX_DELIVERIES + 1)
    lane.held[delivery.receipt] = delivery
    bench.queue.faults["settle"] = [QueueUnavailable("no answer")] * 3
    await lane.handle(delivery)
    assert len(bench.queue.dead) == 1
    assert bench.queue.waiting_jobs("send:fcm") == []


async def test_what_is_in_hand_is_not_begun_again() -> None:
    """A worker that was away finds its own hold silent: it goes on, and sends once."""
    bench = Bench(ScriptedProvider())
    gate = bench.queue.gates["fetch_payload"] = asyncio.Event()
    receipt = bench.queue.put(make_send_job(3))
    async with bench.running():
        await bench.until(lambda: receipt in bench.lane().held)
        bench.queue.fall_silent(receipt)
        await bench.until(lambda: bool(bench.queue.excused))
        gate.set()
        await bench.until(lambda: bool(bench.queue.settled))
    assert bench.queue.excused == ["send:fcm|1"]
    assert bench.provider.sent == ["token-0", "token-1", "token-2"]


async def test_a_poison_job_goes_to_the_dead_letters() -> None:
    """A job that was handed out too often ends with its reason kept."""
    bench = Bench(ScriptedProvider())
    lane = bench.lane()
    delivery = bench.queue.hand_out(make_send_job(3), count=MAX_DELIVERIES + 1)
    await lane.handle(delivery)
    [(job, reason)] = bench.queue.dead
    assert job.id == "p1:fcm:0:0"
    assert "without an end" in reason
    assert bench.provider.sent == []


async def test_a_missing_payload_is_no_silent_loss() -> None:
    """A job whose payload is gone ends in the dead letters."""
    bench = Bench(ScriptedProvider())
    bench.queue.put(make_send_job(3))
    bench.queue.payloads.clear()
    async with bench.running():
        await bench.until(lambda: bool(bench.queue.dead))
    assert "payload" in bench.queue.dead[0][1]


@pytest.mark.parametrize("stage", ["send", "expand"])
async def test_a_job_of_an_integration_that_is_gone_is_no_silent_loss(
    stage: str,
) -> None:
    """It must not be sent with the keys of another project."""
    bench = Bench(ScriptedProvider(), pages(3))
    job: Job = make_send_job(3, integration="shop")
    if stage == "expand":
        job = make_walk_job(integration="shop")
    bench.queue.put(job)
    async with bench.running():
        await bench.until(lambda: bool(bench.queue.settled))
    assert bench.provider.sent == []
    [(dead, reason)] = bench.queue.dead
    assert (dead.id, reason) == (
        job.id,
        "no_integration: shop is not configured, or not active, here",
    )
    assert bench.metrics.push_dead_letters.get("fcm", "no_integration") == (
        3 if stage == "send" else 1
    )


@pytest.mark.parametrize("count", [0, 1, 499, 500, PAGE_SIZE, PAGE_SIZE + 1, 12_345])
async def test_a_filter_becomes_batches_of_every_device_once(count: int) -> None:
    """Pages and batches cover each device exactly once."""
    bench = Bench(ScriptedProvider(answer=lambda _: DELIVERED), pages(count))
    job = make_walk_job()
    bench.queue.put(job)
    async with bench.running():
        await bench.until(lambda: len(bench.provider.sent) == count)
        await bench.until(lambda: not bench.queue.jobs)
    assert len(set(bench.provider.sent)) == count


async def test_expanding_waits_when_batches_pile_up() -> None:
    """Far ahead of the sending, the walk is put off instead of filling the queue."""
    bench = Bench(ScriptedProvider(), pages(10))
    for number in range(AHEAD_BATCHES):
        bench.queue.put(make_send_job(1, id=f"p1:fcm:0:{number}"))
    job = make_walk_job()
    delivery = bench.queue.hand_out(job)
    await bench.expander.work_on(delivery, job)
    [(again, due_ms)] = bench.queue.waiting_jobs("expand:fcm")
    assert again.work == job.work
    assert due_ms > bench.clock.now_ms()


@pytest.mark.parametrize(
    ("changes", "waits"),
    [
        ({"attempt": 1}, True),
        ({"priority": Priority.BULK}, False),
        ({"priority": Priority.TRANSACTIONAL}, False),
    ],
)
async def test_expanding_waits_for_its_own_lane_alone(
    changes: dict[str, Any], waits: bool
) -> None:
    """With what was tried before; batches of a broadcast hold up no other walk."""
    bench = Bench(ScriptedProvider(), pages(10))
    for number in range(AHEAD_BATCHES):
        bench.queue.put(make_send_job(1, id=f"p1:fcm:0:{number}", **changes))
    job = make_walk_job()
    await bench.expander.work_on(bench.queue.hand_out(job), job)
    assert bool(bench.queue.waiting_jobs("expand:fcm")) is waits
    assert bool(bench.queue.waiting_jobs("send:fcm")) is not waits


async def test_a_walk_waits_while_its_credential_is_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its batches would only be put back; those of other credentials are made."""
    bench = Bench(ScriptedProvider(), pages(10))
    monkeypatch.setattr(
        bench.shares, "is_full", lambda job: job.credential == bench.full
    )
    job = make_walk_job()
    for bench.full, waits in (("fcm", True), ("shop", False)):
        await bench.expander.work_on(bench.queue.hand_out(job), job)
        assert bool(bench.queue.waiting_jobs("expand:fcm")) is waits
        assert bool(bench.queue.waiting_jobs("send:fcm")) is not waits
        bench.queue.drop("expand:fcm", "send:fcm")


@pytest.mark.parametrize(
    ("lanes", "done"),
    [
        ((), {"transactional", "normal", "bulk"}),
        (("bulk",), {"bulk"}),
        (("fcm:normal", "transactional"), {"transactional", "normal"}),
    ],
)
async def test_a_worker_takes_from_its_own_lanes_alone(
    lanes: tuple[str, ...], done: set[str]
) -> None:
    """Walks, batches and retries of the rest are left where they are."""
    bench = Bench(ScriptedProvider(), pages(1), lanes=LaneChoice(lanes))
    for priority in Priority:
        bench.queue.put(make_walk_job(id=f"{priority} w", priority=priority))
        for attempt in (0, 1):
            id = f"{priority} {attempt}"
            job = make_send_job(1, id=id, attempt=attempt, priority=priority)
            bench.queue.put(job)
    left = 3 * (len(Priority) - len(done))
    async with bench.running():
        await bench.until(lambda: len(bench.queue.jobs) == left)
    assert {job.priority.value for job in bench.queue.jobs}.isdisjoint(done)
    assert len(bench.provider.sent) == 3 * len(done)
