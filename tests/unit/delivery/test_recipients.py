"""Stage one where a push was published first: who is left out, and what is counted."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

import pytest
from tests.support.jobs import ManualClock, make_payload, make_send_job
from tests.support.memory_queue import MemoryJobQueue
from tests.support.memory_registry import MemoryDevices

from tocsin.core.analytics import NotificationRow
from tocsin.core.device import Detail, DeviceFilter, Registration
from tocsin.core.outcome import Outcome
from tocsin.core.ports.queue import Delivery
from tocsin.core.push import (
    Expand,
    ExpandJob,
    Job,
    OnlineCheck,
    Payload,
    RecipientType,
    Send,
    SendJob,
    TimeWindow,
)
from tocsin.delivery.online import PATIENCE_MS, PutOff
from tocsin.delivery.recipients import AHEAD_BATCHES, PAGE_SIZE, PAUSE_MS, Expander
from tocsin.delivery.reports import EventLog
from tocsin.delivery.retries import RetryPolicy
from tocsin.delivery.settlement import Settlement
from tocsin.telemetry.metrics import Metrics

CHECK = OnlineCheck("chat", ManualClock().now_ms())


@dataclass
class Online:
    """`OnlineUsers` by script."""

    clock: ManualClock
    reached: frozenset[str] = frozenset()
    undecided: bool = False
    away: bool = False
    waits: int = 0

    async def decide(self, job: ExpandJob, check: OnlineCheck) -> bool:
        assert check == CHECK
        if self.undecided:
            raise PutOff(job, self.clock.now_ms() + 7)
        return self._ask(job)

    async def find(
        self, job: ExpandJob, check: OnlineCheck, users: Collection[str]
    ) -> frozenset[str] | None:
        return self.reached & set(users) if self._ask(job) else None

    def _ask(self, job: ExpandJob) -> bool:
        now_ms = self.clock.now_ms()
        since_ms = job.first_try_at_ms or now_ms
        if self.away and now_ms < since_ms + PATIENCE_MS:
            self.waits += 1
            raise PutOff(replace(job, first_try_at_ms=since_ms), now_ms + 1000)
        return not self.away


@dataclass
class Sink:
    """Keeps what it was told: device and code."""

    rows: list[tuple[str, str]] = field(default_factory=list)
    events: list[NotificationRow] = field(default_factory=list)

    def add(self, row: NotificationRow) -> bool:
        self.events.append(row)
        return True

    def record(
        self,
        job: SendJob,
        payload: Payload,
        results: Sequence[tuple[int, Outcome, int]],
    ) -> None:
        for index, outcome, _ in results:
            self.rows.append((job.work.recipients.device_ids[index], outcome.code))


class Bench:
    """A walk over devices of these users, in batches of two."""

    def __init__(self, *users: str) -> None:
        self.clock = ManualClock()
        self.queue = MemoryJobQueue(self.clock)
        self.payload = make_payload()
        self.devices = MemoryDevices(clock=self.clock)
        for number, user in enumerate(users):
            platform = ("ios", "android")[number % 2]
            registration = Registration("fcm", f"t{number}", platform, user=user)
            device = replace(registration, timezone="UTC", topics=("t",))
            self.devices.put(device, f"d{number:05d}")
        self.metrics = Metrics()
        self.sink = Sink()
        self.online = Online(self.clock)
        self.expander = self.build(self.online)

    def build(self, online: Online | None) -> Expander:
        return Expander(
            queue=self.queue,
            devices=self.devices,
            batch_sizes={"fcm": 2},
            settlement=Settlement(
                devices=None,
                retry=RetryPolicy(),
                clock=self.clock,
                metrics=self.metrics,
                sinks=[self.sink],
            ),
            clock=self.clock,
            online=online,  # type: ignore[arg-type] # by script
            events=EventLog(self.sink, self.clock),
        )

    async def work(self, job: ExpandJob | None = None) -> None:
        """One delivery of a walk."""
        job = job or walk()
        (delivery,) = await self.receive(job)
        await self.expander.work_on(delivery, job)

    async def receive(self, job: ExpandJob) -> list[Delivery]:
        self.queue.put(job, payload=self.payload)
        return await self.queue.receive(["expand:fcm"], limit=1, wait_s=0)

    def sent(self) -> list[str]:
        """Targets of all batches, in order."""
        return [t for job, _ in self.batches() for t in work_of(job).recipients.targets]

    def batches(self) -> list[tuple[Job, int]]:
        return self.queue.waiting_jobs("send:fcm")

    def walks(self) -> list[tuple[Job, int]]:
        return self.queue.waiting_jobs("expand:fcm")


def walk(
    online: OnlineCheck | None = CHECK,
    details: Collection[Detail] = (),
    **changes: object,
) -> ExpandJob:
    work = Expand(
        DeviceFilter(topics=("t",)), details=frozenset(details), online=online
    )
    job = ExpandJob(
        id="p1:fcm:x0",
        push_id="p1",
        provider="fcm",
        work=work,
        recipient_type=RecipientType.FILTER,
        accepted_at_ms=0,
    )
    return replace(job, **changes)  # type: ignore[arg-type]


def work_of(job: Job) -> Send:
    assert isinstance(job.work, Send)
    return job.work


async def test_devices_of_reached_users_are_left_out() -> None:
    """All of a user's devices; others and those without a user get the push."""
    bench = Bench("anna", "ben", "", "anna", "eve")
    bench.online.reached = frozenset({"anna"})
    await bench.work()
    assert bench.sent() == ["t1", "t2", "t4"]
    assert bench.queue.held == []
    assert bench.sink.rows == [("d00000", "online"), ("d00003", "online")]
    text = bench.metrics.render().decode()
    name = "centrifugo_push_online_skipped_count"
    assert f'{name}{{provider="fcm",platform="ios"}} 1' in text
    assert f'{name}{{provider="fcm",platform="android"}} 1' in text
    assert "push_notification_count{" not in text


