from __future__ import annotations

import asyncio

from tocsin.sessions.timers import TimerWheel


class Entry:
    """Something with a deadline."""

    def __init__(self, wheel: TimerWheel, *, repeats: int = 0) -> None:
        self.timer_slot = -1
        self.called_at: list[float] = []
        self.done = asyncio.Event()
        self._wheel, self._repeats = wheel, repeats

    def on_timer(self, now_s: float) -> None:
        self.called_at.append(now_s)
        if self._repeats:
            self._repeats -= 1
            self._wheel.put(self, now_s + 0.01)
        else:
            self.done.set()


async def test_nobody_is_called_early() -> None:
    """An entry is called after its time, soon, and once."""
    wheel = TimerWheel(resolution_s=0.01)
    entries = [Entry(wheel) for _ in range(3)]
    start_s = wheel.now()
    for entry, delay_s in zip(entries, (0.06, 0.0, 0.03), strict=True):
        wheel.put(entry, start_s + delay_s)
    async with asyncio.timeout(5):
        await asyncio.gather(*(entry.done.wait() for entry in entries))
    for entry, delay_s in zip(entries, (0.06, 0.0, 0.03), strict=True):
        assert len(entry.called_at) == 1
        assert entry.called_at[0] >= start_s + delay_s
    assert entries[1].called_at < entries[2].called_at < entries[0].called_at
    wheel.close()


async def test_putting_in_again_moves() -> None:
    """An entry has one deadline: the last one given, sooner or later."""
    wheel = TimerWheel(resolution_s=0.01)
    later, sooner = Entry(wheel), Entry(wheel)
    start_s = wheel.now()
    wheel.put(later, start_s + 0.01)
    wheel.put(later, start_s + 0.05)
    wheel.put(sooner, start_s + 60)
    wheel.put(sooner, start_s + 0.02)
    async with asyncio.timeout(5):
        await later.done.wait()
        await sooner.done.wait()
    assert later.called_at[0] >= start_s + 0.05
    assert len(later.called_at) == len(sooner.called_at) == 1
    wheel.close()


async def test_removed_entries_are_not_called() -> None:
    """What was taken out stays out, also when a neighbour takes it out in time."""
    wheel = TimerWheel(resolution_s=0.01)
    removed, witness = Entry(wheel), Entry(wheel)
    wheel.put(removed, wheel.now() + 0.01)
    wheel.put(witness, wheel.now() + 0.02)
    wheel.remove(removed)
    wheel.remove(removed)
    async with asyncio.timeout(5):
        await witness.done.wait()
    assert removed.called_at == []
    wheel.close()


async def test_a_neighbour_may_remove_another_in_the_same_slot() -> None:
    """Entries of one slot are called one by one, so one may spare another."""
    wheel = TimerWheel(resolution_s=0.01)
    victim = Entry(wheel)

    class Remover(Entry):
        def on_timer(self, now_s: float) -> None:
            wheel.remove(victim)
            super().on_timer(now_s)

    remover = Remover(wheel)
    at_s = wheel.now() + 0.02
    wheel.put(remover, at_s)
    wheel.put(victim, at_s)
    async with asyncio.timeout(5):
        await remover.done.wait()
    assert victim.called_at == []
    wheel.close()


async def test_repeating() -> None:
    """An entry may put itself in again from its own call."""
    wheel = TimerWheel(resolution_s=0.01)
    entry = Entry(wheel, repeats=3)
    wheel.put(entry, wheel.now())
    async with asyncio.timeout(5):
        await entry.done.wait()
    assert len(entry.called_at) == 4
    wheel.close()
