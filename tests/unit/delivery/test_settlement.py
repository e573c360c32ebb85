"""What follows from each result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from tests.support.jobs import ManualClock, make_payload, make_send_job

from tocsin.core.device import DeadToken
from tocsin.core.outcome import DELIVERED, Outcome, Verdict
from tocsin.core.ports import Delivery
from tocsin.core.push import Job, Send
from tocsin.core.webpush import make_target
from tocsin.delivery.retries import RetryPolicy
from tocsin.delivery.run import Run
from tocsin.delivery.settlement import Settlement
from tocsin.telemetry.metrics import Metrics


class DeadList:
    """Takes dead tokens and removes them all."""

    def __init__(self) -> None:
        self.dead: list[DeadToken] = []

    async def remove_dead(self, dead: Sequence[DeadToken]) -> list[str]:
        self.dead.extend(dead)
        return [token.device_id for token in dead]


class Case:
    """A settlement with one run."""

    def __init__(self, **changes: object) -> None:
        self.clock = ManualClock()
        self.devices = DeadList()
        self.metrics = Metrics()
        self.settlement = Settlement(
            devices=self.devices,  # type: ignore[arg-type] # only remove_dead is asked
            retry=RetryPolicy(first_delay_s=1.0),
            clock=self.clock,
            metrics=self.metrics,
        )
        job = make_send_job(4, **changes)  # type: ignore[arg-type]
        self.run = Run(
            Delivery(job, "send:fcm|1", 1, b""), make_payload(), self.clock.now_ms()
        )

    async def take(self, *outcomes: Outcome) -> None:
        for index, outcome in enumerate(outcomes):
            self.run.results.append((index, outcome, self.clock.now_ms()))
        await self.settlement.take_in([self.run])


def targets(job: Job) -> tuple[str, ...]:
    assert isinstance(job.work, Send)
    return job.work.targets


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
        DeadToken("device-1", "token-1", case.run.started_ms, "fcm: unregistered")
    ]
    assert case.metrics.push_devices_removed.get("fcm", "unregistered") == 1


async def test_a_dead_subscription_is_told_by_its_endpoint() -> None:
    """The registry keeps the endpoint, while the send carries the keys as well."""
    endpoint = "https://push.example/1"
    case = Case()
    case.run.delivery.job = job = replace(case.run.job, provider="webpush")
    case.run.work = replace(
        case.run.work, targets=(make_target(endpoint, '{"auth":"x"}'),)
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


async def test_suspects_stay_until_enough_is_known() -> None:
    """A guarded verdict alone removes nothing, but it is counted as a failure."""
    case = Case()
    suspect = Outcome(Verdict.SUSPECT, "sender_id_mismatch")
    await case.take(suspect)
    assert case.devices.dead == []
    labels = ("fcm", "filter", "android", "false", "sender_id_mismatch")
    assert case.metrics.push_notifications.get(*labels) == 1
    assert case.settlement.plan(case.run)[1] == []


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
        assert 1000 <= due_ms - case.clock.now_ms() <= 2000
        assert job.id != case.run.job.id
    assert case.metrics.push_retries.get("fcm", "unavailable") == 0
    case.settlement.count_ends(case.run)
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
    case.settlement.count_ends(case.run)
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
    assert due_ms == case.clock.now_ms() + 10_000


async def test_what_was_not_started_goes_back_at_once() -> None:
    """A batch that stops half-way is put back with what remains."""
    case = Case()
    await case.take(DELIVERED, DELIVERED)
    [(job, due_ms)] = case.settlement.plan(case.run)[0]
    assert targets(job) == ("token-2", "token-3")
    assert job.attempt == 0
    assert due_ms == 0
    assert isinstance(job.work, Send)
    assert job.work.device_ids == ("device-2", "device-3")
    assert job.work.platforms == ("android", "android")


@pytest.mark.parametrize("verdict", list(Verdict))
async def test_every_recipient_has_an_end_or_a_follow_up(verdict: Verdict) -> None:
    """No verdict lets a recipient vanish."""
    case = Case()
    await case.take(*[Outcome(verdict, "code")] * 4)
    follow, dead = case.settlement.plan(case.run)
    parts = [job for job, _ in follow] + [job for job, _ in dead]
    kept = {target for job in parts for target in targets(job)}
    done = {
        t for i, t in enumerate(case.run.work.targets) if case.run.bitmap[0] >> i & 1
    }
    assert kept | done == set(case.run.work.targets)
    assert not kept & done