async def test_batches_carry_no_users_that_nothing_needs() -> None:
    """They are read to leave some out, and kept where limits or templates ask."""
    bench = Bench("anna", "ben")
    await bench.work()
    assert [work_of(job).recipients.users for job, _ in bench.batches()] == [()]
    assert bench.devices.asked == [[Detail.USER]]
    needy = Bench("anna", "ben")
    needy.online.reached = frozenset({"anna"})
    await needy.work(walk(details={Detail.USER}))
    assert [work_of(job).recipients.users for job, _ in needy.batches()] == [("ben",)]


async def test_a_walk_without_it_asks_nobody() -> None:
    """A job of a usual send, or of an older release."""
    bench = Bench("anna")
    bench.online.away = True
    bench.online.reached = frozenset({"anna"})
    await bench.work(walk(online=None))
    assert bench.sent() == ["t0"]
    assert bench.devices.asked == [[]]


async def test_a_worker_that_sees_no_channel_sends_to_everybody() -> None:
    """It cannot know who was reached, and loses nobody."""
    bench = Bench("anna", "ben")
    bench.expander = bench.build(None)
    await bench.work()
    assert bench.sent() == ["t0", "t1"]
    assert bench.sink.rows == []


async def test_everybody_reached_ends_the_walk() -> None:
    """No empty batch is written."""
    bench = Bench("anna", "anna")
    bench.online.reached = frozenset({"anna"})
    await bench.work()
    assert bench.batches() == []
    assert bench.walks() == []
    assert len(bench.sink.rows) == 2


async def test_what_is_not_known_yet_comes_back_as_it_was() -> None:
    """No page is read meanwhile."""
    bench = Bench("anna")
    bench.online.undecided = True
    await bench.work()
    assert bench.walks() == [(walk(), bench.clock.now_ms() + 7)]
    assert bench.devices.asked == []


async def test_it_is_decided_before_the_walk_waits_for_the_sending() -> None:
    """A full queue must not move the look into the channel."""
    bench = Bench("anna")
    for number in range(AHEAD_BATCHES):
        bench.queue.put(make_send_job(0, id=str(number)))
    bench.online.undecided = True
    await bench.work()
    assert bench.walks() == [(walk(), bench.clock.now_ms() + 7)]
    bench.queue.drop("expand:fcm")
    bench.online.undecided = False
    await bench.work()
    assert bench.walks() == [(walk(), bench.clock.now_ms() + PAUSE_MS)]


