"""The job queue in memory, for tests of the rooms around it.

It keeps the contract of the engines (`tests/contracts/test_job_queue.py`); what it
cannot do, `tests/support/job_queues.py` names. Beside the ports it lets a test look
in, be another process, and make calls fail or wait.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

from tests.support.jobs import make_payload

from tocsin.core import accounts
from tocsin.core.accounts import Account, Change, Counts, WalkPage, first_account
from tocsin.core.clock import SystemClock
from tocsin.core.dead_letters import DeadStock, LetterHead, Mend, head_of
from tocsin.core.elapsed import elapsed_s
from tocsin.core.errors import BadRequest, QueueFull
from tocsin.core.lanes import retry_queue
from tocsin.core.ports.clock import Clock
from tocsin.core.ports.queue import Delivery, QueuePosition
from tocsin.core.ports.queue_stock import StoredLetter
from tocsin.core.push import DeadLetter, Job, Payload
from tocsin.protocol.job_codec import (
    encode_letter,
    encode_payload,
    find_payload,
    parse_letter,
    refresh,
)
from tocsin.queue.rules import HighWater, ShareBehind, Timing

LOOK_S = 0.005
"""Between two looks of a waiting reader: clocks that a test moves wake nobody."""
ANOTHER = "another worker"


@dataclass
class _Entry:
    """A job until it is settled; `holder` is empty while nobody has it."""

    receipt: str
    job: Job
    due_ms: int
    ready_ms: int
    scheduled_uid: str = ""
    holder: str = ""
    silent_at: float = 0.0
    count: int = 0
    done: bytes = b""


class MemoryQueueData:
    """What all processes share."""

    def __init__(self, epoch: str = "first") -> None:
        self.epoch = epoch
        self.reached = 0
        self.queues: dict[str, dict[str, _Entry]] = defaultdict(dict)
        self.payloads: dict[str, Payload] = {}
        self.unfinished: Counter[str] = Counter()
        self.once_until_ms: dict[str, int] = {}
        self.accounts: dict[str, Account] = {}
        self.changed: set[str] = set()
        self.keeper = 0
        self.letters: dict[int, tuple[DeadLetter, Payload | None]] = {}
        self.settled: list[str] = []
        self.wake = asyncio.Event()
        self._serial = 0
        self._letter = 0

    def find(self, receipt: str) -> _Entry | None:
        """The entry of this receipt, whoever holds it."""
        return self.queues[receipt.rpartition("|")[0]].get(receipt)

    def entries(self) -> list[_Entry]:
        """All there are, as they came in."""
        found = [entry for queue in self.queues.values() for entry in queue.values()]
        return sorted(found, key=lambda entry: int(entry.receipt.rpartition("|")[2]))

    def add(self, job: Job, due_ms: int, now_ms: int, uid: str = "") -> None:
        """Store a job of a payload that is stored."""
        self._serial += 1
        receipt = f"{job.queue}|{self._serial}"
        self.queues[job.queue][receipt] = _Entry(
            receipt, job, due_ms, due_ms or now_ms, uid if due_ms else ""
        )
        self.unfinished[job.push_id] += 1

    def remove(self, entry: _Entry) -> None:
        """Forget a job, whose payload goes with the last one."""
        del self.queues[entry.job.queue][entry.receipt]
        self.unfinished[entry.job.push_id] -= 1
        self.tidy(entry.job.push_id)

    def tidy(self, push_id: str) -> None:
        """Forget a payload that no job needs."""
        if self.unfinished[push_id] <= 0:
            self.payloads.pop(push_id, None)
            del self.unfinished[push_id]
            if (account := self.accounts.get(push_id)) is not None:
                account.ended = True
                account.version += 1
                self.changed.add(push_id)

    def change(self, push_id: str, change: Change | None) -> None:
        """Make a change in the account of a send, if one is kept."""
        if change is not None and push_id in self.accounts:
            self.accounts[push_id].apply(change)
            self.changed.add(push_id)

    def bury(self, job: Job, reason: str, now_ms: int) -> None:
        """Keep a dead letter, with a copy of the payload."""
        self._letter += 1
        payload = self.payloads.get(job.push_id)
        uid = "" if payload is None else payload.uid
        letter = DeadLetter(str(self._letter), job, reason, now_ms, uid)
        self.letters[self._letter] = letter, payload

    def put_back(self, letter: DeadLetter, payload: Payload | None) -> None:
        """Keep a letter that was copied from here once, under a new id."""
        self._letter += 1
        self.letters[self._letter] = replace(letter, id=str(self._letter)), payload

    def lose(self, *, epoch: str | None = None) -> None:
        """All that was accepted is gone, and that it was; other data with an epoch."""
        self.epoch = self.epoch if epoch is None else epoch
        self.reached = 0
        for kept in (self.queues, self.payloads, self.unfinished, self.once_until_ms):
            kept.clear()
        self.accounts.clear()
        self.changed.clear()
        self.keeper = 0

    def wake_readers(self) -> None:
        """Let those look who wait."""
        wake, self.wake = self.wake, asyncio.Event()
        wake.set()


class MemoryAccounts:
    """`AccountReader` over the data of a queue."""

    def __init__(
        self, data: MemoryQueueData, begin: Callable[[str], Awaitable[None]]
    ) -> None:
        self._data = data
        self._begin = begin

    async def changed(self, *, limit: int) -> dict[str, Account]:
        await self._begin("accounts.changed")
        data = self._data
        push_ids = sorted(data.changed)[:limit]
        return {id: deepcopy(data.accounts.get(id, Account())) for id in push_ids}

    async def find(self, push_ids: Sequence[str]) -> dict[str, Account]:
        await self._begin("accounts.find")
        found = self._data.accounts
        return {id: deepcopy(found[id]) for id in push_ids if id in found}

    async def acknowledge(
        self, accounts: Mapping[str, Account], *, forget: bool
    ) -> None:
        await self._begin("accounts.acknowledge")
        data = self._data
        for push_id, seen in accounts.items():
            now = data.accounts.get(push_id)
            if now is None or now.version == seen.version:
                data.changed.discard(push_id)
                if now is not None and now.ended and forget:
                    del data.accounts[push_id]

    async def note_keeper(self, fence: int) -> int:
        await self._begin("accounts.note_keeper")
        before = self._data.keeper
        self._data.keeper = max(before, fence)
        return before


class MemoryLetterShelf:
    """`LetterShelf` over the data of a queue, in the bytes of the engines."""

    def __init__(
        self, data: MemoryQueueData, begin: Callable[[str], Awaitable[None]]
    ) -> None:
        self._data = data
        self._begin = begin

    async def fetch(self, *, after: str, limit: int) -> list[StoredLetter]:
        await self._begin("letters.fetch")
        start = int(after or 0)
        found = [
            StoredLetter(
                str(id),
                letter.job.queue,
                letter.job.push_id,
                encode_letter(letter.job, letter.reason, letter.at_ms),
                b"",
                b"" if payload is None else encode_payload(payload),
            )
            for id, (letter, payload) in self._data.letters.items()
            if id > start
        ]
        return found[:limit]

    async def put_back(self, letters: Sequence[StoredLetter]) -> None:
        await self._begin("letters.put_back")
        for each in letters:
            self._data.put_back(
                parse_letter(
                    each.letter,
                    id="",
                    queue=each.queue,
                    push_id=each.push_id,
                    payload=each.payload,
                ),
                find_payload(each.payload or None, each.push_id),
            )


class MemoryJobQueue:
    """`JobQueue` of one process, over data that others may share.

    A `clock` stands for that of a server; without one it is this machine's. What is
    held is judged by what elapses, as in Redis.

    `faults` are by the name of a method what each of its next calls raises, `None` for
    nothing; `failure` is raised by all calls while it stands. A call of a method with
    an event in `gates` waits for it. `calls` counts. The hold on what is in `stuck` is
    not renewed.
    """

    def __init__(
        self,
        clock: Clock | None = None,
        *,
        data: MemoryQueueData | None = None,
        owner: str = "worker-1",
        limit: int = 100_000,
        takeover_s: float = 60,
    ) -> None:
        self.data = MemoryQueueData() if data is None else data
        self.accounts = MemoryAccounts(self.data, self._begin)
        self.letters = MemoryLetterShelf(self.data, self._begin)
        self.owner = owner
        self.limit = limit
        timing = Timing(takeover_s)
        self.silent_s = timing.silent_ms / 1000
        self.trusted_s = timing.trusted_s
        self._told = clock
        self._clock = clock or SystemClock()
        self._high_water = HighWater()
        self._turn = 0
        self._share_behind = ShareBehind()
        self.failure: Exception | None = None
        self.faults: dict[str, list[Exception | None]] = defaultdict(list)
        self.gates: dict[str, asyncio.Event] = {}
        self.calls: Counter[str] = Counter()
        self.stuck: set[str] = set()
        self.excused: list[str] = []

    # --- JobProducer ---

    async def enqueue(
        self,
        payload: Payload,
        jobs: Sequence[Job],
        *,
        once_ttl_s: float = 0,
        due_ms: int = 0,
        account: Account | None = None,
    ) -> bool:
        await self._begin("enqueue")
        data, push_id, now_ms = self.data, payload.push_id, self._clock.now_ms()
        before = self._high_water.certain
        if data.once_until_ms.get(push_id, 0) > now_ms:
            return False
        if push_id in data.accounts:
            return False
        for queue, new in Counter(job.queue for job in jobs).items():
            unfinished = len(data.queues[queue]) + len(data.queues[retry_queue(queue)])
            if unfinished + new > self.limit:
                raise QueueFull
        if once_ttl_s > 0:
            data.once_until_ms[push_id] = now_ms + max(1, int(once_ttl_s * 1000))
        if jobs:
            data.payloads[push_id] = payload
        if account is not None or accounts.is_kept(jobs):
            data.accounts[push_id] = account or first_account(jobs, uuid.uuid4().hex)
            data.changed.add(push_id)
        for job in jobs:
            data.add(job, due_ms, now_ms, payload.uid)
        data.reached += 1
        self._high_water.take(data.reached, before=before)
        data.wake_readers()
        return True

    async def cancel(self, uid: str) -> list[Job]:
        await self._begin("cancel")
        taken = [
            entry
            for entry in self.data.entries()
            if uid and entry.scheduled_uid == uid and not entry.count
        ]
        for entry in taken:
            self.data.change(entry.job.push_id, accounts.cancelled(entry.job))
            self.data.remove(entry)
        return [entry.job for entry in taken]

    # --- JobConsumer ---

    async def receive(
        self,
        queues: Sequence[str],
        *,
        limit: int,
        wait_s: float,
        behind: Sequence[str] = (),
    ) -> list[Delivery]:
        await self._begin("receive")
        if not queues or limit < 1:
            return []
        deadline = elapsed_s() + wait_s
        while True:
            wake = self.data.wake
            found = self._take([*queues, *behind], limit, self._is_abandoned)
            found += self._take_due(queues, behind, limit - len(found))
            left_s = deadline - elapsed_s()
            if found or left_s <= 0:
                await asyncio.sleep(0)
                return found
            try:
                async with asyncio.timeout(min(left_s, LOOK_S)):
                    await wake.wait()
            except TimeoutError:
                continue

    async def fetch_payload(self, push_id: str) -> Payload | None:
        await self._begin("fetch_payload")
        return self.data.payloads.get(push_id)

    async def record_progress(self, progress: Mapping[str, bytes]) -> None:
        await self._begin("record_progress")
        for receipt, done in progress.items():
            if (entry := self.data.find(receipt)) is not None:
                entry.done = done

    async def settle(
        self,
        delivery: Delivery,
        *,
        follow: Sequence[tuple[Job, int]] = (),
        dead: Sequence[tuple[Job, str]] = (),
        ended: Counts = accounts.NOTHING,
        page: WalkPage | None = None,
    ) -> bool:
        await self._begin("settle")
        push_id, now_ms = delivery.job.push_id, self._clock.now_ms()
        for job, _ in follow:
            if job.push_id != push_id:
                raise ValueError(f"job {job.id} follows from another request's job")
        entry = self.data.find(delivery.receipt)
        if entry is None:
            return False
        for job, due_ms in follow:
            self.data.add(job, due_ms, now_ms)
        for job, reason in dead:
            self.data.bury(job, reason, now_ms)
        jobs = [job for job, _ in follow]
        change = accounts.settled(
            delivery.job, jobs, ended=ended, page=page, is_dead=bool(dead)
        )
        self.data.change(push_id, change)
        self.data.remove(entry)
        self.data.settled.append(delivery.receipt)
        self.data.wake_readers()
        return True

    async def keep_alive(self, deliveries: Sequence[Delivery]) -> list[str]:
        await self._begin("keep_alive")
        lost = []
        for each in deliveries:
            entry = self.data.find(each.receipt)
            if entry is None or entry.holder != self.owner:
                lost.append(each.receipt)
                if entry is not None and entry.count > 1:
                    entry.count -= 1  # who asks lives, so nobody died of it
            elif each.receipt not in self.stuck:
                entry.silent_at = elapsed_s() + self.silent_s
                each.held_until = elapsed_s() + self.trusted_s
        return lost

    async def excuse(self, deliveries: Sequence[Delivery]) -> None:
        await self._begin("excuse")
        for each in deliveries:
            self.excused.append(each.receipt)
            entry = self.data.find(each.receipt)
            if entry is not None and entry.holder and entry.count > 1:
                entry.count -= 1

    async def find_queued(self, deliveries: Sequence[Delivery]) -> set[str]:
        await self._begin("find_queued")
        receipts = [delivery.receipt for delivery in deliveries]
        return {receipt for receipt in receipts if self.data.find(receipt) is not None}

    # --- Backlog, JobOperator, QueueServer and the rest ---

    async def waiting(
        self, queues: Sequence[str], *, only_due: bool = False
    ) -> dict[str, int]:
        await self._begin("waiting")
        now_ms = self._clock.now_ms()
        return {
            queue: sum(
                not entry.holder and (not only_due or entry.ready_ms <= now_ms)
                for entry in self.data.queues[queue].values()
            )
            for queue in queues
        }

    async def list_dead(self, *, limit: int, after: str = "") -> list[DeadLetter]:
        await self._begin("list_dead")
        return self._letters(limit, after)

    async def scan_dead(self, *, limit: int, after: str = "") -> list[LetterHead]:
        await self._begin("scan_dead")
        return [head_of(letter) for letter in self._letters(limit, after)]

    async def fetch_dead(self, id: str) -> tuple[DeadLetter, Payload | None] | None:
        await self._begin("fetch_dead")
        return next((self.data.letters[known] for known in self._known([id])), None)

    async def count_dead(self) -> DeadStock:
        await self._begin("count_dead")
        ids = [str(id) for id in self.data.letters]
        return DeadStock(len(ids), ids[0], ids[-1]) if ids else DeadStock()

    async def replay_dead(self, ids: Sequence[str], *, mend: Mend | None = None) -> int:
        await self._begin("replay_dead")
        now_ms, replayed = self._clock.now_ms(), 0
        for id in self._known(ids):
            letter, payload = self.data.letters[id]
            job = refresh(letter.job)
            if mend is not None:
                if job.provider != mend.provider:
                    continue
                before = payload.bodies.get(job.provider) if payload else None
                job = mend.apply(job, job.body or before)
            del self.data.letters[id]
            if payload is not None:
                self.data.payloads.setdefault(payload.push_id, payload)
            self._reopen(job)
            self.data.add(job, 0, now_ms)
            replayed += 1
        self.data.wake_readers()
        return replayed

    async def purge_dead(self, ids: Sequence[str]) -> int:
        await self._begin("purge_dead")
        known = self._known(ids)
        for id in known:
            del self.data.letters[id]
        return len(known)

    async def position(self) -> QueuePosition:
        await self._begin("position")
        high_water, data = self._high_water, self.data
        high_water.compare(data.reached, before=high_water.certain)
        return QueuePosition(
            data.epoch, data.reached, high_water.certain, high_water.missing
        )

    async def now_ms(self) -> int | None:
        await self._begin("now_ms")
        return None if self._told is None else self._told.now_ms()

    async def check(self) -> None:
        await self._begin("check")

    async def close(self) -> None:
        await self._begin("close")

    # --- what tests see ---

    @property
    def accepted(self) -> list[tuple[Payload, list[Job]]]:
        """Each request with what is unfinished of it, in order."""
        jobs: dict[str, list[Job]] = defaultdict(list)
        for entry in self.data.entries():
            jobs[entry.job.push_id].append(entry.job)
        return [(self.data.payloads[push_id], jobs[push_id]) for push_id in jobs]

    @property
    def jobs(self) -> list[Job]:
        """All that are unfinished, in order."""
        return [entry.job for entry in self.data.entries()]

    @property
    def due_ms(self) -> dict[str, int]:
        """When each request that is unfinished is due, 0 for now."""
        return {entry.job.push_id: entry.due_ms for entry in self.data.entries()}

    @property
    def payloads(self) -> dict[str, Payload]:
        """What is stored for the jobs, by push id."""
        return self.data.payloads

    @property
    def dead(self) -> list[tuple[Job, str]]:
        """Jobs that are dead letters, each with its reason."""
        return [(letter.job, letter.reason) for letter, _ in self.data.letters.values()]

    @property
    def settled(self) -> list[str]:
        """Receipts of what was ended, in order."""
        return self.data.settled

    @property
    def held(self) -> list[str]:
        """Receipts of what somebody holds."""
        return [entry.receipt for entry in self.data.entries() if entry.holder]

    def waiting_jobs(self, queue: str) -> list[tuple[Job, int]]:
        """What nobody holds there, with its due time, 0 for now."""
        entries = self.data.queues[queue].values()
        return [(entry.job, entry.due_ms) for entry in entries if not entry.holder]

    # --- what tests do in another's place ---

    def put(self, job: Job, due_ms: int = 0, *, payload: Payload | None = None) -> str:
        """Accept one job, with its payload where it is not stored; its receipt."""
        if payload is not None or job.push_id not in self.data.payloads:
            self.data.payloads[job.push_id] = payload or make_payload(job.push_id)
        self.data.add(job, due_ms, self._clock.now_ms())
        self.data.wake_readers()
        return list(self.data.queues[job.queue])[-1]

    def hand_out(self, job: Job, *, count: int = 1, done: bytes = b"") -> Delivery:
        """One job that this worker is handed for the `count`th time.

        Of its recipients those in `done` were recorded by an earlier holder.
        """
        entry = self.data.find(self.put(job))
        assert entry is not None
        entry.count, entry.done = count - 1, done
        return self._hold(entry)

    def take_away(self, receipt: str) -> None:
        """Another worker takes this over, and lives."""
        entry = self.data.find(receipt)
        assert entry is not None
        entry.holder, entry.silent_at = ANOTHER, float("inf")
        entry.count += 1

    def fall_silent(self, receipt: str) -> None:
        """The hold on this was not renewed for too long."""
        entry = self.data.find(receipt)
        assert entry is not None
        entry.silent_at = 0.0
        self.data.wake_readers()

    def finish(self, receipt: str = "") -> None:
        """Another worker ends this, or all there is."""
        for entry in self.data.entries():
            if receipt in ("", entry.receipt):
                self.data.remove(entry)

    def drop(self, *queues: str) -> None:
        """Another worker ends what nobody holds there."""
        for entry in self.data.entries():
            if entry.job.queue in queues and not entry.holder:
                self.data.remove(entry)

    async def called(self, call: str, times: int) -> None:
        """Wait until a method was called so many times more."""
        until = self.calls[call] + times
        async with asyncio.timeout(10):
            while self.calls[call] < until:  # noqa: ASYNC110 - a count is waited for
                await asyncio.sleep(0.001)

    async def _begin(self, call: str) -> None:
        """Count a call, and let a test fail or hold it."""
        self.calls[call] += 1
        if (gate := self.gates.get(call)) is not None:
            await gate.wait()
        if self.faults[call] and (fault := self.faults[call].pop(0)) is not None:
            raise fault
        if self.failure is not None:
            raise self.failure

    def _letters(self, limit: int, after: str) -> list[DeadLetter]:
        if after and not (after.isascii() and after.isdigit()):
            raise BadRequest("after", "is not the id of a dead letter")
        start = int(after or 0)
        letters = self.data.letters
        found = [letter for id, (letter, _) in letters.items() if id > start]
        return found[: max(1, limit)]

    def _reopen(self, job: Job) -> None:
        change, push_id = accounts.replayed(job), job.push_id
        if change is not None:
            account = self.data.accounts.setdefault(push_id, Account(uuid.uuid4().hex))
            account.ended = False
            self.data.change(push_id, change)

    def _known(self, ids: Sequence[str]) -> list[int]:
        numbers = {int(id) for id in ids if id.isascii() and id.isdigit()}
        return sorted(numbers & self.data.letters.keys())

    def _is_due(self, entry: _Entry) -> bool:
        return not entry.holder and entry.ready_ms <= self._clock.now_ms()

    def _is_abandoned(self, entry: _Entry) -> bool:
        return bool(entry.holder) and entry.silent_at <= elapsed_s()

    def _take_due(
        self, front: Sequence[str], behind: Sequence[str], limit: int
    ) -> list[Delivery]:
        sure = min(limit, self._share_behind.take(limit))
        taken = self._take(behind, sure, self._is_due)
        taken += self._take(front, limit - len(taken), self._is_due)
        return taken + self._take(behind, limit - len(taken), self._is_due)

    def _take(
        self, queues: Sequence[str], limit: int, which: Callable[[_Entry], bool]
    ) -> list[Delivery]:
        """In rounds of equal shares, each queue's oldest first."""
        self._turn += 1
        start = self._turn % max(1, len(queues))
        still_open = [*queues[start:], *queues[:start]]
        taken: list[Delivery] = []
        while still_open and len(taken) < limit:
            share = max(1, (limit - len(taken)) // len(still_open))
            full = []
            for queue in still_open:
                want = min(share, limit - len(taken))
                fit = [e for e in self.data.queues[queue].values() if which(e)]
                fit.sort(key=lambda entry: entry.ready_ms)
                taken += [self._hold(entry) for entry in fit[:want]]
                if len(fit) > want:
                    full.append(queue)
            still_open = full
        return taken

    def _hold(self, entry: _Entry) -> Delivery:
        entry.holder, entry.count = self.owner, entry.count + 1
        entry.silent_at = elapsed_s() + self.silent_s
        until = elapsed_s() + self.trusted_s
        return Delivery(entry.job, entry.receipt, entry.count, entry.done, until)
