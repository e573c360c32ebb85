"""Limits and templates as the worker applies them, against a queue in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import pytest
from tests.support.jobs import (
    ManualClock,
    ScriptedProvider,
    make_send_job,
    make_walk_job,
)
from tests.support.memory_queue import MemoryJobQueue
from tests.support.memory_registry import MemoryDevices

from tocsin.core.analytics import NotificationRow
from tocsin.core.device import Detail, DeviceFilter, Registration
from tocsin.core.errors import QueueUnavailable
from tocsin.core.outcome import Outcome, Verdict
from tocsin.core.ports.providers import Batch, Pace, Report
from tocsin.core.push import (
    Body,
    Expand,
    Job,
    Payload,
    RateRule,
    Recipients,
    Send,
    SendJob,
    TargetKind,
    Templating,
    TimeWindow,
)
from tocsin.core.rates import RateLimit
from tocsin.delivery import limits
from tocsin.delivery.dispatch import Dispatcher
from tocsin.delivery.limits import MemoryRateLimiter, bucket_keys, spread
from tocsin.delivery.recipients import Expander
from tocsin.delivery.reports import EventLog
from tocsin.delivery.retries import RetryPolicy
from tocsin.delivery.run import RELIABLE_UNRECORDED, Journal
from tocsin.delivery.settlement import Settlement
from tocsin.telemetry.metrics import Metrics

SEND_QUEUES = ("send:fcm", "send:fcm:retry")

NOON_MS = 1_800_014_400_000  # 2027-01-15 12:00 UTC
DAY = TimeWindow(9 * 3600, 18 * 3600)
PER_MINUTE = RateRule((RateLimit(1, 60_000),))


class KeepingProvider(ScriptedProvider):
    """Keeps what each recipient would have got."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.bodies: dict[str, Body] = {}

    async def send(self, batch: Batch, report: Report, pace: Pace) -> None:
        for index in batch.pending:
            body = batch.bodies[index] if batch.bodies else batch.body
            self.bodies[batch.targets[index]] = body
        await super().send(batch, report, pace)


class Sink:
    """Keeps what the analytics would hear."""

    def __init__(self) -> None:
        self.codes: list[tuple[str, str]] = []
        self.events: list[tuple[str, str, int]] = []

    def add(self, row: NotificationRow) -> bool:
        due_s = (int(row.error_message or NOON_MS) - NOON_MS) // 1000
        self.events.append((row.status, row.error_code, due_s))
        return True

    def record(
        self,
        job: SendJob,
        payload: Payload,
        results: Sequence[tuple[int, Outcome, int]],
    ) -> None:
        for index, outcome, _ in results:
            self.codes.append((job.work.recipients.device_ids[index], outcome.code))


class Bench:
    """A dispatcher and an expander without the loop around them."""

    def __init__(self, **payload: Any) -> None:
        self.clock = ManualClock(NOON_MS)
        self.queue = MemoryJobQueue(self.clock)
        self.metrics = Metrics()
        self.provider = KeepingProvider()
        self.sink = Sink()
        self.settlement = Settlement(
            devices=None,
            retry=RetryPolicy(),
            clock=self.clock,
            metrics=self.metrics,
            sinks=[self.sink],
        )
        self.journal = Journal(self.queue, self.settlement, self.clock)
        self.limiter = MemoryRateLimiter(self.clock)
        self.dispatcher = Dispatcher(
            queue=self.queue,
            providers={"fcm": self.provider},
            journal=self.journal,
            settlement=self.settlement,
            clock=self.clock,
            metrics=self.metrics,
            limiter=self.limiter,
            events=EventLog(self.sink, self.clock),
        )
        body = payload.pop("body", b'{"a":"b"}')
        self.payload = Payload("p1", "u1", "u1", {"fcm": Body(body)}, **payload)

    def put(self, job: Job, due_ms: int = 0) -> None:
        self.queue.put(job, due_ms, payload=self.payload)

    async def work(self) -> None:
        """Send whatever is due now, follow-ups included."""
        while found := await self.queue.receive(SEND_QUEUES, limit=9, wait_s=0):
            for delivery in found:
                assert isinstance(delivery.job, SendJob)
                await self.dispatcher.work_on(delivery, delivery.job)

    async def expand(self, zones: dict[str, str], **changes: Any) -> MemoryDevices:
        """Walk over devices in these time zones, each named as its token."""
        devices = MemoryDevices(clock=self.clock)
        for name, zone in zones.items():
            registration = Registration("fcm", name, "ios", timezone=zone)
            devices.put(replace(registration, topics=("t",)), f"id-{name}")
        expander = Expander(
            queue=self.queue,
            devices=devices,
            batch_sizes={"fcm": 2},
            settlement=self.settlement,
            clock=self.clock,
            events=EventLog(self.sink, self.clock),
        )
        work = Expand(DeviceFilter(topics=("t",)), details=frozenset({Detail.TIMEZONE}))
        job = replace(make_walk_job(work, id="p1:0", accepted_at_ms=NOON_MS), **changes)
        self.put(job)
        (delivery,) = await self.queue.receive(["expand:fcm"], limit=1, wait_s=0)
        await expander.work_on(delivery, job)
        return devices

    def waiting(self) -> dict[int, list[str]]:
        """Targets of waiting batches by due time, relative to noon in seconds."""
        found: dict[int, list[str]] = {}
        waiting = [self.queue.waiting_jobs(queue) for queue in SEND_QUEUES]
        for job, due_ms in chain.from_iterable(waiting):
            assert isinstance(job.work, Send)
            due_s = (due_ms - NOON_MS) // 1000 if due_ms else 0
            found.setdefault(due_s, []).extend(job.work.recipients.targets)
        return found

    def failed(self, code: str, platform: str = "ios") -> float:
        return self.metrics.push_notifications.get(
            "fcm", "filter", platform, "false", code
        )


