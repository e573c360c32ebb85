"""How workers share a breaker, and which of them probes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest
from structlog.testing import capture_logs
from tests.support.jobs import ManualClock

from tocsin.core.errors import QueueUnavailable
from tocsin.core.outcome import DELIVERED, Outcome, Verdict
from tocsin.delivery import breakers as module
from tocsin.delivery.breakers import Breakers, LocalBreakerStore, Permit
from tocsin.delivery.credentials import CredentialState
from tocsin.telemetry.metrics import Metrics

FAULT = Outcome(Verdict.MISCONFIGURED, "permission_denied", "403 no", slow_down=True)
BUSY = Outcome(Verdict.RETRY, "quota", retry_after_s=30, slow_down=True)
PAUSED = "provider credential paused; its pushes wait in the queue"
STILL = "provider credential is still refused; its pushes wait in the queue"
WORKS = "provider credential works again; what waited for it is sent"


class SlowStore(LocalBreakerStore):
    """With turns of others in every call; `failure` is raised while it stands."""

    def __init__(self) -> None:
        super().__init__()
        self.failure: Exception | None = None

    async def fetch(self) -> Mapping[str, str]:
        await self._answer()
        found = await super().fetch()
        await asyncio.sleep(0)
        return found

    async def swap(self, name: str, before: str | None, after: str | None) -> bool:
        await self._answer()
        done = await super().swap(name, before, after)
        await asyncio.sleep(0)
        return done

    async def _answer(self) -> None:
        await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure


class FixedBacklog:
    """So many jobs wait, all in one of the queues that are asked for."""

    def __init__(self, count: int) -> None:
        self.count = count

    async def waiting(
        self, queues: Sequence[str], *, only_due: bool = False
    ) -> dict[str, int]:
        assert not only_due
        return {**dict.fromkeys(queues, 0), queues[-1]: self.count}


class Workers:
    """Some workers on one store."""

    def __init__(self, count: int = 2, *, waiting: int = 0) -> None:
        self.clock = ManualClock()
        self.store = SlowStore()
        self.metrics = [Metrics() for _ in range(count)]
        self.all = [
            Breakers(
                self.store,
                clock=self.clock,
                metrics=self.metrics[n],
                worker=f"w{n}",
                backlog=FixedBacklog(waiting),
                spread_ms=0,
            )
            for n in range(count)
        ]
        for each in self.all:
            each.credential("fcm", "shop")

    def state(self, number: int, integration: str = "shop") -> CredentialState:
        return self.all[number].credential("fcm", integration)

    async def answer(self, number: int, outcome: Outcome) -> None:
        """A worker notes an answer, and shares what follows."""
        state = self.state(number)
        state.note(outcome, self.clock.now_ms(), push_id="p1")
        if state.is_unshared:
            await self.all[number].share(state)

    async def look(self) -> None:
        for each in self.all:
            await each.look()

    async def ask(self) -> list[Permit]:
        """What each may do now, asked at once."""
        return list(
            await asyncio.gather(
                *(each.ask(self.state(n)) for n, each in enumerate(self.all))
            )
        )


def events(logs: Sequence[Mapping[str, object]]) -> list[object]:
    return [line["event"] for line in logs]


async def test_one_answer_stops_every_worker() -> None:
    """Once each has looked; others of the provider go on."""
    workers = Workers(3)
    await workers.answer(0, FAULT)
    assert await workers.all[1].ask(workers.state(1)) is Permit.GO
    await workers.look()
    assert await workers.ask() == [Permit.WAIT] * 3
    other = workers.all[1].credential("fcm", "other")
    assert await workers.all[1].ask(other) is Permit.GO
    assert workers.metrics[2].push_breaker_state.get("fcm", "shop") == 1
    assert workers.metrics[1].push_breaker_state.get("fcm", "other") == 0


async def test_of_many_that_find_the_same_one_tells() -> None:
    """In the log and in the counter; all of them have the one breaker."""
    workers = Workers(4)
    with capture_logs() as logs:
        await asyncio.gather(*(workers.answer(n, FAULT) for n in range(4)))
    [line] = logs
    assert (line["event"], line["log_level"]) == (PAUSED, "error")
    assert (line["code"], line["detail"], line["pause_s"]) == (
        "permission_denied",
        "403 no",
        10.0,
    )
    labels = ("fcm", "shop", "permission_denied")
    counts = [each.push_breaker_openings.get(*labels) for each in workers.metrics]
    assert sorted(counts) == [0, 0, 0, 1]
    assert len({workers.state(n).breaker for n in range(4)}) == 1


async def test_one_worker_probes() -> None:
    """The others wait for what it finds, and a dead one is replaced."""
    workers = Workers(3)
    await workers.answer(0, FAULT)
    await workers.look()
    workers.clock.advance(9.999)
    assert await workers.ask() == [Permit.WAIT] * 3
    workers.clock.advance(0.001)
    permits = await workers.ask()
    assert sorted(permit.value for permit in permits) == ["probe", "wait", "wait"]
    assert await workers.ask() == [Permit.WAIT] * 3, "also of its own batches"
    await workers.look()
    assert [m.push_breaker_state.get("fcm", "shop") for m in workers.metrics] == [2] * 3
    workers.clock.advance(30)
    permits = await workers.ask()
    assert sorted(permit.value for permit in permits) == ["probe", "wait", "wait"]


async def test_a_good_probe_lets_everybody_go_on() -> None:
    """Said once, by who probed."""
    workers = Workers(2)
    await workers.answer(0, FAULT)
    await workers.look()
    workers.clock.advance(10)
    assert await workers.all[1].ask(workers.state(1)) is Permit.PROBE
    workers.clock.advance(0.5)
    with capture_logs() as logs:
        await workers.all[1].end_probe(workers.state(1), DELIVERED)
        await workers.look()
    [line] = logs
    assert (line["event"], line["open_s"]) == (WORKS, 10.5)
    assert await workers.ask() == [Permit.GO] * 2
    assert await workers.store.fetch() == {}
    assert workers.metrics[0].push_breaker_state.get("fcm", "shop") == 0


async def test_a_bad_probe_waits_twice_as_long() -> None:
    """The log says that it goes on, and how long it has."""
    workers = Workers(2)
    await workers.answer(0, FAULT)
    await workers.look()
    workers.clock.advance(10)
    assert await workers.all[1].ask(workers.state(1)) is Permit.PROBE
    workers.state(1).note(FAULT, workers.clock.now_ms())
    with capture_logs() as logs:
        await workers.all[1].end_probe(workers.state(1), FAULT)
    [line] = logs
    assert (line["event"], line["open_s"], line["pause_s"]) == (STILL, 10.0, 20.0)
    await workers.look()
    workers.clock.advance(19.9)
    assert await workers.ask() == [Permit.WAIT] * 2


async def test_a_probe_without_an_answer_is_given_back() -> None:
    """The worker stopped, or the recipient had a fault of its own."""
    workers = Workers(2)
    await workers.answer(0, FAULT)
    workers.clock.advance(10)
    assert await workers.all[0].ask(workers.state(0)) is Permit.PROBE
    with capture_logs() as logs:
        await workers.all[0].end_probe(workers.state(0), None)
    assert logs == []
    await workers.look()
    workers.clock.advance(2)
    assert await workers.all[1].ask(workers.state(1)) is Permit.PROBE
    await workers.all[0].end_probe(workers.state(0), DELIVERED)
    assert workers.state(1).breaker is not None, "that probe was another's by then"


async def test_a_pause_that_the_provider_asked_for_is_shared_too() -> None:
    """It needs no probe, and is no fault of ours."""
    workers = Workers(2)
    with capture_logs() as logs:
        await workers.answer(0, BUSY)
    assert [(line["event"], line["log_level"]) for line in logs] == [
        (PAUSED, "warning")
    ]
    await workers.look()
    assert await workers.ask() == [Permit.WAIT] * 2
    assert workers.metrics[1].push_breaker_state.get("fcm", "shop") == 3
    workers.clock.advance(30)
    assert await workers.ask() == [Permit.GO] * 2
    await workers.answer(1, DELIVERED)
    await workers.look()
    assert workers.state(0).breaker is None


async def test_a_fault_wins_over_a_pause_that_another_worker_shared() -> None:
    """At the same moment: what needs a person must not end by time."""
    workers = Workers(2)
    await workers.answer(0, BUSY)
    await workers.answer(1, FAULT)
    await workers.look()
    breaker = workers.state(0).breaker
    assert breaker is not None
    assert breaker.needs_probe
    assert breaker == workers.state(1).breaker


async def test_a_worker_goes_on_alone_while_the_store_is_away() -> None:
    """It waits and probes by itself, and tells the others later."""
    workers = Workers(2)
    workers.store.failure = QueueUnavailable("away")
    with capture_logs() as logs:
        await workers.answer(0, FAULT)
        await workers.look()
    assert events(logs).count(PAUSED) == 1
    assert await workers.ask() == [Permit.WAIT, Permit.GO]
    workers.clock.advance(10)
    assert await workers.all[0].ask(workers.state(0)) is Permit.PROBE
    await workers.all[0].end_probe(workers.state(0), FAULT)
    workers.store.failure = None
    await workers.look()
    await workers.look()
    assert await workers.ask() == [Permit.WAIT] * 2


async def test_a_store_that_hangs_does_not_hold_up_the_sending(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its patience is short."""
    monkeypatch.setattr(module, "PATIENCE_S", 0.01)
    workers = Workers(1)

    async def hang() -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(workers.store, "_answer", hang)
    async with asyncio.timeout(5):
        await workers.answer(0, FAULT)
        await workers.look()
    assert await workers.ask() == [Permit.WAIT]


