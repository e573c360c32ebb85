"""The lines that follow a send through the worker: one for each settled job."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import replace
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs
from tests.support.jobs import (
    ManualClock,
    ScriptedProvider,
    make_payload,
    make_send_job,
    make_walk_job,
)
from tests.support.memory_queue import MemoryJobQueue
from tests.support.memory_registry import MemoryDevices

from tocsin.core.analytics import NotificationRow, SendEvent, event_row
from tocsin.core.device import Detail, DeviceFilter, Registration
from tocsin.core.errors import QueueUnavailable
from tocsin.core.outcome import DELIVERED, Outcome, Verdict
from tocsin.core.ports.queue import Delivery
from tocsin.core.push import Expand, ExpandJob, Job, Payload, SendJob, TimeWindow
from tocsin.delivery.dispatch import Dispatcher
from tocsin.delivery.lane import MAX_DELIVERIES
from tocsin.delivery.recipients import PAGE_SIZE, Expander
from tocsin.delivery.reports import EventLog, find_uid, settled_line
from tocsin.delivery.retries import RetryPolicy
from tocsin.delivery.run import Journal, Run
from tocsin.delivery.settlement import Settlement
from tocsin.delivery.worker import Worker
from tocsin.telemetry.metrics import Metrics

Line = MutableMapping[str, Any]
GONE = Outcome(Verdict.UNREGISTERED, "unregistered")
BUSY = Outcome(Verdict.RETRY, "unavailable")
BAD = Outcome(Verdict.REJECTED, "invalid_argument", "message.data is no map")


class _Bench:
    """The two stages over a queue in memory, delivery by delivery."""

    def __init__(self, *answers: Outcome, devices: int = 0) -> None:
        self.clock = ManualClock()
        self.queue = MemoryJobQueue(self.clock)
        self.payload: Payload | None = make_payload()
        by_target = {f"token-{i}": answer for i, answer in enumerate(answers)}
        provider = ScriptedProvider(lambda target: by_target.get(target, DELIVERED))
        self.provider = provider
        registry = MemoryDevices(clock=self.clock)
        registry.fill(devices, topics=("t",))
        for number in range(len(answers)):
            registration = Registration("fcm", f"token-{number}", "android")
            registry.put(registration, f"device-{number}")
        self.clock.advance(1)
        metrics = Metrics()
        self.settlement = Settlement(
            devices=registry,
            retry=RetryPolicy(),
            clock=self.clock,
            metrics=metrics,
        )
        journal = Journal(self.queue, self.settlement, self.clock)
        parts: dict[str, Any] = {
            "queue": self.queue,
            "settlement": self.settlement,
            "clock": self.clock,
        }
        self.dispatcher = Dispatcher(
            providers={"fcm": provider}, journal=journal, metrics=metrics, **parts
        )
        self.expander = Expander(
            devices=registry, batch_sizes={"fcm": PAGE_SIZE}, **parts
        )
        self.worker = Worker(
            queue=self.queue,
            providers={"fcm": provider},
            dispatcher=self.dispatcher,
            expander=self.expander,
            journal=journal,
            metrics=metrics,
        )

    async def work(self, job: Job, *, done: bytes = b"", count: int = 1) -> list[Line]:
        """Everything that one delivery of it wrote."""
        delivery = self.queue.hand_out(job, count=count, done=done)
        self.queue.payloads.clear()
        if self.payload is not None:
            self.queue.payloads[job.push_id] = self.payload
        lane = next(
            each
            for each in self.worker.lanes
            if job.queue.removesuffix(":retry") in each.queues
        )
        with capture_logs() as lines:
            await lane.handle(delivery)
        assert "token-" not in str(lines)
        return lines


def _job(count: int = 3, **changes: Any) -> SendJob:
    return make_send_job(count, correlation_id="req-1", **changes)


def _walk(**changes: Any) -> ExpandJob:
    return replace(make_walk_job(correlation_id="req-1", id="p1:fcm:x0"), **changes)


def _settled(lines: list[Line], *, level: str = "info") -> Line:
    (line,) = [line for line in lines if line["event"] == "batch settled"]
    assert line.pop("log_level") == level
    del line["event"]
    return line


async def test_a_batch_with_every_result() -> None:
    """What became of all recipients, each of them once."""
    bench = _Bench(DELIVERED, GONE, BUSY, BAD, BUSY, DELIVERED)
    assert _settled(await bench.work(_job(6, attempt=1))) == {
        "uid": "u1",
        "push_id": "p1",
        "request_id": "req-1",
        "job_id": "p1:fcm:0:0",
        "provider": "fcm",
        "integration": "fcm",
        "attempt": 1,
        "recipients": 6,
        "delivered": 2,
        "failed": {"unregistered": 1, "invalid_argument": 1},
        "retried": {"unavailable": 2},
        "removed": 1,
        "dead": 1,
    }


async def test_a_single_raw_send() -> None:
    """It has a line like any other, and no device to remove."""
    bench = _Bench(GONE)
    line = _settled(await bench.work(_job(1, devices=False)))
    assert (line["recipients"], line["delivered"], line["removed"]) == (1, 0, 0)
    assert line["failed"] == {"unregistered": 1}


async def test_retries_that_are_given_up() -> None:
    """They have failed, and are in the dead letters."""
    bench = _Bench(BUSY, BUSY)
    old = bench.clock.now_ms() - 10 * 24 * 3_600_000
    line = _settled(await bench.work(_job(2, attempt=3, first_try_at_ms=old)))
    assert (line["retried"], line["failed"]) == ({}, {"unavailable": 2})
    assert line["dead"] == 2


async def test_retries_that_would_come_too_late() -> None:
    """They end as expired, and are no retries."""
    bench = _Bench(BUSY, DELIVERED)
    line = _settled(await bench.work(_job(2, expire_at_ms=bench.clock.now_ms() + 1)))
    assert (line["retried"], line["failed"]) == ({}, {"expired": 1})
    assert (line["delivered"], line["dead"]) == (1, 0)


async def test_an_expired_batch() -> None:
    """Nothing was sent, and the line says why."""
    bench = _Bench()
    line = _settled(await bench.work(_job(3, expire_at_ms=1)))
    assert (line["recipients"], line["delivered"]) == (3, 0)
    assert line["failed"] == {"expired": 3}
    assert bench.provider.sent == []


async def test_a_batch_whose_credential_is_paused() -> None:
    """Its recipients are put back untried; a line each time would hide the others."""
    bench = _Bench(Outcome(Verdict.RETRY, "quota", retry_after_s=60, slow_down=True))
    await bench.work(_job(1))
    line = _settled(await bench.work(_job(3)), level="debug")
    assert (line["put_back"], line["delivered"], line["retried"]) == (3, 0, {})


async def test_a_batch_that_another_worker_had_begun() -> None:
    """Recipients that were done before are told apart."""
    bench = _Bench()
    line = _settled(await bench.work(_job(3), done=b"\x03"))
    assert (line["recipients"], line["done_before"], line["delivered"]) == (3, 2, 1)


async def test_a_batch_that_a_window_splits() -> None:
    """Who is dropped has failed, who waits was put back."""
    bench = _Bench()
    window = TimeWindow(after_s=0, before_s=1)
    bench.payload = replace(make_payload(), window=window)
    job = _job(3)
    zones = ("", "Europe/Berlin", "Europe/Berlin")
    recipients = replace(job.work.recipients, timezones=zones)
    job = replace(job, work=replace(job.work, recipients=recipients))
    line = _settled(await bench.work(job))
    assert (line["failed"], line["put_back"]) == ({"no_timezone": 1}, 2)


async def test_a_batch_that_was_lost_writes_no_such_line() -> None:
    """Its new owner writes it: one line per settled job."""
    bench = _Bench()
    bench.provider.before = lambda _: bench.queue.finish()
    lines = await bench.work(_job(3))
    assert [line for line in lines if line["event"] == "batch settled"] == []


async def test_the_line_is_not_built_where_nobody_reads_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Counting costs time on the way of every batch."""

    def fail(*_: object, **__: object) -> Line:
        raise AssertionError("built in vain")

    monkeypatch.setattr("tocsin.delivery.dispatch.settled_line", fail)
    quiet = structlog.make_filtering_bound_logger(30)
    before = structlog.get_config()["wrapper_class"]
    structlog.configure(wrapper_class=quiet)
    try:
        await _Bench().work(_job(3))
    finally:
        structlog.configure(wrapper_class=before)
    with pytest.raises(AssertionError, match="in vain"):
        await _Bench().work(_job(3))


