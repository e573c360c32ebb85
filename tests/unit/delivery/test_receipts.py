"""What is kept of tickets, and what follows from receipts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from tests.support.jobs import ManualClock, make_payload, make_send_job
from tests.support.memory_registry import MemoryDevices, MemoryReceipts

from tocsin.core.device import DeadToken, Registration
from tocsin.core.errors import InternalError
from tocsin.core.outcome import Outcome, Verdict
from tocsin.core.ports.queue import Delivery
from tocsin.core.ports.receipts import Ticket
from tocsin.core.push import Recipients
from tocsin.delivery.receipts import GIVE_UP_AFTER_MS, ReceiptPoller, TicketKeeper
from tocsin.delivery.removal import DeviceRemoval
from tocsin.delivery.run import Run
from tocsin.telemetry.metrics import Metrics

OK = Outcome(Verdict.DELIVERED)
GONE = Outcome(Verdict.UNREGISTERED, "unregistered")


@dataclass
class Source:
    """A `ReceiptSource` with an answer at hand."""

    answer: Mapping[str, Outcome] | Outcome = field(default_factory=dict)
    name: str = "fcm"
    integration: str = "fcm"
    receipt_delay_s: float = 900
    receipt_batch_size: int = 3
    asked: list[list[str]] = field(default_factory=list)

    async def fetch_receipts(
        self, ids: Sequence[str]
    ) -> Mapping[str, Outcome] | Outcome:
        self.asked.append(list(ids))
        return self.answer


class World:
    """A keeper and a poller around one source."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = MemoryReceipts()
        self.registry = MemoryDevices(clock=self.clock)
        for number in range(30):
            registration = Registration("fcm", f"token-{number}", "android")
            self.registry.put(registration, f"device-{number}")
        self.clock.advance(1)
        self.source = Source()
        self.metrics = Metrics()
        self.keeper = TicketKeeper(self.store, {"fcm": self.source})
        self.poller = ReceiptPoller(
            self.store,
            [self.source],
            removal=DeviceRemoval(self.registry, self.metrics),
            clock=self.clock,
            metrics=self.metrics,
        )

    def run(self, size: int = 4, **changes: object) -> Run:
        job = make_send_job(size, **changes)  # type: ignore[arg-type] # fields of a job
        delivery = Delivery(job, "r", 1, b"")
        return Run(delivery, job, make_payload(), self.clock.now_ms())

    async def keep(self, run: Run, *outcomes: Outcome) -> None:
        now_ms = self.clock.now_ms()
        await self.keeper.keep(run, [(i, o, now_ms) for i, o in enumerate(outcomes)])

    def tickets(self) -> list[Ticket]:
        return self.store.tickets


@pytest.fixture
def world() -> World:
    return World()


def accepted(id: str) -> Outcome:
    return Outcome(Verdict.DELIVERED, message_id=id)


async def test_only_accepted_messages_have_tickets(world: World) -> None:
    """With the device and the time from before the send, for the rule of removal."""
    run = world.run()
    started_ms = run.started_ms
    world.clock.advance(5)
    await world.keep(run, accepted("t0"), GONE, OK, accepted("t3"))
    assert world.tickets() == [
        Ticket("t0", "fcm", "fcm", started_ms, "device-0", "token-0"),
        Ticket("t3", "fcm", "fcm", started_ms, "device-3", "token-3"),
    ]
    assert world.store.due["fcm", "t0"][0] == started_ms + 900_000


async def test_other_providers_are_left_alone(world: World) -> None:
    """Most services say all at once: nothing is written for them."""
    world.keeper = TicketKeeper(world.store, {})
    await world.keep(world.run(), accepted("t0"))
    assert world.tickets() == []


async def test_a_store_that_is_away_does_not_stop_the_sending(world: World) -> None:
    """The messages are out; only their receipts are lost."""
    world.store.faults = [InternalError("database is unavailable")]
    await world.keep(world.run(), accepted("t0"))
    assert world.tickets() == []


async def test_a_dead_device_is_removed_by_its_receipt(world: World) -> None:
    """If it was not registered again since the send; removed first, dropped last."""
    run = world.run()
    await world.keep(run, accepted("t0"), accepted("t1"))
    world.source.answer = {"t0": OK, "t1": GONE}
    world.clock.advance(901)
    drop, removed_by_then = world.store.drop, []

    async def watched(tickets: Sequence[Ticket]) -> list[Ticket]:
        removed_by_then.append(len(world.registry.dead))
        return await drop(tickets)

    world.store.drop = watched  # type: ignore[method-assign] # looks, then drops
    assert not await world.poller.poll(world.source)
    token = DeadToken("device-1", "token-1", run.started_ms, "fcm: unregistered")
    assert world.registry.dead == [token]
    assert removed_by_then == [1]
    assert world.tickets() == []
    assert world.metrics.push_receipts.get("fcm", "true", "") == 1
    assert world.metrics.push_receipts.get("fcm", "false", "unregistered") == 1
    assert world.metrics.push_devices_removed.get("fcm", "unregistered") == 1