async def test_a_changed_key_starts_without_a_breaker() -> None:
    """Also beside a worker that still has the old one."""
    keys = ["old", "old"]
    clock, store, metrics = ManualClock(), LocalBreakerStore(), Metrics()
    first, second = (
        Breakers(
            store,
            clock=clock,
            metrics=metrics,
            worker=f"w{n}",
            digest=lambda _, n=n: keys[n],  # type: ignore[misc]
        )
        for n in range(2)
    )
    old = first.credential("fcm", "fcm")
    old.note(FAULT, clock.now_ms())
    await first.share(old)
    second.credential("fcm", "fcm")
    await second.look()
    assert await second.ask(second.credential("fcm", "fcm")) is Permit.WAIT
    keys[1] = "new"
    second.forget("fcm", "fcm")
    await second.look()
    assert await second.ask(second.credential("fcm", "fcm")) is Permit.GO
    assert await first.ask(old) is Permit.WAIT
    # An answer to what was sent with the old key stops nothing any more.
    keys[0] = "new"
    first.forget("fcm", "fcm")
    old.note(FAULT, clock.now_ms())
    await first.share(old)
    assert await first.ask(first.credential("fcm", "fcm")) is Permit.GO


async def test_what_somebody_closed_by_hand_is_closed() -> None:
    """Within a look, and a claim made meanwhile does not open it again."""
    workers = Workers(2)
    await workers.answer(0, FAULT)
    await workers.look()
    workers.clock.advance(10)
    [(name, text)] = (await workers.store.fetch()).items()
    assert await workers.store.swap(name, text, None)
    assert await workers.all[1].ask(workers.state(1)) is Permit.GO
    await workers.look()
    assert await workers.ask() == [Permit.GO] * 2


