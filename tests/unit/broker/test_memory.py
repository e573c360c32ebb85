"""What only the memory broker has: its clock, and that it forgets in time."""

from __future__ import annotations

from tocsin.broker.memory import RESULT_TTL_S, MemoryBroker
from tocsin.core.channel import HistoryFilter, PublishOptions

EVERYTHING = HistoryFilter(limit=-1)


class Time:
    """Monotonic seconds that move when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def keep(**changes: object) -> PublishOptions:
    values = {"history_size": 10, "history_ttl_s": 60, "history_meta_ttl_s": 600}
    return PublishOptions(**{**values, **changes})  # type: ignore[arg-type]


async def test_history_ends_after_its_ttl_and_the_position_stays() -> None:
    """Publications go together; offset and epoch live on."""
    clock = Time()
    broker = MemoryBroker(clock=clock)
    first = await broker.publish("c", b"1", keep())
    clock.now += 59
    broker.sweep()
    history = await broker.fetch_history("c", EVERYTHING, meta_ttl_s=600)
    assert len(history.publications) == 1
    clock.now += 2
    broker.sweep()
    history = await broker.fetch_history("c", EVERYTHING, meta_ttl_s=600)
    assert history.publications == ()
    assert history.top == first.position


async def test_each_publish_renews_the_ttl() -> None:
    """The stream ends its ttl after the last publication, as a whole."""
    clock = Time()
    broker = MemoryBroker(clock=clock)
    for _ in range(5):
        await broker.publish("c", b"x", keep())
        clock.now += 40
        broker.sweep()
    history = await broker.fetch_history("c", EVERYTHING, meta_ttl_s=600)
    assert len(history.publications) == 5


async def test_the_position_ends_after_the_meta_ttl() -> None:
    """A forgotten stream starts again with another epoch."""
    clock = Time()
    broker = MemoryBroker(clock=clock)
    first = await broker.publish("c", b"1", keep())
    clock.now += 700
    broker.sweep()
    clock.now += 1
    broker.sweep()
    second = await broker.publish("c", b"2", keep())
    assert second.position.offset == 1
    assert second.position.epoch != first.position.epoch


async def test_an_idempotency_key_is_forgotten_in_time() -> None:
    """After 300 seconds the same key publishes again."""
    clock = Time()
    broker = MemoryBroker(clock=clock)
    options = keep(idempotency_key="k")
    await broker.publish("c", b"1", options)
    clock.now += RESULT_TTL_S - 1
    broker.sweep()
    assert (await broker.publish("c", b"1", options)).suppressed == "idempotency"
    clock.now += 2
    broker.sweep()
    assert (await broker.publish("c", b"1", options)).suppressed == ""


async def test_many_publishes_leave_one_deadline() -> None:
    """What is watched grows with the streams, not with the publications."""
    broker = MemoryBroker(clock=Time())
    for _ in range(1000):
        await broker.publish("c", b"x", keep())
    assert broker.watched == 1
