"""Faults at the calls of ports: which call, what happens there, and to whom."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from tocsin.core.errors import QueueUnavailable
from tocsin.storage.errors import DatabaseUnavailable

Answer = TypeVar("Answer")


class Fault(StrEnum):
    """What happens at a call of a port."""

    END_BEFORE = "end-before"
    """The process ends; the call never arrived."""
    END_AFTER = "end-after"
    """The process ends; the call took effect and nobody heard of it."""
    FAIL_BEFORE = "fail-before"
    """The call fails and changed nothing."""
    FAIL_AFTER = "fail-after"
    """The call fails and took effect all the same."""
    STALL_BEFORE = "stall-before"
    """The whole process stands still for longer than any lease, then goes on."""
    STALL_AFTER = "stall-after"
    """The same, after the call took effect."""


QUESTIONS = frozenset(
    {
        "accounts.changed",
        "accounts.find",
        "devices.fetch_targets",
        "log.fetch",
        "log.fetch_open",
        "log.fetch_unseen",
        "log.find_open",
        "marks.fetch",
        "marks.is_replaced",
        "queue.fetch_payload",
        "queue.find_queued",
        "queue.position",
        "queue.waiting",
    }
)
"""Calls that change nothing."""

LOOKS = frozenset(
    {
        "accounts.changed",
        "log.fetch_open",
        "log.fetch_unseen",
        "log.hold",
        "queue.receive",
    }
)
"""Calls that are made again and again, and mostly find that nothing is to be done."""

ASKED = (Fault.END_BEFORE, Fault.FAIL_BEFORE, Fault.STALL_BEFORE, Fault.STALL_AFTER)
"""The faults of a question; what was read may be old when the process goes on."""


@dataclass(frozen=True, order=True)
class Point:
    """The `number`th call of a method, over all processes of a life, from 1."""

    call: str
    number: int
    fault: Fault = Fault.END_BEFORE

    def __str__(self) -> str:
        return f"{self.call}:{self.number}:{self.fault}"


def parse_points(text: str) -> tuple[Point, ...]:
    """The points in a text such as `queue.settle:3:end-after,log.hold:1:end-before`."""
    points = []
    for each in filter(None, text.split(",")):
        call, number, fault = each.split(":")
        points.append(Point(call, int(number), Fault(fault)))
    return tuple(points)


@dataclass(frozen=True)
class Call:
    """A call as it was made; one that is `idle` found nothing to do."""

    name: str
    number: int
    idle: bool


class Schedule:
    """The faults of a life, and the calls that it has made so far."""

    def __init__(self, points: tuple[Point, ...] = ()) -> None:
        self._faults = {(each.call, each.number): each.fault for each in points}
        self._numbers: Counter[str] = Counter()
        self.calls: list[Call] = []
        self.met: list[str] = []

    def next(self, call: str) -> tuple[int, Fault | None]:
        """The number of this call, and the fault that it meets, if any."""
        self._numbers[call] += 1
        number = self._numbers[call]
        fault = self._faults.get((call, number))
        if fault is not None:
            self.met.append(f"{call}:{number}:{fault}")
        return number, fault


class Process:
    """One process: what it has begun goes on until it ends.

    Once ended it makes no call any more; whoever waits for one of its calls waits for
    ever, as nobody is there.
    """

    def __init__(self, name: str, schedule: Schedule, *, stall_s: float) -> None:
        self.name = name
        self.ended = asyncio.Event()
        self._schedule = schedule
        self._stall_s = stall_s
        self._stalled_until = 0.0
        self._tasks: list[asyncio.Task[Any]] = []

    def begin(self, work: Awaitable[Answer]) -> asyncio.Task[Answer]:
        """Start a task of this process."""
        task: asyncio.Task[Answer] = asyncio.ensure_future(work)
        self._tasks.append(task)
        return task

    def start(self, work: Awaitable[None]) -> None:
        """Start a task that nobody waits for."""
        self._tasks.append(asyncio.ensure_future(work))

    async def call(
        self,
        name: str,
        do: Callable[[], Awaitable[Answer]],
        *,
        fails_with: Callable[[], Exception],
    ) -> Answer:
        """Make one call of a port, with what happens to it."""
        await self._live()
        number, fault = self._schedule.next(name)
        if fault is Fault.END_BEFORE:
            await self._end()
        elif fault is Fault.FAIL_BEFORE:
            raise fails_with()
        elif fault is Fault.STALL_BEFORE:
            await self._stall()
        result = await do()
        idle = name in LOOKS and not result
        self._schedule.calls.append(Call(name, number, idle))
        if fault is Fault.END_AFTER:
            await self._end()
        elif fault is Fault.FAIL_AFTER:
            raise fails_with()
        elif fault is Fault.STALL_AFTER:
            await self._stall()
        await self._live()
        return result

    async def _live(self) -> None:
        loop = asyncio.get_running_loop()
        # Again, since another call may have met a fault meanwhile.
        while (left_s := self._stalled_until - loop.time()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(left_s)
        if self.ended.is_set():
            await loop.create_future()

    async def _end(self) -> None:
        self.ended.set()
        await self._live()

    async def _stall(self) -> None:
        loop = asyncio.get_running_loop()
        self._stalled_until = max(self._stalled_until, loop.time() + self._stall_s)
        await self._live()


def _unavailable_queue() -> Exception:
    return QueueUnavailable("injected")


def _unavailable_database() -> Exception:
    return DatabaseUnavailable("injected")


class Port:
    """A port as one process has it: each call may meet a fault."""

    def __init__(self, process: Process, name: str, inner: Any) -> None:
        self._process = process
        self._name = name
        self._inner = inner
        of_queue = name in ("queue", "accounts")
        self._fails_with = _unavailable_queue if of_queue else _unavailable_database

    def __getattr__(self, method: str) -> Any:
        do = getattr(self._inner, method)

        async def call(*args: Any, **options: Any) -> Any:
            return await self._process.call(
                f"{self._name}.{method}",
                lambda: do(*args, **options),
                fails_with=self._fails_with,
            )

        self.__dict__[method] = call
        return call


class QueuePort(Port):
    """The queue: `receive` must not go on waiting in the name of who has ended."""

    def __init__(self, process: Process, inner: Any) -> None:
        super().__init__(process, "queue", inner)
        self.accounts = Port(process, "accounts", inner.accounts)

    async def receive(
        self, queues: Any, *, limit: int, wait_s: float, **more: Any
    ) -> Any:
        """As the port says, in looks of its own."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_s
        while True:
            found = await self._process.call(
                "queue.receive",
                lambda: self._inner.receive(queues, limit=limit, wait_s=0, **more),
                fails_with=self._fails_with,
            )
            left_s = deadline - loop.time()
            if found or left_s <= 0:
                return found
            # In memory whoever adds work wakes its readers.
            wake = getattr(getattr(self._inner, "data", None), "wake", None)
            try:
                async with asyncio.timeout(left_s if wake else min(left_s, 0.1)):
                    await (wake or asyncio.Event()).wait()
            except TimeoutError:
                continue
