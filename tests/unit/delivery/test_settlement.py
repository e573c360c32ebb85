"""What follows from each result."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from structlog.testing import capture_logs
from tests.support.jobs import ManualClock, make_payload, make_send_job
from tests.support.memory_registry import (
    MemoryDevices,
    MemoryRegistry,
    MemoryVerdicts,
)

from tocsin.core.device import DeadToken, Registration
from tocsin.core.errors import NotAvailable
from tocsin.core.outcome import DELIVERED, Outcome, Verdict
from tocsin.core.ports.devices import RecentVerdicts
from tocsin.core.ports.queue import Delivery
from tocsin.core.push import Job, Payload, Send, SendJob
from tocsin.core.webpush import make_target
from tocsin.delivery import removal
from tocsin.delivery.breakers import Breakers, LocalBreakerStore
from tocsin.delivery.credentials import BROKEN_AFTER
from tocsin.delivery.retries import RetryPolicy
from tocsin.delivery.run import Run
from tocsin.delivery.settlement import Settlement
from tocsin.telemetry.metrics import Metrics

SUSPECT = Outcome(Verdict.SUSPECT, "sender_id_mismatch")
DEAD = Outcome(Verdict.UNREGISTERED, "unregistered")


class Case:
    """A settlement with one run; `history` is what was answered before."""

    def __init__(self, *, size: int = 4, history: str = "", **changes: object) -> None:
        self.clock = ManualClock()
        registry = MemoryRegistry()
        self.devices = MemoryDevices(registry, clock=self.clock)
        self.metrics = Metrics()
        self.verdicts = MemoryVerdicts(registry, clock=self.clock)
        for provider in ("fcm", "webpush"):
            registry.answers[provider, provider] = (
                RecentVerdicts(history, history.count("d")),
                self.clock.now_ms(),
            )
        for number in range(size):
            self.register("fcm", number, f"token-{number}")
        self.clock.advance(1)
        self.settlement = Settlement(
            devices=self.devices,
            retry=RetryPolicy(first_delay_s=1.0),
            clock=self.clock,
            metrics=self.metrics,
            verdicts=self.verdicts,
            breakers=Breakers(
                LocalBreakerStore(),
                clock=self.clock,
                metrics=self.metrics,
                spread_ms=0,
            ),
        )
        job = make_send_job(size, **changes)  # type: ignore[arg-type]
        delivery = Delivery(job, "send:fcm|1", 1, b"")
        self.run = Run(delivery, job, make_payload(), self.clock.now_ms())

    def register(self, provider: str, number: int, token: str) -> None:
        """The device of a target, from before the send."""
        self.devices.put(Registration(provider, token, "android"), f"device-{number}")

    async def mark(self, *numbers: int) -> None:
        """Guarded verdicts about these devices were believed once before."""
        before_ms = self.clock.now_ms()
        said = [DeadToken(f"device-{n}", f"token-{n}", before_ms, "x") for n in numbers]
        done = await self.verdicts.suspect(said, delivered=0, proof=0)
        assert done.removed == []
        self.verdicts.accused.clear()
        self.clock.advance(1)
        self.run.started_ms = self.clock.now_ms()

    @property
    def letters(self) -> str:
        """What all workers know of the credential."""
        recent, _ = self.devices.registry.answers["fcm", "fcm"]
        return recent.letters

    async def take(self, *outcomes: Outcome) -> None:
        start = len(self.run.results)
        for index, outcome in enumerate(outcomes, start=start):
            self.run.results.append((index, outcome, self.clock.now_ms()))
        await self.settlement.take_in([self.run])

    async def finish(self, *outcomes: Outcome) -> None:
        """Take these as the last answers of the batch."""
        self.run.complete = True
        await self.take(*outcomes)


def to_browsers(job: SendJob, targets: tuple[str, ...]) -> SendJob:
    """The same batch, to these subscriptions."""
    recipients = replace(job.work.recipients, targets=targets)
    return replace(
        job, provider="webpush", work=replace(job.work, recipients=recipients)
    )


def targets(job: Job) -> tuple[str, ...]:
    assert isinstance(job.work, Send)
    return job.work.recipients.targets


async def test_all_delivered_leaves_nothing_behind() -> None:
    """A batch without faults has no follow-up and no dead letter."""
    case = Case()
    await case.take(*[DELIVERED] * 4)
    assert case.settlement.plan(case.run) == ([], [])
    labels = ("fcm", "filter", "android", "true", "")
    assert case.metrics.push_notifications.get(*labels) == 4


async def test_a_definite_verdict_removes_the_device() -> None:
    """Unregistered tokens go, dated by the beginning of the send."""
    case = Case()
    await case.take(DELIVERED, Outcome(Verdict.UNREGISTERED, "unregistered"))
    assert case.devices.dead == [
        DeadToken("device-1", "token-1", case.run.started_ms, "fcm: unregistered", "p1")
    ]
    assert case.metrics.push_devices_removed.get("fcm", "unregistered") == 1


async def test_a_dead_subscription_is_told_by_its_endpoint() -> None:
    """The registry keeps the endpoint, while the send carries the keys as well."""
    endpoint = "https://push.example/1"
    case = Case()
    case.run.job = job = replace(case.run.job, provider="webpush")
    case.run.recipients = replace(
        case.run.recipients, targets=(make_target(endpoint, '{"auth":"x"}'),)
    )
    await case.take(Outcome(Verdict.UNREGISTERED, "gone"))
    assert case.run.job is job
    assert [(one.device_id, one.token) for one in case.devices.dead] == [
        ("device-0", endpoint)
    ]


async def test_the_providers_time_of_death_counts() -> None:
    """Where the provider dates the death, that instant is compared."""
    case = Case()
    await case.take(Outcome(Verdict.UNREGISTERED, "unregistered", gone_at_ms=77))
    assert case.devices.dead[0].before_ms == 77


@pytest.mark.parametrize("outcome", [DEAD, SUSPECT])
@pytest.mark.parametrize("gone_after_ms", [None, -1, 0, 1])
async def test_whoever_registered_since_the_send_began_stays(
    outcome: Outcome, gone_after_ms: int | None
) -> None:
    """However late the answer is: what came back meanwhile was not what was sent to."""
    case = Case(history="d" * 100)
    started_ms = case.clock.now_ms()
    gone_at_ms = None if gone_after_ms is None else started_ms + gone_after_ms
    case.clock.advance(60)
    await case.finish(replace(outcome, gone_at_ms=gone_at_ms), *[DELIVERED] * 3)
    [token] = case.devices.dead + case.verdicts.accused
    assert token.before_ms == started_ms + min(gone_after_ms or 0, 0)


async def test_suspects_stay_until_enough_is_known() -> None:
    """A guarded verdict alone removes nothing; its recipient can be replayed."""
    case = Case()
    await case.finish(SUSPECT, DELIVERED, DELIVERED, DELIVERED)
    assert (case.devices.dead, case.verdicts.accused) == ([], [])
    labels = ("fcm", "filter", "android", "false", "sender_id_mismatch")
    assert case.metrics.push_notifications.get(*labels) == 1
    assert case.metrics.push_removals_held.get("fcm", "sender_id_mismatch") == 1
    [(job, reason)] = case.settlement.plan(case.run)[1]
    assert targets(job) == ("token-0",)
    assert reason.startswith("sender_id_mismatch: not believed")


async def test_a_believed_suspect_is_noted_for_the_registry() -> None:
    """It decides on mark or removal; the recipient ends here, as a failure."""
    case = Case(history="d" * 100)
    await case.finish(DELIVERED, SUSPECT, DELIVERED, DELIVERED)
    assert case.devices.dead == []
    assert case.verdicts.accused == [
        DeadToken(
            "device-1", "token-1", case.run.started_ms, "fcm: sender_id_mismatch", "p1"
        )
    ]
    assert case.verdicts.delivered == 103
    assert case.settlement.plan(case.run) == ([], [])
    assert case.metrics.push_devices_removed.get("fcm", "sender_id_mismatch") == 0


async def test_a_suspect_that_the_registry_removes_is_counted() -> None:
    """Where it was marked before."""
    case = Case(history="d" * 100)
    await case.mark(1)
    await case.finish(DELIVERED, SUSPECT, DELIVERED, DELIVERED)
    assert case.run.removed == 1
    assert case.metrics.push_devices_removed.get("fcm", "sender_id_mismatch") == 1


async def test_suspects_are_judged_by_all_answers_of_their_batch() -> None:
    """The first answers of a storm remove nothing, though few came before them."""
    case = Case(size=100, history="d" * 200)
    await case.take(*[SUSPECT] * 10)
    assert case.verdicts.accused == [], "the batch is under way"
    await case.finish(*[SUSPECT] * 20)
    assert case.verdicts.accused == []
    assert case.run.bitmap == bytes(13), "a take-over would try them again"


@pytest.mark.parametrize("guarded", [3, 4])
async def test_a_batch_without_any_delivery_proves_little(guarded: int) -> None:
    """More than the devices of one person, and nothing delivered: not believed."""
    case = Case(history="d" * 200)
    await case.finish(*[SUSPECT] * guarded)
    believed = guarded == 3
    assert len(case.verdicts.accused) == (3 if believed else 0)
    case.run.pending = list(range(guarded))
    follow, dead = case.settlement.plan(case.run)
    assert follow == []
    assert [len(targets(job)) for job, _ in dead] == ([] if believed else [4])


async def test_a_storm_burns_nobody() -> None:
    """The credential pauses, and everybody waits with the attempt they had."""
    case = Case(size=100, history="d" * 200, attempt=2)
    await case.finish(*[SUSPECT] * 60)
    credential = case.settlement.credential(case.run.job)
    assert credential.is_paused(case.clock.now_ms())
    follow, dead = case.settlement.plan(case.run)
    assert dead == []
    assert {job.attempt for job, _ in follow} == {2}
    # Those that were not tried are looked at first: to probe with somebody else.
    assert [due - case.clock.now_ms() for _, due in follow] == [5_000, 6_000]
    assert sum(len(targets(job)) for job, _ in follow) == 100
    assert case.devices.dead == case.verdicts.accused == []
    assert case.verdicts.acquitted_all == [("fcm", "fcm")]


async def test_a_storm_ends_in_the_dead_letters() -> None:
    """After the longest wait, tried or not: to be replayed by a person."""
    first_try_at_ms = ManualClock().now_ms() - 86_400_000
    case = Case(size=60, first_try_at_ms=first_try_at_ms)
    await case.finish(*[SUSPECT] * 40)
    follow, [(job, reason)] = case.settlement.plan(case.run)
    assert (follow, len(targets(job))) == ([], 60)
    assert reason == (
        "breaker_open: sender_id_mismatch: waited longer than retry.max_wait"
    )


async def test_a_fresh_worker_knows_the_storm_of_the_others() -> None:
    """Its first guarded verdict pauses the credential here too."""
    case = Case(history="s" * 60)
    await case.finish(SUSPECT)
    assert case.settlement.credential(case.run.job).is_paused(case.clock.now_ms())


async def test_a_delivery_acquits_a_suspect() -> None:
    """Only those of whom something was on record cost a write."""
    case = Case()
    await case.mark(1, 3)
    await case.take(DELIVERED, DELIVERED)
    assert case.verdicts.acquitted == {"device-1"}


async def test_a_flood_of_definite_verdicts_removes_nobody() -> None:
    """Those that went before it was seen come back; the send can be replayed."""
    case = Case(size=200, history="d" * 19)
    for _ in range(4):
        await case.take(*[DEAD] * 45)
    first = [token.device_id for token in case.devices.dead]
    assert first == [f"device-{n}" for n in range(135)], "0.9 of what was seen, at most"
    await case.finish(*[DEAD] * 20)
    assert len(case.devices.dead) == 135
    assert case.devices.restored == first
    assert case.metrics.push_removals_held.get("fcm", "unregistered") == 65
    follow, [(job, reason)] = case.settlement.plan(case.run)
    assert (follow, len(targets(job))) == ([], 200), "those of before too"
    assert reason.startswith("unregistered: not believed")
    assert case.run.removed == 0


async def test_one_push_service_that_is_broken_removes_none_of_its_browsers() -> None:
    """A fifth of the answers, all of them from one service: nobody goes."""
    case = Case(size=100, history="d" * 100)
    endpoints = [
        f"https://{'bad' if n % 5 == 0 else 'good'}.example/{n}" for n in range(100)
    ]
    targets_of = tuple(make_target(endpoint, "{}") for endpoint in endpoints)
    job = to_browsers(case.run.job, targets_of)
    case.run = Run(case.run.delivery, job, case.run.payload, case.run.started_ms)
    for number, endpoint in enumerate(endpoints):
        case.register("webpush", number, endpoint)
    case.clock.advance(1)
    case.run.started_ms = case.clock.now_ms()
    for _ in range(10):
        await case.take(*[DEAD, *[DELIVERED] * 4])
    assert len(case.devices.dead) == 10, "not yet seen to be one"
    await case.finish(*[DEAD, *[DELIVERED] * 4] * 10)
    assert sorted(case.devices.restored) == sorted(
        d.device_id for d in case.devices.dead
    )
    assert len(case.devices.dead) == 10
    assert len(case.run.held) == 20


async def test_an_old_registry_is_cleaned_up() -> None:
    """Three of five dead, in any order, is no flood."""
    case = Case(size=100)
    await case.finish(*[DEAD, DELIVERED, DEAD, DELIVERED, DEAD] * 20)
    assert len(case.devices.dead) == 60
    assert case.settlement.plan(case.run) == ([], [])


async def test_a_registry_that_is_away_removes_nothing() -> None:
    """Nobody can say what other workers saw; the sending goes on."""
    case = Case(history="d" * 100)
    case.verdicts.failure = NotAvailable("the database is away")
    await case.finish(DELIVERED, SUSPECT, DEAD, DELIVERED)
    assert case.devices.dead == case.verdicts.accused == []
    assert case.settlement.plan(case.run)[0] == []
    case.verdicts.failure = None
    case.run = Case().run
    await case.finish(DEAD)
    assert case.devices.dead == [], "it is not asked for a while: nobody shall wait"
    case.clock.advance(10)
    case.run = Case().run
    await case.finish(DELIVERED, DELIVERED, DELIVERED, DEAD)
    assert case.letters.endswith("dsud" + "u" + "dddu"), "what was kept is told"
    assert len(case.devices.dead) == 1


async def test_a_storm_is_seen_while_the_registry_is_away() -> None:
    """By this worker's own answers; a person is told once."""
    case = Case(size=120)
    case.verdicts.failure = NotAvailable("the database is away")
    with capture_logs() as logs:
        await case.take(*[SUSPECT] * 60)
        await case.finish(*[SUSPECT] * 60)
    told = [line["event"] for line in logs if line["log_level"] == "error"]
    assert [event.partition(" look")[0] for event in told] == [
        "provider credential paused; its pushes wait in the queue",
        "so many tokens",
    ]
    assert case.settlement.credential(case.run.job).is_paused(case.clock.now_ms())
    assert case.devices.dead == case.verdicts.accused == []