LETTER = "recipients ended in the dead letters; see `tocsin queue dead`"


async def test_a_dead_letter_names_the_send() -> None:
    """Its uid, where it was going, how often it was tried, and why it ended."""
    bench = _Bench(BAD, DELIVERED)
    lines = await bench.work(_job(2, attempt=2))
    (line,) = [line for line in lines if line["event"] == LETTER]
    assert line == {
        "event": LETTER,
        "log_level": "error",
        "uid": "u1",
        "push_id": "p1",
        "request_id": "req-1",
        "job_id": line["job_id"],
        "provider": "fcm",
        "integration": "fcm",
        "attempt": 2,
        "recipients": 1,
        "reason": "invalid_argument: message.data is no map",
    }


@pytest.mark.parametrize("job", [_job(integration="shop"), _walk(integration="shop")])
async def test_letters_of_jobs_that_were_not_begun(job: Job) -> None:
    """The stored payload tells the uid."""
    lines = await _Bench(devices=1).work(job)
    (line,) = [line for line in lines if line["event"] == LETTER]
    assert (line["uid"], line["integration"]) == ("u1", "shop")


async def test_a_letter_without_a_payload() -> None:
    """No uid is known; everything else is told."""
    bench = _Bench()
    bench.payload = None
    lines = await bench.work(_job())
    (line,) = [line for line in lines if line["event"] == LETTER]
    assert (line["uid"], line["push_id"]) == ("", "p1")
    settled = _settled(lines)
    assert (settled["uid"], settled["dead"]) == ("", 3)
    assert (settled["delivered"], settled["removed"]) == (0, 0)
    assert "done_before" not in settled
    assert settled["failed"] == {"the payload is not stored any more": 3}


