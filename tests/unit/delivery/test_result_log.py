"""What callers are told of each recipient, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from tests.support.jobs import ManualClock, make_payload, make_send_job
from tests.support.memory_results import MemoryResults

from tocsin.core.errors import InternalError
from tocsin.core.outcome import Outcome, Verdict
from tocsin.core.ports.queue import Delivery
from tocsin.core.push import Job, Recipients, Send, TargetKind
from tocsin.core.results import ResultEvent, hash_target
from tocsin.delivery import result_log
from tocsin.delivery.credentials import Trust
from tocsin.delivery.result_log import ResultLog, code_of
from tocsin.delivery.retries import RetryPolicy
from tocsin.delivery.run import Run
from tocsin.delivery.settlement import Settlement
from tocsin.telemetry.metrics import Metrics

SENT = Outcome(Verdict.DELIVERED, message_id="m1", unique_id="x1")
DEAD = Outcome(Verdict.UNREGISTERED, "unregistered", provider_code="410")
SUSPECT = Outcome(Verdict.SUSPECT, "bad_device_token")
LATER = Outcome(Verdict.RETRY, "unavailable", "503 token-1", provider_code="503")
UNSURE = Outcome(Verdict.RETRY, "timeout", maybe_sent=True)
REFUSED = Outcome(Verdict.REJECTED, "payload_too_large")


class Told:
    """A settlement whose results are kept in memory, with one run."""

    def __init__(
        self, size: int = 4, *, retries: bool = False, done: bytes = b"", **job: object
    ) -> None:
        self.clock = ManualClock()
        self.store = MemoryResults(self.clock)
        self.metrics = Metrics()
        self.results = ResultLog(
            self.store, clock=self.clock, metrics=self.metrics, retries=retries
        )
        self.settlement = Settlement(
            devices=None,
            retry=RetryPolicy(first_delay_s=1.0),
            clock=self.clock,
            metrics=self.metrics,
            results=self.results,
        )
        made = make_send_job(size, **job)  # type: ignore[arg-type]
        self.delivery = Delivery(made, "send:fcm|1", 1, done)
        self.run = Run(self.delivery, made, make_payload(), self.clock.now_ms())

    async def answer(self, *outcomes: Outcome) -> None:
        """The provider answers each pending recipient in turn, and it is taken in."""
        for index, outcome in zip(self.run.pending, outcomes, strict=False):
            self.run.results.append((index, outcome, self.clock.now_ms()))
        await self.settlement.take_in([self.run])

    async def end(self, dropped: dict[str, Sequence[int]] | None = None) -> None:
        """The batch is settled."""
        self.run.complete = True
        await self.settlement.take_in([self.run])
        follow, dead = self.settlement.plan(self.run)
        await self.results.ended(
            self.run.payload, self.run, follow=follow, dead=dead, dropped=dropped or {}
        )

    @property
    def told(self) -> list[tuple[str, str, str]]:
        """Device, outcome and code of each event."""
        return [(e.device_id, e.outcome, e.code) for e in self.store.events]


async def test_an_answer_is_told_with_all_that_is_known() -> None:
    """The ids of send, device and message; no token and no text of the provider."""
    case = Told(1, provider="apns", integration="apns-2", attempt=2)
    await case.answer(SENT)
    assert case.store.events == [
        ResultEvent(
            "recipient",
            "delivered",
            "p1",
            uid="u1",
            provider="apns",
            integration="apns-2",
            device_id="device-0",
            message_id="m1",
            unique_id="x1",
            attempt=3,
            answered_at_ms=case.clock.now_ms(),
            position=1,
            recorded_at_ms=case.clock.now_ms(),
        )
    ]


async def test_a_raw_recipient_is_told_by_the_digest_of_its_token() -> None:
    """Whoever has the token can find it."""
    case = Told(1, devices=False)
    await case.answer(DEAD)
    (event,) = case.store.events
    assert event.device_id == ""
    assert event.target_sha256 == hash_target("token-0")
    assert "token-0" not in repr(event)


async def test_every_recipient_of_a_batch_ends_in_one_event() -> None:
    """Whatever became of it."""
    case = Told(7)
    await case.answer(SENT, DEAD, SUSPECT, REFUSED, LATER)
    case.run.stopped = True
    await case.end(dropped={"rate_limited": [5]})
    assert sorted(case.told) == [
        ("device-0", "delivered", ""),
        ("device-1", "removed", "unregistered"),
        ("device-2", "dead_lettered", "bad_device_token"),  # not believed
        ("device-3", "dead_lettered", "payload_too_large"),
        ("device-5", "dropped", "rate_limited"),
    ]  # 4 and 6 go on


async def test_a_guarded_verdict_that_is_believed_removes() -> None:
    """As a definite one does, but only at the end of the batch."""
    case = Told(2)
    await case.answer(SENT, SUSPECT)
    assert case.told == [("device-0", "delivered", "")]
    case.run.trust = Trust.BELIEVED
    await case.end()
    assert case.told[1:] == [("device-1", "removed", "bad_device_token")]


async def test_failed_tries_are_told_if_they_are_asked_for() -> None:
    """But not what was put back untried."""
    case = Told(2, retries=True)
    await case.answer(LATER)
    await case.end()
    assert case.told == [("device-0", "retry", "unavailable")]
    assert case.store.events[0].provider_code == "503"


async def test_what_has_no_time_left_is_expired_or_unconfirmed() -> None:
    """By whether its last request may have arrived."""
    clock = ManualClock()
    case = Told(2, expire_at_ms=clock.now_ms() + 1)
    await case.answer(LATER, UNSURE)
    await case.end()
    assert case.told == [
        ("device-0", "expired", "unavailable"),
        ("device-1", "unconfirmed", "timeout"),
    ]


async def test_a_batch_that_expired_before_any_try_is_told() -> None:
    """With attempt 0; what another worker has recorded is not told again."""
    case = Told(3, done=b"\x01")
    await case.results.ended(case.run.payload, case.run, follow=[], dead=[])
    assert case.told == [
        ("device-1", "expired", "expired"),
        ("device-2", "expired", "expired"),
    ]
    assert {event.attempt for event in case.store.events} == {0}


async def test_a_batch_that_cannot_be_tried_is_told() -> None:
    """A walk in the dead letters has no recipients to tell of."""
    case = Told()
    job: Job = make_send_job(2)
    reason = "no_integration: fcm is not configured, or not active, here"
    await case.results.ended(None, None, follow=[], dead=[(job, reason)])
    assert case.told == [
        ("device-0", "dead_lettered", "no_integration"),
        ("device-1", "dead_lettered", "no_integration"),
    ]


async def test_who_is_left_out_of_a_page_is_told() -> None:
    """Those reached in a channel, those without a timezone, and those too late."""
    case = Told()
    page = replace(
        make_send_job(),
        work=Send(
            TargetKind.TOKEN,
            Recipients(("t0", "t1", "t2"), ("d0", "d1", "d2"), users=("a", "b", "c")),
        ),
    )
    dropped = {"no_timezone": [0], "expired": [1]}
    await case.results.left_out(page, make_payload(), dropped, [2])
    assert case.told == [
        ("d0", "dropped", "no_timezone"),
        ("d1", "expired", "expired"),
        ("d2", "online", "online"),
    ]
    assert [event.user for event in case.store.events] == ["a", "b", "c"]


async def test_results_wait_until_the_registry_has_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is taken in, and so nothing recorded in the queue, before."""
    monkeypatch.setattr(result_log, "_RETRY_S", 0.001)
    case = Told(1)
    case.store.failures = [InternalError("away"), InternalError("away")]
    async with asyncio.timeout(5):
        await case.answer(SENT)
    assert case.told == [("device-0", "delivered", "")]


async def test_while_the_registry_is_away_taking_in_does_not_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So that a crash then sends again instead of losing an event."""
    monkeypatch.setattr(result_log, "_RETRY_S", 0.001)
    case = Told(1)
    case.store.failures = [InternalError("away")] * 10_000
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await case.answer(SENT)
    assert case.told == []


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("payload_too_large: 413 x", "payload_too_large"),
        ("unavailable", "unavailable"),
        ("retries exhausted: unavailable: 503", "unavailable"),
        ("the payload is not stored any more", "payload_lost"),
        ("handed out 10 times without an end", "poison"),
        ("words of a newer release", "other"),
        ("", "other"),
    ],
)
def test_a_reason_has_a_stable_code(reason: str, code: str) -> None:
    """Never the words of a provider."""
    assert code_of(reason) == code
