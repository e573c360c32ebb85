"""Whole lives of sends, and one run of them under given faults."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from unittest.mock import patch

from structlog.testing import capture_logs
from tests.crashpoints.faults import ASKED, QUESTIONS, Call, Fault, Point, Schedule
from tests.crashpoints.memory_stores import MemoryStores
from tests.crashpoints.promise import find_broken
from tests.crashpoints.virtual_time import LoopClock, VirtualLoop, one_course
from tests.crashpoints.world import World, end_all_tasks

from tocsin.core.device import DeviceFilter, Registration
from tocsin.core.lanes import Priority
from tocsin.core.push import Body, RawRecipient, SendRequest, TargetKind
from tocsin.delivery import recipients

PAGE_SIZE = 3
LEASE_S = 5.0
DUE_IN_MS = 15_000
QUIET_WITHIN_S = 700.0

_BODIES = {"fcm": Body(b'{"notification": {"title": "Hi"}}')}

Life = Callable[[World], Awaitable[None]]
"""What callers do, and what happens to the stores."""


def tokens_of(label: str, *kinds: str) -> tuple[str, ...]:
    """A token for each kind."""
    return tuple(f"{label}-{kind}-{n}" for n, kind in enumerate(kinds))


def request(label: str, tokens: Sequence[str] = (), **more: object) -> SendRequest:
    """A send to these raw tokens, or to the topic of its label."""
    values: dict[str, object] = {
        "recipient": RawRecipient("fcm", TargetKind.TOKEN, tuple(tokens))
        if tokens
        else DeviceFilter(topics=(label,)),
        "bodies": _BODIES,
        "correlation_id": label,
        "priority": Priority.NORMAL,
        **more,
    }
    return SendRequest(**values)  # type: ignore[arg-type]


async def raw(world: World) -> None:
    """Raw tokens without a uid: all kinds of answers."""
    tokens = tokens_of("raw", "ok", "dead", "ok", "retry", "bad", "gone")
    await world.send("raw", request("raw", tokens), tokens)


async def walk(world: World) -> None:
    """A filter with a uid, over several pages."""
    kinds = ("ok", "ok", "dead", "retry", "ok", "bad", "ok")
    tokens = await _register(world, "walk", *kinds)
    await world.send("walk", request("walk", uid="u-walk"), tokens)
    await world.repeat("walk")


async def scheduled(world: World) -> None:
    """Two for later; one of them is taken back."""
    at_ms = world.clock.now_ms() + DUE_IN_MS
    later = tokens_of("later", "ok", "ok", "ok")
    back = await _register(world, "back", "ok", "ok", "ok", "ok")
    await asyncio.gather(
        _later(world, "later", later, at_ms),
        world.send("back", request("back", uid="u-back", send_at_ms=at_ms), back),
    )
    await asyncio.sleep(3)
    await world.cancel("back")


async def lost(world: World) -> None:
    """The queue loses everything in the middle of a walk."""
    kinds = ("ok", "ok", "ok", "ok", "ok", "retry", "dead", "ok", "gone")
    tokens = await _register(world, "lost", *kinds)
    at_ms = world.clock.now_ms() + DUE_IN_MS
    raw_tokens = tokens_of("raw", "ok", "ok")
    later = tokens_of("later", "ok", "ok", "ok")
    back = tokens_of("back", "ok", "ok", "ok")
    await world.send("raw", request("raw", raw_tokens), raw_tokens)
    await _later(world, "later", later, at_ms)
    await _later(world, "back", back, at_ms)
    await asyncio.sleep(4)
    await world.send("lost", request("lost", uid="u-lost"), tokens)
    await asyncio.sleep(0.3)
    await world.lose_queue()
    await world.cancel("back")
    await world.repeat("lost")


async def replayed(world: World) -> None:
    """An operator puts dead letters back to work while others are still tried."""
    raw_tokens = tokens_of("raw", "ok", "bad", "retry", "bad")
    tokens = await _register(world, "walk", "bad", "ok", "ok", "ok", "bad")
    await world.send("raw", request("raw", raw_tokens), raw_tokens)
    await world.send("walk", request("walk", uid="u-walk"), tokens)
    for _ in range(2):
        await asyncio.sleep(3)
        await world.replay()


LIVES: Mapping[str, Life] = {
    each.__name__: each for each in (raw, walk, scheduled, lost, replayed)
}


async def _later(world: World, label: str, tokens: tuple[str, ...], at_ms: int) -> None:
    more = {"uid": f"u-{label}", "send_at_ms": at_ms}
    await world.send(label, request(label, tokens, **more), tokens)


async def _register(world: World, label: str, *kinds: str) -> tuple[str, ...]:
    tokens = tokens_of(label, *kinds)
    devices = world.stores.devices()
    for token in tokens:
        await devices.register(Registration("fcm", token, "ios", topics=(label,)))
    return tokens


def small_pages() -> AbstractContextManager[object]:
    """Walks read a few devices at a time."""
    return patch.object(recipients, "PAGE_SIZE", PAGE_SIZE)


@dataclass
class Course:
    """How a life went."""

    calls: list[Call] = field(default_factory=list)
    met: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    lasted_s: float = 0.0

    def points(self) -> list[Point]:
        """Where a fault can come, and each fault there.

        A look that found nothing to do is no point of its own, and a question that
        arrived and one that did not leave the same things behind.
        """
        return [
            Point(call.name, call.number, fault)
            for call in self.calls
            if not call.idle
            for fault in (ASKED if call.name in QUESTIONS else Fault)
        ]


async def live(life: str, world: World, *, quiet_within_s: float) -> Course:
    """One life to its end, and what of the promise does not hold then."""
    schedule = world.schedule
    world.start()
    await LIVES[life](world)
    left = await world.until_quiet(quiet_within_s)
    broken = left + await find_broken(world, faults=len(schedule.met))
    lasted_s = asyncio.get_running_loop().time()
    return Course(schedule.calls, schedule.met, broken, lasted_s)


def run(
    life: str,
    points: Sequence[Point] = (),
    *,
    seed: int = 0,
    processes: int = 1,
    workers: int | None = None,
) -> Course:
    """A life in memory and in virtual time.

    It has as many servers and workers as `processes` says, unless `workers` differ.
    """
    schedule = Schedule(tuple(points))

    async def main() -> Course:
        loop = asyncio.get_running_loop()
        with one_course(loop, seed):
            clock = LoopClock(loop)
            stores = MemoryStores(clock, lease_s=LEASE_S)
            world = World(
                stores,
                schedule,
                clock,
                lease_s=LEASE_S,
                servers=processes,
                workers=processes if workers is None else workers,
            )
            with capture_logs() as lines, small_pages():
                course = await live(life, world, quiet_within_s=QUIET_WITHIN_S)
                await end_all_tasks()
        course.broken += [
            f"logged: {line['event']}"
            for line in lines
            if line["log_level"] == "critical" or "please report" in line["event"]
        ]
        return course

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main())


def replay_line(
    life: str, points: Sequence[Point], seed: int = 0, processes: int = 1
) -> str:
    """What runs this life again."""
    at = ",".join(map(str, points))
    return (
        f"python -m tests.crashpoints {life} --at '{at}' --seed {seed}"
        f" --processes {processes}"
    )
