"""Servers, workers and callers over stores that outlive them, and what they saw."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from tests.crashpoints.faults import Port, Process, QueuePort, Schedule

from tocsin.core.errors import ApiError
from tocsin.core.lanes import LaneChoice, Priority
from tocsin.core.outcome import DELIVERED, Outcome, Verdict
from tocsin.core.ports.clock import Clock
from tocsin.core.ports.providers import Batch, Pace, Report
from tocsin.core.push import SendRequest
from tocsin.core.send_log import SendRecord
from tocsin.delivery.dispatch import Dispatcher
from tocsin.delivery.lane import RECIPIENTS_AHEAD
from tocsin.delivery.recipients import Expander
from tocsin.delivery.retries import RetryPolicy
from tocsin.delivery.run import Journal
from tocsin.delivery.settlement import Settlement
from tocsin.delivery.shares import CredentialShares, Room
from tocsin.delivery.worker import Worker
from tocsin.push.log_keeper import SendLogKeeper
from tocsin.push.queue_watch import QueueWatch
from tocsin.push.repair import Repair
from tocsin.push.sending import SendService
from tocsin.telemetry.metrics import Metrics

BATCH_SIZE = 2
CONCURRENCY = 2
MAX_UNRECORDED = 2
RETRY = RetryPolicy(first_delay_s=1.0, max_delay_s=15.0, max_age_s=20.0)
UID_TTL_S = 86_400.0

_METRICS = Metrics()


class Stores(Protocol):
    """What outlives processes. `owner` names the one that opens a queue."""

    async def queue(self, owner: str) -> Any: ...

    def log(self) -> Any: ...

    def uids(self) -> Any: ...

    def devices(self) -> Any: ...

    def verdicts(self) -> Any: ...

    def marks(self) -> Any: ...

    async def lose_queue(self) -> None:
        """The queue is started again without its data."""
        ...

    async def left(self) -> list[str]:
        """What the queue still has: entries and accounts, in words."""
        ...

    async def letters(self) -> list[tuple[str, Sequence[str]]]:
        """Reason and targets of each dead letter."""
        ...

    async def records(self) -> list[SendRecord]:
        """All rows of the log."""
        ...


@dataclass
class Services:
    """The push services: they answer each token as its name says.

    `asked` counts the requests that arrived, `delivered` the pushes that were taken.
    """

    asked: Counter[str] = field(default_factory=Counter)
    delivered: Counter[str] = field(default_factory=Counter)

    async def take(self, token: str) -> Outcome:
        """The answer for one request."""
        self.asked[token] += 1
        kind = token.split("-")[1]
        if kind == "dead":
            return Outcome(Verdict.UNREGISTERED, "unregistered")
        if kind == "bad":
            return Outcome(Verdict.REJECTED, "invalid_argument")
        if kind == "gone" or (kind == "retry" and self.asked[token] == 1):
            return Outcome(Verdict.RETRY, "unavailable")
        self.delivered[token] += 1
        return DELIVERED


class NoAnswer(Exception):
    """The connection to a push service broke."""


class Adapter:
    """The provider of one worker."""

    name = integration = "fcm"
    batch_size = BATCH_SIZE

    def __init__(self, process: Process, services: Services) -> None:
        self._process = process
        self._services = services

    async def send(self, batch: Batch, report: Report, pace: Pace) -> None:
        for index in batch.pending:
            if not pace.ready() and not await pace.wait():
                return
            report(index, await self._ask(batch.targets[index]))

    async def _ask(self, token: str) -> Outcome:
        try:
            return await self._process.call(
                "provider.send",
                lambda: self._services.take(token),
                fails_with=NoAnswer,
            )
        except NoAnswer:
            return Outcome(Verdict.RETRY, "timeout", maybe_sent=True)

    async def close(self) -> None:
        return None


@dataclass
class Kept:
    """What was promised of one send to its caller."""

    request: SendRequest
    tokens: tuple[str, ...]
    answered: bool = False
    cancel_answered_at_ms: int = 0


class World:
    """Processes that are started again when they end, and their callers."""

    def __init__(
        self,
        stores: Stores,
        schedule: Schedule,
        clock: Clock,
        *,
        lease_s: float,
        servers: int = 1,
        workers: int = 1,
    ) -> None:
        self.stores = stores
        self.clock = clock
        self.schedule = schedule
        self.lease_s = lease_s
        self.services = Services()
        self.kept: dict[str, Kept] = {}
        self.losses = 0
        # Not in real time: a busy machine is a stall that nobody has planned.
        self.counts_duplicates = True
        self.complaints: list[str] = []
        self._servers: list[tuple[Process, SendService]] = []
        self._numbers = Counter[str]()
        self._beside: set[asyncio.Task[None]] = set()
        self._wanted = {"server": servers, "worker": workers}
        self._turn = 0
        self._processes: list[Process] = []

    def start(self) -> None:
        """Begin all processes."""
        for kind, count in self._wanted.items():
            for _ in range(count):
                self._beside.add(asyncio.ensure_future(self._keep_up(kind)))

    async def _keep_up(self, kind: str) -> None:
        """One process after the other: what ends is started again."""
        while True:
            self._numbers[kind] += 1
            name = f"{kind}-{self._numbers[kind]}"
            process = Process(name, self.schedule, stall_s=2.5 * self.lease_s)
            self._processes.append(process)
            process.start(self._run(process, kind))
            await process.ended.wait()
            self._servers = [each for each in self._servers if each[0] is not process]
            await asyncio.sleep(1.0)

    async def _run(self, process: Process, kind: str) -> None:
        try:
            await self._open_all(process, kind)
        except Exception as error:  # noqa: BLE001 - a fault of the test itself
            self.complaints.append(f"{process.name} did not start: {error!r}")

    async def _open_all(self, process: Process, kind: str) -> None:
        queue = QueuePort(process, await self.stores.queue(process.name))
        log = Port(process, "log", self.stores.log())
        watch = QueueWatch(
            queue,
            Port(process, "marks", self.stores.marks()),
            place="here",
            clock=self.clock,
        )
        await self._look(watch.check)
        repair = Repair(queue, queue.accounts, log, clock=self.clock, watch=watch)
        keeper = SendLogKeeper(
            log,
            queue.accounts,
            repair,
            owner=process.name,
            clock=self.clock,
            lease_s=self.lease_s,
            lost_at_ms=lambda: watch.lost_at_ms,
            epoch=lambda: watch.epoch,
            on_broken=lambda *why: self.complaints.append(f"does not close: {why}"),
        )
        process.start(self._every(3.0, watch.check))
        process.start(self._every(1.0, keeper.look))
        if kind == "worker":
            self._work(process, queue)
            return
        service = SendService(
            queue,
            Port(process, "uids", self.stores.uids()),
            clock=self.clock,
            enabled_providers=("fcm",),
            has_database=True,
            batch_sizes={"fcm": BATCH_SIZE},
            uid_ttl_s=UID_TTL_S,
            watch=watch,
            log=log,
            repair=repair,
        )
        self._servers.append((process, service))

    def _work(self, process: Process, queue: Any) -> None:
        devices = Port(process, "devices", self.stores.devices())
        providers = {"fcm": Adapter(process, self.services)}
        settlement = Settlement(
            devices=devices,
            verdicts=Port(process, "verdicts", self.stores.verdicts()),
            retry=RETRY,
            clock=self.clock,
            metrics=_METRICS,
        )
        journal = Journal(queue, settlement, self.clock, max_unrecorded=MAX_UNRECORDED)
        shares = CredentialShares(
            providers, self.clock, room=Room(CONCURRENCY, RECIPIENTS_AHEAD)
        )
        worker = Worker(
            queue=queue,
            providers=providers,
            dispatcher=Dispatcher(
                queue=queue,
                providers=providers,
                journal=journal,
                settlement=settlement,
                clock=self.clock,
                metrics=_METRICS,
                shares=shares,
            ),
            expander=Expander(
                queue=queue,
                devices=devices,
                batch_sizes={"fcm": BATCH_SIZE},
                settlement=settlement,
                clock=self.clock,
                shares=shares,
            ),
            journal=journal,
            metrics=_METRICS,
            concurrency=CONCURRENCY,
            takeover_s=self.lease_s,
            on_death=self.complaints.append,
            shares=shares,
            lanes=LaneChoice((Priority.NORMAL.value,)),
        )
        worker.start()

    async def _every(self, seconds: float, do: Callable[[], Awaitable[object]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            await self._look(do)

    async def _look(self, do: Callable[[], Awaitable[object]]) -> None:
        try:
            async with asyncio.timeout(5 * self.lease_s):
                await do()
        except (ApiError, TimeoutError):
            return

    # --- callers ---

    async def send(
        self, label: str, request: SendRequest, tokens: Sequence[str]
    ) -> None:
        """Call `send`; who gave a uid repeats the call until it is answered."""
        kept = self.kept[label] = Kept(request, tuple(tokens))
        await self._call(lambda service: service.send(request), again=bool(request.uid))
        kept.answered = self._was_answered

    async def repeat(self, label: str) -> None:
        """The caller repeats a call that was answered."""
        request = self.kept[label].request
        await self._call(lambda service: service.send(request), again=True)

    async def cancel(self, label: str) -> None:
        """Take a send back, and repeat that until it is answered."""
        kept = self.kept[label]
        await self._call(lambda service: service.cancel(kept.request.uid), again=True)
        kept.cancel_answered_at_ms = self.clock.now_ms()

    _was_answered = False

    async def _call(
        self, do: Callable[[SendService], Awaitable[object]], *, again: bool
    ) -> None:
        self._was_answered = False
        for _ in range(30):
            process, service = await self._a_server()
            call = process.begin(do(service))
            end = asyncio.ensure_future(process.ended.wait())
            await asyncio.wait(
                {call, end},
                timeout=self.lease_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
            end.cancel()
            call.add_done_callback(_hear)
            answered = call.done() and not call.exception()
            if answered or not again:
                self._was_answered = answered
                return
            await asyncio.sleep(0.5)
        raise AssertionError("a caller was not answered in thirty tries")

    async def _a_server(self) -> tuple[Process, SendService]:
        while not self._servers:  # noqa: ASYNC110 - it is started again soon
            await asyncio.sleep(0.1)
        self._turn += 1
        return self._servers[self._turn % len(self._servers)]

    async def replay(self) -> None:
        """An operator puts all dead letters back to work."""
        queue = await self.stores.queue("operator")
        letters = await queue.list_dead(limit=100)
        await queue.replay_dead([letter.id for letter in letters])

    async def lose_queue(self) -> None:
        """The queue loses everything."""
        self.losses += 1
        await self.stores.lose_queue()

    # --- the end ---

    async def until_quiet(self, seconds: float) -> list[str]:
        """Wait until nothing is open; returns what still is at the deadline."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while True:
            left = await self._open()
            if not left or loop.time() > deadline:
                return left
            await asyncio.sleep(1)

    async def stop(self) -> None:
        """End all processes, and let what is under way to a store come back."""
        for task in self._beside:
            task.cancel()
        for process in self._processes:
            process.ended.set()
        await asyncio.sleep(0.5)

    async def _open(self) -> list[str]:
        records = await self.stores.records()
        left = [
            f"send {each.correlation_id} is {each.progress}"
            for each in records
            if not each.progress.is_over
        ]
        return left + await self.stores.left()


def _hear(call: asyncio.Task[object]) -> None:
    """Of an answer that comes after its caller has gone."""
    if not call.cancelled():
        call.exception()


async def end_all_tasks() -> None:
    """End what is left of all processes."""
    current = asyncio.current_task()
    for _ in range(5):
        left = [task for task in asyncio.all_tasks() if task is not current]
        if not left:
            return
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=1)