def job_of(work: Send, **changes: Any) -> SendJob:
    job = make_send_job(id="p1:0", work=work, accepted_at_ms=NOON_MS)
    return replace(job, **changes)


def batch(*names: str, **lists: Any) -> Send:
    size = len(names)
    ids = tuple(f"id-{name}" for name in names)
    return Send(TargetKind.TOKEN, Recipients(names, ids, ("ios",) * size, **lists))


async def test_a_window_sorts_devices_by_their_own_clock() -> None:
    """Expanding groups a page by due time; nobody without a zone gets anything."""
    bench = Bench(window=DAY)
    zones = {
        "berlin": "Europe/Berlin",
        "tokyo": "Asia/Tokyo",
        "seoul": "Asia/Seoul",
        "nowhere": "",
        "honolulu": "Pacific/Honolulu",
    }
    devices = await bench.expand(zones)
    assert devices.asked == [[Detail.TIMEZONE]]
    assert bench.waiting() == {
        0: ["berlin"],
        7 * 3600: ["honolulu"],
        12 * 3600: ["seoul", "tokyo"],
    }
    assert bench.failed("no_timezone") == 1
    assert bench.sink.codes == [("id-nowhere", "no_timezone")]
    assert bench.sink.events == [("waiting", "time_window", 12 * 3600)]
    await bench.work()
    assert bench.provider.sent == ["berlin"]
    bench.clock.advance(12 * 3600)
    await bench.work()
    assert bench.provider.sent == ["berlin", "honolulu", "seoul", "tokyo"]


async def test_what_would_open_after_the_end_is_expired() -> None:
    """expire_at wins over the window."""
    bench = Bench(window=DAY)
    zones = {"tokyo": "Asia/Tokyo", "honolulu": "Pacific/Honolulu"}
    await bench.expand(zones, expire_at_ms=NOON_MS + 8 * 3_600_000)
    assert bench.waiting() == {7 * 3600: ["honolulu"]}
    assert bench.failed("expired") == 1


async def test_a_walk_does_not_stop_for_batches_of_tomorrow() -> None:
    """Only batches that are due hold up expanding."""
    bench = Bench(window=DAY)
    for number in range(100):
        bench.put(job_of(batch(f"x{number}")), NOON_MS + 3_600_000)
    await bench.expand({"a": "UTC"})
    assert bench.waiting()[0] == ["a"]


async def test_a_retry_waits_for_the_next_window() -> None:
    """A batch that comes back after hours is put off, without a try counted."""
    bench = Bench(window=DAY)
    bench.clock.advance(7 * 3600)
    work = batch("a", "b", timezones=("UTC", "America/New_York"))
    bench.put(job_of(work, attempt=2, first_try_at_ms=NOON_MS))
    await bench.work()
    assert bench.provider.sent == ["b"]
    [(job, due_ms)] = bench.queue.waiting_jobs("send:fcm:retry")
    assert due_ms == NOON_MS + 21 * 3_600_000
    assert (job.attempt, job.first_try_at_ms) == (2, 0)
    assert isinstance(job.work, Send)
    assert job.work.recipients.timezones == ("UTC",)