async def test_a_flood_is_told_once() -> None:
    """To a person, and again only where devices came back."""
    case = Case(size=90)
    with capture_logs() as logs:
        for _ in range(3):
            await case.take(*[DEAD] * 30)
    told = [line for line in logs if line["log_level"] == "error"]
    assert [line["restored"] for line in told] == [0]
    assert told[0]["event"].startswith("the provider calls nearly every token dead")


def let_it_hang(case: Case, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The registry never answers and is given up soon; returns who was asked about."""
    asked: list[str] = []

    async def hang(provider: str, *_: str, delivered: int) -> RecentVerdicts:
        asked.append(provider)
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(removal, "PATIENCE_S", 0.01)
    monkeypatch.setattr(case.verdicts, "note", hang)
    return asked


async def test_a_registry_that_hangs_does_not_stop_the_sending(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is given up after a while, and then left alone for longer."""
    case = Case()
    asked = let_it_hang(case, monkeypatch)
    for _ in range(3):
        await case.take(DEAD)
    assert (len(asked), case.devices.dead) == (1, [])


async def test_healthy_answers_are_shared_now_and_then() -> None:
    """Not once a batch: a broadcast must not wait for the registry."""
    case = Case()
    for _ in range(3):
        await case.take(DELIVERED)
    assert case.verdicts.notes == 1
    case.clock.advance(1)
    await case.take(DELIVERED)
    assert (case.verdicts.notes, case.letters) == (2, "dddd")


async def test_good_news_after_bad_is_shared_at_once() -> None:
    """Else workers who know the bad alone would take the credential for broken."""
    case = Case(size=70, history="d" * 200)
    await case.take(SUSPECT)
    await case.take(DELIVERED)
    assert case.letters.endswith("sd")
    for _ in range(60):
        await case.take(DELIVERED)
    assert case.verdicts.notes == 1 + BROKEN_AFTER, "not for ever"


async def take_at_once(case: Case, batches: int, *outcomes: Outcome) -> None:
    """So many batches of one credential are answered in the same moment."""
    runs = [
        Run(case.run.delivery, case.run.job, case.run.payload, case.clock.now_ms())
        for _ in range(batches)
    ]
    for run in runs:
        run.results = [(n, each, run.started_ms) for n, each in enumerate(outcomes)]
    async with asyncio.timeout(10):
        await asyncio.gather(*(case.settlement.take_in([run]) for run in runs))


@pytest.mark.parametrize(
    ("outcome", "letter", "most"),
    [(DELIVERED, "d", 1), (SUSPECT, "s", 2), (DEAD, "u", 2)],
)
async def test_batches_that_are_answered_at_once_share_together(
    monkeypatch: pytest.MonkeyPatch, outcome: Outcome, letter: str, most: int
) -> None:
    """A far registry is not asked by one after the other, while all of them wait."""
    case = Case(history="d" * 200)
    note = case.verdicts.note

    async def be_slow(*told: str, delivered: int) -> RecentVerdicts:
        await asyncio.sleep(0.01)
        return await note(*told, delivered=delivered)

    monkeypatch.setattr(case.verdicts, "note", be_slow)
    await take_at_once(case, 20, outcome)
    assert 1 <= case.verdicts.notes <= most
    case.clock.advance(1)
    await case.take(DELIVERED)
    assert case.letters.endswith(letter * 20 + "d"), "each told once"


async def test_a_registry_that_hangs_is_waited_for_once_by_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Batches that are answered at once do not each have a patience of their own."""
    case = Case()
    asked = let_it_hang(case, monkeypatch)
    with capture_logs() as logs:
        await take_at_once(case, 20, DEAD)
    assert (len(asked), case.devices.dead) == (1, [])
    assert {line.get("error", "") for line in logs} - {""} == {
        "no answer within 0.01 s"
    }


async def test_raw_tokens_remove_nothing() -> None:
    """A raw token has no device row."""
    case = Case(devices=False)
    await case.take(Outcome(Verdict.UNREGISTERED, "unregistered"))
    assert case.devices.dead == []


async def test_a_passing_fault_comes_back_later() -> None:
    """Only the failed recipients are tried again, one attempt older."""
    case = Case()
    fault = Outcome(Verdict.RETRY, "unavailable")
    await case.take(DELIVERED, fault, DELIVERED, fault)
    follow, dead = case.settlement.plan(case.run)
    assert dead == []
    jobs = [job for job, _ in follow]
    assert sorted(t for job in jobs for t in targets(job)) == ["token-1", "token-3"]
    for job, due_ms in follow:
        assert job.attempt == 1
        assert job.first_try_at_ms == case.clock.now_ms()
        assert 0 <= due_ms - case.clock.now_ms() <= 1500
        assert job.id != case.run.job.id
    assert case.metrics.push_retries.get("fcm", "unavailable") == 0
    case.settlement.reports.count_ends(case.run)
    assert case.metrics.push_retries.get("fcm", "unavailable") == 2


async def test_retry_after_is_when_it_comes_back() -> None:
    """Recipients with different wishes come back at different times."""
    case = Case()
    await case.take(
        Outcome(Verdict.RETRY, "quota_exceeded", retry_after_s=30),
        Outcome(Verdict.RETRY, "quota_exceeded", retry_after_s=90),
    )
    case.run.pending = [0, 1]
    follow, _ = case.settlement.plan(case.run)
    now = case.clock.now_ms()
    assert [due - now for _, due in follow] == [30_000, 90_000]


async def test_a_wish_beyond_the_end_costs_no_recipient() -> None:
    """It is tried once more at the end of all tries, and only then given up."""
    wish = Outcome(Verdict.RETRY, "quota_exceeded", retry_after_s=86_400)
    case = Case()
    case.run.pending = [0]
    await case.take(wish)
    [(job, due_ms)], dead = case.settlement.plan(case.run)
    assert dead == []
    assert due_ms == case.clock.now_ms() + 3_600_000
    last = Case(first_try_at_ms=job.first_try_at_ms, attempt=job.attempt)
    last.run.pending = [0]
    last.clock.advance(3_600)
    await last.take(wish)
    follow, [(_, reason)] = last.settlement.plan(last.run)
    assert (follow, reason) == ([], "retries exhausted: quota_exceeded")


@pytest.mark.parametrize("gone_at_ms", [10**30, 10**17, 2**63])
async def test_an_absurd_time_of_death_does_not_count(gone_at_ms: int) -> None:
    """It keeps nobody who registered since, and fits the registry."""
    case = Case()
    await case.take(Outcome(Verdict.UNREGISTERED, "gone", gone_at_ms=gone_at_ms))
    assert case.devices.dead[0].before_ms == case.run.started_ms


async def test_retries_end_in_the_dead_letters() -> None:
    """After the longest age the recipient is kept as a dead letter."""
    case = Case(first_try_at_ms=ManualClock().now_ms() - 3_600_000, attempt=9)
    case.run.pending = [0]
    await case.take(Outcome(Verdict.RETRY, "unavailable", detail="try later"))
    follow, dead = case.settlement.plan(case.run)
    assert follow == []
    [(job, reason)] = dead
    assert targets(job) == ("token-0",)
    assert reason == "retries exhausted: unavailable: try later"


async def test_expiry_ends_retries_before_their_age() -> None:
    """A retry that would come after expire_at is counted as expired."""
    case = Case(expire_at_ms=ManualClock().now_ms() + 500)
    case.run.pending = [0]
    await case.take(Outcome(Verdict.RETRY, "unavailable"))
    assert case.settlement.plan(case.run) == ([], [])
    labels = ("fcm", "filter", "", "false", "expired")
    assert case.metrics.push_notifications.get(*labels) == 0
    case.settlement.reports.count_ends(case.run)
    assert case.metrics.push_notifications.get(*labels) == 1


async def test_a_rejected_message_is_kept_with_its_reason() -> None:
    """What can never be sent is a dead letter, grouped by reason; tokens stay."""
    case = Case()
    big = Outcome(Verdict.REJECTED, "invalid_argument", "message is too big")
    await case.take(big, big, big, big)
    follow, dead = case.settlement.plan(case.run)
    assert follow == []
    assert [reason for _, reason in dead] == ["invalid_argument: message is too big"]
    assert len(targets(dead[0][0])) == 4
    assert case.devices.dead == []


async def test_a_broken_credential_burns_no_attempt() -> None:
    """Recipients wait for the end of the pause with the attempt they had."""
    case = Case(attempt=2)
    fault = Outcome(Verdict.MISCONFIGURED, "permission_denied", slow_down=True)
    await case.take(fault, fault, fault, fault)
    [(job, due_ms)] = case.settlement.plan(case.run)[0]
    assert job.attempt == 2
    assert due_ms == case.clock.now_ms() + 6_000


PAUSING = Outcome(Verdict.MISCONFIGURED, "permission_denied", slow_down=True)


def begin_again(case: Case, job: Job) -> None:
    """What was put back is in hand again."""
    assert isinstance(job, SendJob)
    delivery = replace(case.run.delivery, job=job)
    case.run = Run(delivery, job, case.run.payload, case.clock.now_ms())


async def test_work_waits_for_its_credential_a_day_at_most() -> None:
    """However often it is put back: a fault that lasts ends in the dead letters."""
    case = Case()
    credential = case.settlement.credential(case.run.job)
    credential.note(PAUSING, case.clock.now_ms())
    begun_ms = case.clock.now_ms()
    for waited_s in (0, 43_200, 43_200):
        case.clock.advance(waited_s)
        [(job, due_ms)], dead = case.settlement.postpone(case.run, credential)
        assert dead == []
        assert case.clock.now_ms() < due_ms <= case.clock.now_ms() + 5_000
        assert (job.first_try_at_ms, job.attempt) == (begun_ms, 0)
        assert targets(job) == case.run.recipients.targets
        begin_again(case, job)
    case.clock.advance(0.001)
    follow, [(job, reason)] = case.settlement.postpone(case.run, credential)
    assert (follow, targets(job)) == ([], case.run.recipients.targets)
    assert (
        reason == "breaker_open: permission_denied: waited longer than retry.max_wait"
    )


async def test_waiting_uses_up_no_try() -> None:
    """Neither their number nor their age, whether some had failed before or none."""
    for attempt in (0, 2):
        case = Case(attempt=attempt, size=1)
        credential = case.settlement.credential(case.run.job)
        credential.note(PAUSING, case.clock.now_ms())
        for _ in range(20):
            [(job, due_ms)], _ = case.settlement.postpone(case.run, credential)
            case.clock.value_ms = max(due_ms, case.clock.now_ms() + 3_600_000)
            if attempt:  # looked at when it is due
                case.clock.value_ms = due_ms
            begin_again(case, job)
        credential.change(None)
        await case.take(Outcome(Verdict.RETRY, "unavailable"))
        [(job, due_ms)], dead = case.settlement.plan(case.run)
        assert (dead, job.attempt) == ([], attempt + 1)
        assert 0 <= case.clock.now_ms() - job.first_try_at_ms <= 1


async def test_what_a_pause_interrupted_waits_too() -> None:
    """Those that no request was made for, and a little longer those that failed."""
    case = Case()
    begun_ms = case.clock.now_ms()
    await case.take(DELIVERED, PAUSING)
    case.clock.advance(1)
    unsent, refused = sorted(case.settlement.plan(case.run)[0], key=lambda it: it[1])
    assert targets(unsent[0]) == ("token-2", "token-3")
    assert unsent[0].first_try_at_ms == begun_ms + 1000
    assert (unsent[1], refused[1]) == (begun_ms + 6_000, begun_ms + 7_000)
    older = Case(first_try_at_ms=begun_ms - 5)
    await older.take(DELIVERED, PAUSING)
    assert {job.first_try_at_ms for job, _ in older.settlement.plan(older.run)[0]} == {
        begun_ms - 5
    }


async def test_what_was_not_started_goes_back_at_once() -> None:
    """A batch that stops half-way is put back with what remains."""
    case = Case()
    await case.take(DELIVERED, DELIVERED)
    [(job, due_ms)] = case.settlement.plan(case.run)[0]
    assert targets(job) == ("token-2", "token-3")
    assert job.attempt == 0
    assert due_ms == 0
    assert isinstance(job.work, Send)
    assert job.work.recipients.device_ids == ("device-2", "device-3")
    assert job.work.recipients.platforms == ("android", "android")


@pytest.mark.parametrize("verdict", list(Verdict))
async def test_every_recipient_has_an_end_or_a_follow_up(verdict: Verdict) -> None:
    """No verdict lets a recipient vanish."""
    case = Case()
    await case.take(*[Outcome(verdict, "code")] * 4)
    follow, dead = case.settlement.plan(case.run)
    parts = [job for job, _ in follow] + [job for job, _ in dead]
    kept = {target for job in parts for target in targets(job)}
    done = {
        t
        for i, t in enumerate(case.run.recipients.targets)
        if case.run.bitmap[0] >> i & 1
    }
    assert kept | done == set(case.run.recipients.targets)
    assert not kept & done


class Heard:
    """Results and tickets, as sinks and keepers are told of them."""

    def __init__(self) -> None:
        self.results: list[tuple[Job, Payload, list[tuple[int, Outcome, int]]]] = []
        self.kept: list[tuple[Run, list[tuple[int, Outcome, int]]]] = []

    def record(
        self, job: Job, payload: Payload, results: Sequence[tuple[int, Outcome, int]]
    ) -> None:
        self.results.append((job, payload, list(results)))

    async def keep(self, run: Run, results: Sequence[tuple[int, Outcome, int]]) -> None:
        self.kept.append((run, list(results)))


def listening(case: Case, retry: RetryPolicy | None = None) -> Heard:
    """The case's settlement with somebody who hears all of it."""
    heard = Heard()
    case.settlement = Settlement(
        devices=case.devices,
        retry=retry or RetryPolicy(first_delay_s=1.0),
        clock=case.clock,
        metrics=case.metrics,
        sinks=[heard],
        tickets=heard,  # type: ignore[arg-type] # only `keep` is asked
        verdicts=case.verdicts,
    )
    return heard


async def test_every_result_is_told_once_as_it_is() -> None:
    """To sinks and to whoever keeps tickets, with its batch and its time."""
    case = Case(size=3)
    heard = listening(case)
    at_ms = case.clock.now_ms()
    await case.take(DELIVERED)
    await case.finish(DELIVERED, DEAD)
    told = [[(0, DELIVERED, at_ms)], [(1, DELIVERED, at_ms), (2, DEAD, at_ms)]]
    assert heard.results == [(case.run.job, case.run.payload, part) for part in told]
    assert heard.kept == [(case.run, part) for part in told]


async def test_who_is_left_out_is_told_and_counted() -> None:
    """By a limit as a failure with its code; reached in a channel as no failure."""
    case = Case(size=3)
    heard = listening(case)
    job, payload, now_ms = case.run.job, case.run.payload, case.clock.now_ms()
    case.settlement.reports.drop(job, payload, [0, 2], "rate_limited")
    case.settlement.reports.spare(job, payload, [1])
    limited = Outcome(Verdict.REJECTED, "rate_limited")
    assert heard.results == [
        (job, payload, [(0, limited, now_ms), (2, limited, now_ms)]),
        (job, payload, [(1, Outcome(Verdict.REJECTED, "online"), now_ms)]),
    ]
    metrics = case.metrics
    labels = ("fcm", "filter", "android", "false", "rate_limited")
    assert metrics.push_notifications.get(*labels) == 2
    assert metrics.push_online_skipped.get("fcm", "android") == 1


async def test_a_dead_letter_is_counted_by_the_first_word_of_its_reason() -> None:
    """With all of its recipients: what follows is too many words for a label."""
    case = Case(size=3)
    case.settlement.reports.bury(case.run.job, "unavailable: try later", "u1")
    assert case.metrics.push_dead_letters.get("fcm", "unavailable") == 3


async def test_raw_tokens_have_no_platform() -> None:
    """So their label is empty."""
    case = Case(devices=False, size=1)
    case.run.recipients = replace(case.run.recipients, platforms=())
    await case.finish(DELIVERED)
    assert case.metrics.push_notifications.get("fcm", "filter", "", "true", "") == 1


async def test_retries_that_come_too_late_are_counted_as_tried() -> None:
    """Beside those that are tried again, under the same code."""
    case = Case(size=2)
    wait_s = (30, 90)
    case.run.job = replace(case.run.job, expire_at_ms=case.clock.now_ms() + 60_000)
    await case.take(
        *(Outcome(Verdict.RETRY, "quota", retry_after_s=each) for each in wait_s)
    )
    [(job, _)], dead = case.settlement.plan(case.run)
    assert (targets(job), dead) == (("token-0",), [])
    case.settlement.reports.count_ends(case.run)
    assert case.metrics.push_retries.get("fcm", "quota") == 2
    labels = ("fcm", "filter", "", "false", "expired")
    assert case.metrics.push_notifications.get(*labels) == 1


@pytest.mark.parametrize(("left_ms", "is_tried"), [(0, False), (1, True)])
async def test_a_retry_at_the_end_of_a_message_is_too_late(
    left_ms: int, is_tried: bool
) -> None:
    """`expire_at` is the first moment that nothing is sent any more."""
    case = Case(size=1, expire_at_ms=ManualClock().now_ms() + 30_500 + left_ms)
    wish = Outcome(Verdict.RETRY, "quota", retry_after_s=29.5)
    await case.take(wish)
    follow, dead = case.settlement.plan(case.run)
    assert (len(follow), dead) == (int(is_tried), [])


async def test_what_has_taken_the_place_of_a_credential_is_not_paused() -> None:
    """Nothing is known of it; others keep what is known of them."""
    case = Case()
    job = replace(case.run.job, integration="eu")
    for each in (case.run.job, job):
        case.settlement.credential(each).note(PAUSING, case.clock.now_ms())
    case.settlement.forget("fcm", "eu")
    case.settlement.forget("fcm", "never-there")
    now_ms = case.clock.now_ms()
    assert not case.settlement.credential(job).is_paused(now_ms)
    assert case.settlement.credential(case.run.job).is_paused(now_ms)


async def test_several_batches_are_taken_in_together() -> None:
    """In whatever order they are named."""
    case = Case()
    again = Run(case.run.delivery, case.run.job, case.run.payload, 0)
    runs = [case.run, again]
    for run in runs:
        run.results.append((0, DELIVERED, 0))
    await case.settlement.take_in(runs)
    await case.settlement.take_in(runs[::-1])
    assert [bytes(run.bitmap) for run in runs] == [b"\x01"] * 2


async def test_what_went_of_a_batch_adds_up() -> None:
    """Over all its answers, whatever their verdict; not those that come back."""
    case = Case(size=8, history="d" * 100)
    await case.mark(3)
    case.verdicts.registry.answers["fcm", "fcm"] = (
        RecentVerdicts("d" * 100, 200),
        case.clock.now_ms(),
    )
    await case.take(DEAD, DELIVERED)
    await case.take(DEAD)
    await case.finish(SUSPECT)
    assert case.run.removed == 3


async def test_guarded_verdicts_are_judged_once_at_the_end() -> None:
    """However often it is looked at before and after."""
    case = Case(size=5, history="d" * 100)
    await case.take(DELIVERED, SUSPECT)
    assert case.verdicts.accused == []
    case.run.complete = True
    for _ in range(2):
        await case.settlement.take_in([case.run])
    assert [each.device_id for each in case.verdicts.accused] == ["device-1"]
    assert case.metrics.push_removals_held.get("fcm", "sender_id_mismatch") == 0


async def test_what_was_judged_stays_judged() -> None:
    """Though others see a storm before the batch is settled: nobody gets it twice."""
    case = Case(size=2, history="d" * 100)
    await case.finish(DELIVERED, SUSPECT)
    case.settlement.credential(case.run.job).adopt(RecentVerdicts("s" * 200, 0))
    assert case.settlement.plan(case.run) == ([], [])


@pytest.mark.parametrize("done_before", [0, 1])
@pytest.mark.parametrize("delivered", [0, 5])
async def test_a_delivery_to_the_batch_lets_its_verdicts_count(
    done_before: int, delivered: int
) -> None:
    """Now, or under the worker that had it before."""
    case = Case(size=12, history="d" * 200)
    case.run = Run(
        replace(case.run.delivery, done=b"\x01" if done_before else b""),
        case.run.job,
        case.run.payload,
        case.clock.now_ms(),
    )
    case.run.results = [
        (index, outcome, case.clock.now_ms())
        for index, outcome in enumerate(
            [*[DELIVERED] * delivered, *[SUSPECT] * 5], start=1
        )
    ]
    case.run.complete = True
    await case.settlement.take_in([case.run])
    is_alone = not (done_before or delivered)
    assert len(case.verdicts.accused) == (0 if is_alone else 5)


async def test_guarded_verdicts_of_a_new_push_service_are_not_believed() -> None:
    """Each stands for itself, in one batch."""
    case = Case(size=60, history="d" * 100)
    targets_of = tuple(
        make_target(f"https://{'new' if n > 55 else 'good'}.example/{n}", "{}")
        for n in range(60)
    )
    job = to_browsers(case.run.job, targets_of)
    case.run = Run(case.run.delivery, job, case.run.payload, case.run.started_ms)
    await case.finish(SUSPECT, *[DELIVERED] * 55, *[SUSPECT] * 2)
    assert [each.device_id for each in case.verdicts.accused] == ["device-0"]
    assert case.run.doubted == {56, 57}


async def test_a_flood_holds_back_those_it_called_dead_alone() -> None:
    """Whoever was delivered is done, and what went lately is back and not counted."""
    case = Case(size=40, history="d" * 3)
    await case.take(DELIVERED, *[DEAD] * 15)
    assert case.run.removed == 15
    await case.take(*[DEAD] * 24)
    assert case.run.removed == 0
    assert case.run.held == set(range(1, 40))
    case.run.complete = True
    _, [(job, _)] = case.settlement.plan(case.run)
    assert targets(job) == tuple(f"token-{n}" for n in range(1, 40))
    assert len(case.devices.restored) == 15


async def test_an_ordinary_dead_token_goes_with_healthy_answers() -> None:
    """It does not wait until the registry is asked again."""
    case = Case(size=12, history="d" * 100)
    await case.take(*[DELIVERED] * 10)
    await case.take(DEAD)
    assert case.verdicts.notes == 1
    assert [each.device_id for each in case.devices.dead] == ["device-10"]


async def test_few_batches_of_a_registry_that_hangs_remove_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those that waited with the first know no more than it does."""
    case = Case()
    asked = let_it_hang(case, monkeypatch)
    await take_at_once(case, 5, DEAD)
    assert (len(asked), case.devices.dead) == (1, [])


async def test_dead_tokens_are_compared_as_the_registry_compares_them() -> None:
    """APNs tokens are hexadecimal, in either case."""
    case = Case(size=1)
    case.run.job = replace(case.run.job, provider="apns")
    case.run.recipients = replace(case.run.recipients, targets=("AB" * 32,))
    await case.take(DEAD)
    assert [each.token for each in case.devices.dead] == ["ab" * 32]


@pytest.mark.parametrize(
    ("outcome", "level"),
    [
        (PAUSING, "error"),
        (Outcome(Verdict.RETRY, "quota", slow_down=True), "warning"),
    ],
)
async def test_a_pause_that_nobody_can_end_is_a_warning(
    outcome: Outcome, level: str
) -> None:
    """A wrong key needs a person, a quota does not."""
    case = Case()
    with capture_logs() as logs:
        await case.take(outcome)
    [line] = [line for line in logs if "paused" in line["event"]]
    assert (line["log_level"], line["pause_s"]) == (level, 10.0)


@pytest.mark.parametrize(
    ("outcome", "attempt"),
    [
        (PAUSING, 2),
        (replace(PAUSING, slow_down=False), 3),
        (Outcome(Verdict.RETRY, "quota", slow_down=True), 3),
        (Outcome(Verdict.RETRY, "unavailable"), 3),
    ],
)
async def test_which_faults_burn_an_attempt(outcome: Outcome, attempt: int) -> None:
    """All that are not of the credential alone."""
    case = Case(size=1, attempt=2)
    await case.take(outcome)
    [(job, _)] = case.settlement.plan(case.run)[0]
    assert job.attempt == attempt


@pytest.mark.parametrize(
    ("waited_ms", "due_in_ms"), [(0, 6_000), (5_000, 6_000), (9_500, 2_000)]
)
async def test_who_waits_for_a_probe_waits_a_second_at_least(
    waited_ms: int, due_in_ms: int
) -> None:
    """The next probe may be due before the batch is settled."""
    case = Case(size=1)
    await case.take(PAUSING)
    case.clock.value_ms += waited_ms
    [(_, due_ms)] = case.settlement.plan(case.run)[0]
    assert due_ms - case.clock.now_ms() == due_in_ms


@pytest.mark.parametrize(("waited_ms", "is_put_off"), [(36_999, True), (37_000, False)])
async def test_what_a_pause_held_up_goes_on_when_it_is_over(
    waited_ms: int, is_put_off: bool
) -> None:
    """At once then, as if there had been none."""
    case = Case(size=2)
    await case.take(Outcome(Verdict.RETRY, "quota", retry_after_s=37, slow_down=True))
    case.clock.value_ms += waited_ms
    unsent = case.settlement.plan(case.run)[0][0]
    assert targets(unsent[0]) == ("token-1",)
    assert bool(unsent[1]) is bool(unsent[0].first_try_at_ms) is is_put_off


async def test_retries_come_at_the_delay_of_their_provider_in_steps() -> None:
    """So that those of half a second share a job."""
    case = Case(size=1)
    listening(case, RetryPolicy(least_delay_by_provider={"fcm": 100.0}))
    await case.take(Outcome(Verdict.RETRY, "unavailable"))
    [(_, due_ms)] = case.settlement.plan(case.run)[0]
    assert 100_000 <= due_ms - case.clock.now_ms() <= 101_500
    assert isinstance(due_ms, int)
    assert due_ms % 500 == 0


async def test_the_last_try_is_not_after_the_end() -> None:
    """In steps too, so it comes a moment before."""
    case = Case(size=1, first_try_at_ms=ManualClock().now_ms() - 7)
    await case.take(Outcome(Verdict.RETRY, "quota", retry_after_s=86_400))
    [(job, due_ms)], dead = case.settlement.plan(case.run)
    assert dead == []
    assert due_ms <= job.first_try_at_ms + 3_600_000 < due_ms + 500


async def test_parts_of_parts_keep_the_name_of_their_batch() -> None:
    """And are told apart by what follows it, which does not grow."""
    case = Case(size=2, id="p1:fcm:0:0~00000000")
    parts = [case.settlement.part(case.run, [n]) for n in range(2)]
    assert len({part.id for part in parts}) == 2
    for part in parts:
        assert part.id.partition("~")[0] == "p1:fcm:0:0"
        assert len(part.id) == len(case.run.job.id)


async def test_a_flood_of_one_service_brings_back_none_of_another() -> None:
    """What the others called dead is believed all the while."""
    case = Case(size=61, history="d" * 100)
    targets_of = tuple(
        make_target(f"https://{'good' if n == 0 else 'bad'}.example/{n}", "{}")
        for n in range(61)
    )
    job = to_browsers(case.run.job, targets_of)
    case.run = Run(case.run.delivery, job, case.run.payload, case.run.started_ms)
    for number in range(61):
        name = "good" if number == 0 else "bad"
        case.register("webpush", number, f"https://{name}.example/{number}")
    case.clock.advance(1)
    case.run.started_ms = case.clock.now_ms()
    await case.take(*[DEAD] * 11)
    assert case.run.removed == 11
    await case.take(*[DEAD] * 20)
    assert case.devices.restored == [f"device-{n}" for n in range(1, 11)]
    assert case.run.removed == 1


async def test_guarded_verdicts_are_not_believed_while_the_registry_is_away() -> None:
    """Though this worker knew of many deliveries a moment ago."""
    case = Case(size=3, history="d" * 100)
    await case.take(DELIVERED)
    case.verdicts.failure = NotAvailable("the database is away")
    await case.finish(DELIVERED, SUSPECT)
    assert case.verdicts.accused == []
    assert case.run.doubted == {2}
    assert case.metrics.push_removals_held.get("fcm", "sender_id_mismatch") == 1


async def test_batches_that_share_an_answer_may_all_act_on_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever waited for another's question knows what it learnt."""
    case = Case(size=4, history="d" * 200)
    note = case.verdicts.note

    async def be_slow(
        provider: str, integration: str, letters: str, *, delivered: int
    ) -> RecentVerdicts:
        await asyncio.sleep(0.01)
        return await note(provider, integration, letters, delivered=delivered)

    monkeypatch.setattr(case.verdicts, "note", be_slow)
    await take_at_once(case, 3, DELIVERED, SUSPECT)
    runs = [
        Run(case.run.delivery, case.run.job, case.run.payload, case.clock.now_ms())
        for _ in range(3)
    ]
    for number, run in enumerate(runs):
        run.results = [(number, SUSPECT, run.started_ms)]
        run.complete = True
    await asyncio.gather(*(case.settlement.take_in([run]) for run in runs))
    assert sorted(each.device_id for each in case.verdicts.accused) == [
        f"device-{n}" for n in range(3)
    ]