@pytest.mark.parametrize(
    ("waiting", "looked_after_s"), [(0, 5), (1000, 5), (2000, 10), (10**6, 300)]
)
async def test_what_waits_is_looked_at_soon_but_does_not_spin(
    waiting: int, looked_after_s: int
) -> None:
    """All workers together look at two hundred jobs a second."""
    workers = Workers(1, waiting=waiting)
    await workers.answer(0, FAULT)
    state = workers.state(0)
    for _ in range(6):
        workers.clock.advance(300)
        assert await workers.all[0].ask(state) is Permit.PROBE
        await workers.all[0].end_probe(state, FAULT)
    await workers.look()
    due_ms = workers.all[0].due_ms(state)
    assert due_ms - workers.clock.now_ms() == 1000 * looked_after_s


async def test_a_pause_with_an_end_is_waited_for() -> None:
    """Nothing is looked at before."""
    workers = Workers(1)
    await workers.answer(0, BUSY)
    due_ms = workers.all[0].due_ms(workers.state(0))
    assert due_ms - workers.clock.now_ms() == 30_000
    workers.clock.advance(31)
    due_ms = workers.all[0].due_ms(workers.state(0))
    assert due_ms - workers.clock.now_ms() == 1000
    workers.state(0).change(None)
    assert workers.all[0].due_ms(workers.state(0)) == 0


async def test_breakers_of_keys_that_nobody_uses_are_forgotten() -> None:
    """After a day without a probe; those in use stay."""
    workers = Workers(1)
    await workers.answer(0, FAULT)
    stale = workers.all[0].credential("fcm", "gone")
    stale.note(FAULT, workers.clock.now_ms())
    await workers.all[0].share(stale)
    workers.all[0]._tracked.pop(("fcm", "gone"))
    await workers.look()
    assert len(await workers.store.fetch()) == 2
    workers.clock.advance(86_400 + 11)
    await workers.look()
    assert [name.split("|")[2] for name in await workers.store.fetch()] == ["shop"]


async def test_following_looks_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What another worker found is known after half a second."""
    assert module.LOOK_EVERY_S == 0.5
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0)
    workers = Workers(2)
    task = asyncio.create_task(workers.all[1].follow())
    await workers.answer(0, FAULT)
    for _ in range(100):
        await asyncio.sleep(0)
    task.cancel()
    assert workers.state(1).breaker == workers.state(0).breaker is not None