async def test_each_device_has_its_own_bucket() -> None:
    """What is over the rate goes out when its bucket has a token again."""
    bench = Bench(rate=PER_MINUTE)
    for _ in range(2):
        bench.put(job_of(batch("a", "b")))
    await bench.work()
    assert sorted(bench.provider.sent) == ["a", "b"]
    assert bench.waiting() == {60: ["a", "b"]}
    assert bench.metrics.rate_limit_hits.get() == 2
    bench.clock.advance(60)
    await bench.work()
    assert sorted(bench.provider.sent) == ["a", "a", "b", "b"]


async def test_dropping_what_is_over_the_rate() -> None:
    """It is counted as failed, told to analytics, and leaves nothing behind."""
    bench = Bench(rate=replace(PER_MINUTE, drop=True))
    for _ in range(2):
        bench.put(job_of(batch("a")))
    await bench.work()
    assert bench.provider.sent == ["a"]
    assert bench.failed("rate_limited") == 1
    assert bench.sink.codes.count(("id-a", "rate_limited")) == 1
    assert bench.waiting() == {}
    assert bench.queue.dead == []


async def test_a_common_bucket_spreads_its_recipients() -> None:
    """Those who wait for one bucket come back one after the other, not all at once."""
    bench = Bench(rate=replace(PER_MINUTE, key="campaign"))
    bench.put(job_of(batch("a", "b", "c", "d")))
    await bench.work()
    assert bench.provider.sent == ["a"]
    assert bench.waiting() == {60: ["b"], 120: ["c"], 180: ["d"]}
    assert bench.sink.events == [("waiting", "rate_limit", 180)]


async def test_a_batch_that_expired_in_the_queue_is_told() -> None:
    """No result will ever say it of these recipients."""
    bench = Bench()
    bench.put(job_of(batch("a"), expire_at_ms=NOON_MS))
    await bench.work()
    assert bench.provider.sent == []
    assert bench.sink.events == [("expired", "", 0)]


async def test_a_retry_takes_no_second_token() -> None:
    """A recipient that was let through stays so: the push counts once."""
    bench = Bench(rate=PER_MINUTE)
    bench.provider.answer = lambda _: Outcome(Verdict.RETRY, "internal")
    bench.put(job_of(batch("a")))
    await bench.work()
    bench.provider.answer = lambda _: Outcome(Verdict.DELIVERED)
    [(job, _)] = bench.queue.waiting_jobs("send:fcm:retry")
    assert isinstance(job.work, Send)
    assert job.work.admitted
    assert job.attempt == 1
    bench.clock.advance(30)
    await bench.work()
    assert bench.provider.sent == ["a", "a"]


async def test_what_is_over_the_rate_expires_in_time() -> None:
    """A token that comes after expire_at is of no use."""
    bench = Bench(rate=PER_MINUTE)
    for _ in range(2):
        bench.put(job_of(batch("a"), expire_at_ms=NOON_MS + 59_000))
    await bench.work()
    assert bench.provider.sent == ["a"]
    assert bench.failed("expired") == 1
    assert bench.waiting() == {}


async def test_window_and_rate_both_hold() -> None:
    """Outside of the window no token is taken."""
    bench = Bench(window=DAY, rate=PER_MINUTE)
    work = batch("a", "b", timezones=("UTC", "Asia/Tokyo"))
    bench.put(job_of(work))
    await bench.work()
    assert bench.provider.sent == ["a"]
    assert bench.waiting() == {12 * 3600: ["b"]}
    keys = bucket_keys(PER_MINUTE, work.recipients, [0, 1])
    answers = await bench.limiter.take(keys, PER_MINUTE.limits)
    assert [bool(at_ms) for at_ms in answers] == [True, False]


