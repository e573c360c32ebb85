"""How soon a refused body is found out, and how a send is stopped for it."""

from __future__ import annotations

from dataclasses import replace

from structlog.testing import capture_logs
from tests.support.jobs import ManualClock, make_payload, make_send_job
from tests.unit.delivery.test_breakers import SlowStore

from tocsin.core.errors import QueueUnavailable
from tocsin.core.outcome import DELIVERED, Outcome, Verdict
from tocsin.delivery.body_trials import (
    FIRST_REQUESTS,
    KEPT_TRIALS,
    REFUSALS,
    BodyTrial,
    BodyTrials,
)
from tocsin.telemetry.metrics import Metrics

TOLD = "the provider refuses the body of a send"


def too_big() -> Outcome:
    """A new one each time, as each request is answered for itself."""
    return Outcome(Verdict.REJECTED, "payload_too_large", "413 big", of_body=True)


def test_the_first_refusals_are_enough() -> None:
    """All of the same send, with nothing delivered."""
    trial = BodyTrial("t")
    for _ in range(REFUSALS - 1):
        trial.note(too_big(), 5)
    assert trial.halt is None
    trial.note(Outcome(Verdict.UNREGISTERED, "unregistered"), 6)
    trial.note(too_big(), 7)
    assert trial.halt is not None
    assert trial.halt.reason() == "body_refused: payload_too_large: 413 big"
    assert trial.halt.at_ms == 7


def test_one_delivery_proves_the_body() -> None:
    """Whoever is refused later has a fault of his own."""
    trial = BodyTrial("t")
    for _ in range(REFUSALS - 1):
        trial.note(too_big(), 5)
    trial.note(DELIVERED, 5)
    assert trial.proven
    assert trial.halt is None


def test_the_recipients_of_one_request_are_one_answer() -> None:
    """A service that takes a hundred at once refused one request."""
    trial = BodyTrial("t")
    for _ in range(REFUSALS - 1):
        answer = too_big()
        for _ in range(100):
            trial.note(answer, 5)
    assert trial.halt is None
    trial.note(too_big(), 5)
    assert trial.halt is not None


def test_faults_of_recipients_stop_nothing() -> None:
    """However many: a person's token, a full quota, a template."""
    trial = BodyTrial("t")
    for verdict in Verdict:
        if verdict is not Verdict.DELIVERED:
            for _ in range(100):
                trial.note(Outcome(verdict, "code"), 5)
    assert trial.halt is None


def test_few_requests_are_under_way_until_something_is_known() -> None:
    """More with each answer that says nothing against the body; then all."""
    trial = BodyTrial("t")
    trial.in_flight = FIRST_REQUESTS
    assert not trial.has_room()
    trial.note(too_big(), 5)
    assert trial.has_room()
    trial.in_flight = FIRST_REQUESTS
    trial.note(Outcome(Verdict.RETRY, "unavailable"), 5)
    trial.in_flight = FIRST_REQUESTS + 1
    assert trial.has_room()
    trial.in_flight = FIRST_REQUESTS + 2
    assert not trial.has_room()
    trial.end(2)
    assert trial.in_flight == FIRST_REQUESTS
    trial.end(1000)
    assert trial.in_flight == 0
    trial.note(DELIVERED, 5)
    trial.in_flight = 10**6
    assert trial.has_room()


class Halting:
    """Two workers with one store."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = SlowStore()
        self.metrics = [Metrics(), Metrics()]
        self.first, self.second = (
            BodyTrials(self.store, clock=self.clock, metrics=each)
            for each in self.metrics
        )
        self.job = make_send_job(3)

    async def refuse(self, trials: BodyTrials) -> None:
        trial = trials.of(self.job)
        for _ in range(REFUSALS):
            trial.note(too_big(), self.clock.now_ms())
        await trials.share(trial, self.job, make_payload())

    async def reason(self, trials: BodyTrials) -> str:
        trials.learn(await self.store.fetch())
        halt = await trials.find_halt(self.job)
        return "" if halt is None else halt.reason()


async def test_a_halt_holds_in_every_worker() -> None:
    """For that send and that provider; told once, to a person."""
    halting = Halting()
    assert await halting.reason(halting.second) == ""
    with capture_logs() as logs:
        await halting.refuse(halting.first)
        await halting.refuse(halting.second)
    [line] = logs
    assert (line["log_level"], line["event"].partition(",")[0]) == ("error", TOLD)
    assert (line["code"], line["push_id"]) == ("payload_too_large", "p1")
    labels = ("fcm", "payload_too_large")
    assert [each.push_halted_sends.get(*labels) for each in halting.metrics] == [1, 0]
    for trials in (halting.first, halting.second):
        assert (
            await halting.reason(trials) == "body_refused: payload_too_large: 413 big"
        )
    for other in (
        replace(halting.job, push_id="p2"),
        replace(halting.job, provider="apns"),
        replace(halting.job, integration="shop"),
    ):
        assert await halting.second.find_halt(other) is None


async def test_work_that_comes_much_later_asks_anew() -> None:
    """A halt stands while somebody meets it, and a minute longer."""
    halting = Halting()
    await halting.refuse(halting.first)
    for _ in range(5):
        halting.clock.advance(59)
        assert await halting.reason(halting.second)
    halting.clock.advance(60.1)
    assert await halting.reason(halting.first) == ""
    with capture_logs() as logs:
        await halting.refuse(halting.second)
    assert len(logs) == 1, "and is stopped again"
    assert await halting.reason(halting.first)


async def test_what_was_lifted_is_asked_anew_at_once() -> None:
    """Also by a worker that has not looked yet."""
    halting = Halting()
    await halting.refuse(halting.first)
    assert await halting.reason(halting.second)
    [(name, text)] = (await halting.store.fetch()).items()
    await halting.store.swap(name, text, None)
    assert await halting.second.find_halt(halting.job) is None
    assert halting.first.of(halting.job).halt is None


async def test_a_send_is_stopped_here_while_the_store_is_away() -> None:
    """The other workers find out for themselves."""
    halting = Halting()
    halting.store.failure = QueueUnavailable("away")
    with capture_logs() as logs:
        await halting.refuse(halting.first)
        await halting.refuse(halting.first)
    told = [line for line in logs if line["event"].startswith(TOLD)]
    assert len(told) == 1
    assert await halting.first.find_halt(halting.job) is not None
    assert await halting.second.find_halt(halting.job) is None


async def test_not_every_send_is_remembered() -> None:
    """Those of long ago are over."""
    halting = Halting()
    trial = halting.first.of(halting.job)
    for number in range(KEPT_TRIALS):
        assert halting.first.of(halting.job) is trial or number
        halting.first.of(replace(halting.job, push_id=f"other-{number}"))
    assert halting.first.of(halting.job) is not trial


async def test_a_trial_without_a_halt_shares_nothing() -> None:
    """It ended well, or is not over."""
    halting = Halting()
    await halting.first.share(
        halting.first.of(halting.job), halting.job, make_payload()
    )
    assert await halting.store.fetch() == {}