async def test_windows_hold_back_only_who_was_not_reached() -> None:
    """Who was reached is not reached again tomorrow."""
    bench = Bench("anna", "ben")
    second = bench.clock.now_ms() // 1000 % 86400
    window = TimeWindow((second + 600) % 86400, (second + 1200) % 86400)
    bench.payload = replace(make_payload(), window=window)
    bench.online.reached = frozenset({"anna"})
    await bench.work(walk(details={Detail.TIMEZONE}))
    ((job, due_ms),) = bench.batches()
    assert work_of(job).recipients.targets == ("t1",)
    assert due_ms > bench.clock.now_ms()
    assert bench.sink.rows == [("d00000", "online")]


async def test_a_crash_before_the_page_is_written_counts_nobody() -> None:
    """Another worker settled it: it counts."""
    bench = Bench("anna")
    bench.online.reached = frozenset({"anna"})
    job = walk()
    (delivery,) = await bench.receive(job)
    bench.queue.finish(delivery.receipt)
    await bench.expander.work_on(delivery, job)
    assert bench.sink.rows == []


async def test_without_a_payload_the_walk_is_a_dead_letter() -> None:
    """As every job whose message is gone."""
    bench = Bench("anna")
    job = walk()
    (delivery,) = await bench.receive(job)
    bench.queue.payloads.clear()
    await bench.expander.work_on(delivery, job)
    assert [reason for _, reason in bench.queue.dead] == [
        "the payload is not stored any more"
    ]


@pytest.mark.parametrize("online", [CHECK, None])
async def test_the_walk_goes_on_page_by_page(online: OnlineCheck | None) -> None:
    """The check travels with it."""
    bench = Bench(*["anna", "ben"] * (PAGE_SIZE // 2), "anna", "eve")
    bench.online.reached = frozenset({"anna"})
    await bench.work(walk(online=online))
    ((rest, due_ms),) = bench.walks()
    assert due_ms == 0
    assert isinstance(rest, ExpandJob)
    assert rest.work.online == online
    assert (rest.work.page, rest.first_try_at_ms) == (1, 0)
    bench.queue.drop("expand:fcm", "send:fcm")
    await bench.work(rest)
    sent = [f"t{PAGE_SIZE + 1}"] if online else [f"t{PAGE_SIZE}", f"t{PAGE_SIZE + 1}"]
    assert bench.sent() == sent


async def test_patience_with_the_engine_is_one_for_the_whole_walk() -> None:
    """A page that gave up is followed by pages that do not wait once more."""
    bench = Bench(*["anna"] * (2 * PAGE_SIZE + 1))
    bench.online.away = True
    job, pages = walk(), 0
    while pages < 3:
        await bench.work(job)
        pages += bool(bench.batches())
        if pages:
            assert all(job.first_try_at_ms == 0 for job, _ in bench.batches())
        bench.queue.drop("send:fcm")
        if pages < 3:
            ((rest, due_ms),) = bench.walks()
            assert isinstance(rest, ExpandJob)
            job = rest
            bench.queue.drop("expand:fcm")
            bench.clock.value_ms = max(bench.clock.now_ms(), due_ms)
    assert bench.online.waits == PATIENCE_MS // 1000


async def test_patience_begins_anew_after_an_answer() -> None:
    """A hiccup an hour ago is no reason to give up at the next."""
    bench = Bench(*["anna"] * (PAGE_SIZE + 1))
    await bench.work(walk(first_try_at_ms=bench.clock.now_ms() - 1000))
    ((rest, _),) = bench.walks()
    assert rest.first_try_at_ms == 0


async def test_a_filter_that_matches_nobody_is_told() -> None:
    """Else a send without a device would look like one that is unknown."""
    bench = Bench()
    await bench.work(walk(online=None))
    (row,) = bench.sink.events
    payload = bench.payload
    assert (row.uid, row.status, row.provider) == (
        payload.analytics_uid or payload.uid,
        "unmatched",
        "fcm",
    )


async def test_a_filter_that_matches_somebody_is_told_by_results() -> None:
    """Also where the first page leaves everybody out."""
    bench = Bench("ann")
    bench.online.reached = frozenset({"ann"})
    await bench.work()
    assert bench.sink.events == []


async def test_a_walk_that_came_too_late_is_told() -> None:
    """Nobody was read, so no result will ever say it."""
    bench = Bench("ann")
    await bench.work(walk(online=None, expire_at_ms=bench.clock.now_ms()))
    assert [row.status for row in bench.sink.events] == ["expired"]