async def test_a_receipt_that_another_acted_on_is_not_counted(world: World) -> None:
    """Who asked for so long that the tickets fell due again was not the only one."""
    await world.keep(world.run(), accepted("t0"), accepted("t1"))
    world.source.answer = {"t0": OK, "t1": OK}
    world.clock.advance(901)
    original = world.source.fetch_receipts

    async def fetch_receipts(ids: Sequence[str]) -> Mapping[str, Outcome] | Outcome:
        del world.store.due["fcm", "t0"]
        return await original(ids)

    world.source.fetch_receipts = fetch_receipts  # type: ignore[method-assign] # a slow one
    await world.poller.poll(world.source)
    assert world.metrics.push_receipts.get("fcm", "true", "") == 1


async def test_receipts_that_call_everybody_dead_remove_nobody(world: World) -> None:
    """As for answers to the messages themselves: such a service is not believed."""
    world.source.receipt_batch_size = 30
    await world.keep(world.run(30), *(accepted(f"t{i}") for i in range(30)))
    world.source.answer = {f"t{i}": GONE for i in range(30)}
    world.clock.advance(901)
    await world.poller.poll(world.source)
    assert world.registry.dead == []
    assert world.metrics.push_removals_held.get("fcm", "unregistered") == 30
    assert world.tickets() == []


async def test_nothing_is_asked_before_it_is_due(world: World) -> None:
    """Receipts come about a quarter of an hour later."""
    await world.keep(world.run(), accepted("t0"))
    world.clock.advance(899)
    assert not await world.poller.poll(world.source)
    assert world.source.asked == []


async def test_a_missing_receipt_is_asked_for_again(world: World) -> None:
    """After the delay, and not longer than a day."""
    await world.keep(world.run(), accepted("t0"))
    for _ in range(3):
        world.clock.advance(900)
        await world.poller.poll(world.source)
        await world.poller.poll(world.source)
    assert world.source.asked == [["t0"]] * 3
    world.clock.advance(GIVE_UP_AFTER_MS / 1000)
    await world.poller.poll(world.source)
    assert world.tickets() == []
    assert world.metrics.push_receipts.get("fcm", "false", "receipt_missing") == 1


async def test_a_failed_request_changes_nothing(world: World) -> None:
    """The tickets are asked for again after the delay."""
    await world.keep(world.run(), *(accepted(f"t{i}") for i in range(4)))
    world.source.answer = Outcome(Verdict.RETRY, "quota_exceeded", "429")
    world.clock.advance(900)
    assert not await world.poller.poll(world.source)
    assert len(world.tickets()) == 4
    assert world.registry.dead == []


async def test_more_is_asked_as_long_as_more_is_due(world: World) -> None:
    """A full request says that there may be another."""
    await world.keep(world.run(4), *(accepted(f"t{i}") for i in range(4)))
    world.source.answer = {f"t{i}": OK for i in range(4)}
    world.clock.advance(900)
    assert await world.poller.poll(world.source)
    assert not await world.poller.poll(world.source)
    assert [len(ids) for ids in world.source.asked] == [3, 1]


async def test_raw_recipients_are_counted_only(world: World) -> None:
    """There is no device row to remove, and their token is not stored."""
    run = world.run()
    run.recipients = Recipients(run.recipients.targets)
    await world.keep(run, accepted("t0"))
    assert world.tickets()[0].token == ""
    world.source.answer = {"t0": GONE}
    world.clock.advance(900)
    await world.poller.poll(world.source)
    assert world.registry.dead == []
    assert world.metrics.push_receipts.get("fcm", "false", "unregistered") == 1


async def test_what_failed_after_acceptance_is_counted(world: World) -> None:
    """It is not sent again: the message may be long over, and was accepted."""
    await world.keep(world.run(), accepted("t0"), accepted("t1"))
    world.source.answer = {
        "t0": Outcome(Verdict.RETRY, "rate_exceeded"),
        "t1": Outcome(Verdict.MISCONFIGURED, "invalid_credentials"),
    }
    world.clock.advance(900)
    await world.poller.poll(world.source)
    assert world.tickets() == []
    for code in ("rate_exceeded", "invalid_credentials"):
        assert world.metrics.push_receipts.get("fcm", "false", code) == 1


async def test_the_poller_outlives_a_store_that_is_away(world: World) -> None:
    """It tries again, and acts on the receipts then."""
    world.source.receipt_delay_s = 0.01
    await world.keep(world.run(), accepted("t0"))
    world.source.answer = {"t0": OK}
    world.clock.advance(1)
    world.store.faults = [InternalError("database is unavailable")] * 2
    task = asyncio.create_task(world.poller.poll_for_ever())
    async with asyncio.timeout(10):
        while world.tickets():  # noqa: ASYNC110 - a state is waited for
            await asyncio.sleep(0.001)
    task.cancel()
    assert world.store.faults == []