async def test_a_poison_job_names_the_send() -> None:
    """With its uid, provider and attempt."""
    (line,) = await _Bench().work(_job(attempt=1), count=MAX_DELIVERIES + 1)
    assert line["event"] == "poison job goes to the dead letters"
    assert (line["uid"], line["push_id"], line["request_id"]) == ("u1", "p1", "req-1")
    assert (line["provider"], line["attempt"], line["recipients"]) == ("fcm", 1, 3)


async def test_a_walk_over_devices() -> None:
    """A line for each page tells how many recipients were read."""
    bench = _Bench(devices=PAGE_SIZE + 2)
    (first,) = await bench.work(_walk())
    assert first == {
        "event": "recipients expanded",
        "log_level": "info",
        "push_id": "p1",
        "request_id": "req-1",
        "provider": "fcm",
        "integration": "fcm",
        "page": 1,
        "recipients": PAGE_SIZE,
        "batches": 1,
        "is_last": False,
    }
    [(rest, _)] = bench.queue.waiting_jobs("expand:fcm")
    bench.queue.drop("send:fcm", "expand:fcm")
    (last,) = await bench.work(rest)
    assert (last["page"], last["recipients"], last["is_last"]) == (2, 2, True)


async def test_a_walk_that_holds_the_payload_names_the_uid() -> None:
    """Elsewhere it is not fetched for the line alone."""
    bench = _Bench(devices=2)
    bench.payload = replace(
        make_payload(), window=TimeWindow(0, 86_399, no_tz_send_now=True)
    )
    work = Expand(DeviceFilter(topics=("t",)), details=frozenset({Detail.TIMEZONE}))
    (line,) = await bench.work(_walk(work=work))
    assert line["uid"] == "u1"


async def test_a_walk_that_expired() -> None:
    """Its recipients were never read."""
    (line,) = await _Bench(devices=2).work(_walk(expire_at_ms=1))
    assert line["event"] == "send expired before its recipients were read"
    assert (line["push_id"], line["provider"]) == ("p1", "fcm")


class _Rows:
    """A sink that keeps everything."""

    def __init__(self) -> None:
        self.kept: list[NotificationRow] = []

    def add(self, row: NotificationRow) -> bool:
        self.kept.append(row)
        return True


@pytest.mark.parametrize("own", ["", "campaign-7"])
async def test_an_event_is_a_row_of_its_send(own: str) -> None:
    """Under the uid that analytics shall use, if the request names one."""
    rows, clock = _Rows(), ManualClock()
    events = EventLog(rows, clock)
    payload = replace(make_payload(), analytics_uid=own)
    events.tell(SendEvent.WAITING, _job(), payload, due_ms=7, reason="rate_limit")
    [row] = rows.kept
    assert row == event_row(
        SendEvent.WAITING,
        own or "u1",
        at_ms=clock.now_ms(),
        due_ms=7,
        provider="fcm",
        type="filter",
        reason="rate_limit",
    )


async def test_a_send_without_a_payload_has_no_event() -> None:
    """Nobody could find its row."""
    rows = _Rows()
    EventLog(rows, ManualClock()).tell(SendEvent.EXPIRED, _job(), None)
    assert rows.kept == []


async def test_the_uid_of_a_stored_payload() -> None:
    """Empty where it cannot be read, whether it is gone or the queue is away."""
    queue = MemoryJobQueue(ManualClock())
    queue.payloads["p1"] = make_payload()
    assert await find_uid(queue, "p1") == "u1"
    assert await find_uid(queue, "p2") == ""
    queue.faults["fetch_payload"] = [QueueUnavailable()]
    assert await find_uid(queue, "p1") == ""


def test_parts_that_ended_for_one_reason_are_counted_together() -> None:
    """By its first word; and so is what expired before and while it was sent."""
    job, walk = _job(3), _walk()
    letters: list[tuple[Job, str]] = [
        (job, "no_integration: gone"),
        (walk, "no_integration: not here"),
    ]
    line = settled_line(job, None, None, follow=[], dead=letters)
    assert (line["failed"], line["dead"]) == ({"no_integration": 4}, 4)
    run = Run(Delivery(job, "r", 1, b""), job, make_payload(), 0)
    run.results.append((0, DELIVERED, 0))
    run.expired = 1
    dropped = {"expired": [2]}
    line = settled_line(job, None, run, follow=[], dead=[], dropped=dropped)
    assert (line["failed"], line["delivered"]) == ({"expired": 2}, 1)