async def test_a_limiter_that_is_away_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is let through unasked, and nothing is lost."""
    monkeypatch.setattr(limits, "RETRY_S", 0)
    bench = Bench(rate=PER_MINUTE)
    take, failures = bench.limiter.take, [QueueUnavailable("away")] * 2

    async def fail_first(*args: Any) -> list[int]:
        if failures:
            raise failures.pop()
        return await take(*args)

    monkeypatch.setattr(bench.limiter, "take", fail_first)
    bench.put(job_of(batch("a")))
    await bench.work()
    assert bench.provider.sent == ["a"]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("", ["device:id-a", "device:id-b"]),
        ("{{.device.id}}", ["key:id-a", "key:id-b"]),
        ("{{.device.user}}", ["key:bob", "key:id-b"]),
        ("news {{.device.user}}", ["key:news bob", "key:news id-b"]),
        ("everybody", ["key:everybody", "key:everybody"]),
    ],
)
def test_what_names_a_bucket(key: str, expected: list[str]) -> None:
    """A device without a user never shares a bucket with all the other strangers."""
    work = batch("a", "b", users=("bob", ""))
    assert (
        bucket_keys(replace(PER_MINUTE, key=key), work.recipients, [0, 1]) == expected
    )


def test_spreading_steps_by_the_slowest_limit() -> None:
    """Due times are whole seconds, so that neighbours travel in one job."""
    rule = RateRule((RateLimit(4, 10_000), RateLimit(100, 60_000)))
    dues = spread(["k"] * 4 + ["other"], [0, 1500, 1500, 1500, 700], rule)
    assert dues == [0, 2000, 4000, 7000, 1000]


async def test_the_memory_limiter_forgets_full_buckets() -> None:
    """A bucket that nobody used for long takes no memory."""
    clock = ManualClock()
    limiter = MemoryRateLimiter(clock)
    for number in range(3000):
        await limiter.take([f"k{number}"], PER_MINUTE.limits)
        clock.advance(1)
    assert len(limiter._full_at_us) < 1500


async def test_each_recipient_gets_its_own_body() -> None:
    """Rendered for whom it is sent to; who was done before is not rendered again."""
    bench = Bench(
        body=b'{"t":"{{default [[Hi]] .l10n.hi}} {{.device.meta.nick}}"}',
        templating=Templating({"pt": {"hi": "Oi"}}, use_meta=True),
    )
    work = batch(
        "a",
        "b",
        locales=("pt-BR", "de"),
        metas=('{"nick":"Ana \\"x\\""}', "{}"),
    )
    bench.put(job_of(work))
    await bench.work()
    bodies = {name: json.loads(b.message) for name, b in bench.provider.bodies.items()}
    assert bodies == {"a": {"t": 'Oi Ana "x"'}, "b": {"t": "Hi "}}


async def test_a_body_that_cannot_be_rendered_fails_alone() -> None:
    """It is counted, not tried again, and kept with its reason; the others go out."""
    bench = Bench(
        body=b'{"t":"{{.device.meta.nick}}"}', templating=Templating(use_meta=True)
    )
    bench.put(job_of(batch("a", "b", metas=("[]", "{}"))))
    await bench.work()
    assert bench.provider.sent == ["b"]
    assert bench.failed("template_failed") == 1
    [(job, reason)] = bench.queue.dead
    assert isinstance(job.work, Send)
    assert job.work.recipients.targets == ("a",)
    assert reason.startswith("template_failed")


async def test_an_unreadable_template_sends_nothing() -> None:
    """A payload of a newer release ends in the dead letters, as it is."""
    bench = Bench(body=b'{"t":"{{shout .device.id}}"}', templating=Templating())
    bench.put(job_of(batch("a", "b")))
    await bench.work()
    assert bench.provider.sent == []
    assert bench.failed("template_failed") == 2


async def test_a_templated_send_without_templates_shares_one_body() -> None:
    """Then nothing is rendered, and the batch is as cheap as any."""
    bench = Bench(templating=Templating())
    bench.put(job_of(batch("a", "b")))
    await bench.work()
    assert bench.provider.bodies["a"] is bench.provider.bodies["b"]


async def test_reliable_requests_put_less_at_risk() -> None:
    """Sending waits for the record ten times earlier."""
    bench = Bench(reliable=True)
    at_risk: list[int] = []
    bench.provider.before = lambda _: at_risk.append(bench.journal.unrecorded)
    bench.put(job_of(batch(*(f"t{number}" for number in range(60)))))
    writer = asyncio.create_task(bench.journal.write_for_ever())
    await bench.work()
    writer.cancel()
    assert len(bench.provider.sent) == 60
    assert max(at_risk) < RELIABLE_UNRECORDED
