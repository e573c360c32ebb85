"""Push room: queues again what a queue has lost of an accepted send.

What is queued again is made of the send's row: the pages that were open when its
account was last written down, and the rest of its walks.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import structlog

from tocsin.core.accounts import (
    AGAIN,
    FIRST,
    Account,
    Part,
    Unit,
    Walk,
    cancelled_account,
    first_account,
)
from tocsin.core.errors import ApiError, QueueFull
from tocsin.core.ports.clock import Clock
from tocsin.core.ports.queue import AccountReader, JobProducer
from tocsin.core.ports.send_log import OpenSend, SendAcceptor
from tocsin.core.push import ExpandJob, Job, SendJob
from tocsin.core.send_log import SendRecord
from tocsin.push.queue_watch import QueueWatch

FIRST_CALL_MS = 10_000
"""A send that is younger may be about to be queued by the call that brought it."""

LATE_MS = 5_000
"""Who stood still for so long between two steps does not take the second one: somebody
else may have taken it, and the send may even be over."""

ONCE_S = 3600.0
"""For so long the queue remembers what was queued again, also after it has ended: a
call that was under way to the queue meanwhile must not queue it once more."""

MOVED_GRACE_MS = 600_000
"""Work in a queue that was used before is left there for so long: to be moved, or to be
done by workers that still use it. A move that comes later leaves it out."""

_GIVEN_UP = (
    "the queue was lost with {} recipients that had come back from the dead letters;"
    " they count as unconfirmed"
)

OnRepaired = Callable[[str], None]
"""Called for each send with `requeued`, `reported` or `moved`."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to queue again: jobs, their account, and all accounts of the send then.

    `unconfirmed` are open recipients that cannot be queued again.
    """

    jobs: Sequence[Job]
    account: Account
    accounts: dict[str, Account]
    unconfirmed: int = 0


class Repair:
    """Finds open sends that the queue does not have, and queues them again.

    With `resume` off it only reports them; a caller who repeats the uid of one has it
    queued again all the same. `watch` knows which data the queue has, and which other
    data was replaced: what is in neither is in a queue at another place, from which it
    can be moved. It is queued again here after `MOVED_GRACE_MS`.
    """

    def __init__(
        self,
        queue: JobProducer,
        accounts: AccountReader,
        log: SendAcceptor,
        *,
        clock: Clock,
        watch: QueueWatch | None = None,
        resume: bool = True,
        on_repaired: OnRepaired = lambda _: None,
    ) -> None:
        self._queue = queue
        self._accounts = accounts
        self._log = log
        self._clock = clock
        self._watch = watch
        self._resume = resume
        self._on_repaired = on_repaired
        self._reported: set[str] = set()
        self._moved_at_ms: dict[str, int] = {}

    async def find_missing(self, push_ids: Sequence[str]) -> list[OpenSend]:
        """Of these sends, those that are open and that the queue knows nothing of."""
        known = await self._accounts.find(push_ids)
        missing = [push_id for push_id in push_ids if push_id not in known]
        found = await self._log.find_open(missing) if missing else []
        if not found:
            return []
        # Asked again, since another process may have queued it before the row was read.
        # What happens from now on changes the row, and a plan made from it fails.
        known = await self._accounts.find([each.record.push_id for each in found])
        return [each for each in found if each.record.push_id not in known]

    async def look(self, push_ids: Sequence[str]) -> int:
        """Queue again what is missing of these sends; returns how many sends."""
        repaired = 0
        for send in await self.find_missing(push_ids):
            record = send.record
            if not record.accounts and self._age_ms(record) < FIRST_CALL_MS:
                continue
            if await self._is_elsewhere(record.epoch, wait=True):
                self._note_moved(record.epoch)
            elif not self._resume:
                self._report(send)
            else:
                repaired += await self._try(send)
        return repaired

    async def heal(self, push_id: str) -> bool:
        """Queue a send again if the queue has lost it; its caller repeats its uid.

        Raises `QueueFull` and `QueueUnavailable`.
        """
        missing = await self.find_missing([push_id])
        if not missing:
            return False
        send = missing[0]
        if await self._is_elsewhere(send.record.epoch, wait=False):
            return False
        if send.record.accounts or self._age_ms(send.record) >= FIRST_CALL_MS:
            return await self._requeue(send)
        # The first call is under way, maybe on another server, or that has died. Of
        # both exactly one queues it.
        plan = plan_of(send)
        await self._queue.enqueue(
            send.payload,
            plan.jobs,
            once_ttl_s=ONCE_S,
            due_ms=self._due_ms(send),
            account=plan.account,
        )
        return False

    async def take_back(self, uid: str) -> Sequence[Job]:
        """Cancel a send for later that the queue does not have; returns its jobs.

        The queue gets its account, ended, in place of its work: so whoever was about to
        queue that finds it queued, and the log learns it as it learns everything. A
        send that somebody queues meanwhile is taken back from the queue. Raises
        `ApiError`; the caller repeats the call then.
        """
        while True:
            record = await self._log.fetch(uid=uid)
            if record is None or record.due_at_ms <= self._clock.now_ms():
                return []
            missing = await self.find_missing([record.push_id])
            if not missing:
                # Over, or in the queue since we asked for it there.
                return await self._queue.cancel(uid)
            plan = plan_of(missing[0])
            if not plan.jobs:
                return []
            if await self._plan(missing[0], plan) and await self._queue.enqueue(
                missing[0].payload,
                [],
                once_ttl_s=ONCE_S,
                account=cancelled_account(plan.jobs, plan.account.generation),
            ):
                return plan.jobs

    async def _is_elsewhere(self, epoch: str, *, wait: bool) -> bool:
        """Whether work of this epoch may still be in use at another place.

        With `wait` it may no more once it was there for `MOVED_GRACE_MS`.
        """
        watch = self._watch
        if watch is None or not epoch or epoch == await watch.find_epoch():
            return False
        if await watch.is_lost(epoch):
            return False
        since_ms = self._moved_at_ms.setdefault(epoch, self._clock.now_ms())
        return not wait or self._clock.now_ms() - since_ms < MOVED_GRACE_MS

    def _age_ms(self, record: SendRecord) -> int:
        return self._clock.now_ms() - record.accepted_at_ms

    def _due_ms(self, send: OpenSend) -> int:
        due_at_ms = send.record.due_at_ms
        return due_at_ms if due_at_ms > self._clock.now_ms() else 0

    async def _try(self, send: OpenSend) -> bool:
        try:
            return await self._requeue(send)
        except QueueFull:
            return False  # there is more to do than fits: it is found again
        except ApiError as error:
            _log.warning(
                "lost send not queued again yet; it is tried again",
                push_id=send.record.push_id,
                uid=send.record.uid,
                error=error.message,
            )
            return False

    async def _requeue(self, send: OpenSend) -> bool:
        record = send.record
        plan = plan_of(send)
        began_at_ms = self._clock.now_ms()
        # Written down first: a crash between the two leaves a plan that the next look
        # makes again in the same way.
        is_planned = await self._plan(send, plan)
        if not is_planned or self._clock.now_ms() - began_at_ms >= LATE_MS:
            return False
        if not plan.jobs:
            _log.warning(
                "the queue had lost this send; nothing of it can be queued again",
                uid=record.uid,
                push_id=record.push_id,
                unconfirmed=plan.unconfirmed,
            )
            return False
        stored = await self._queue.enqueue(
            send.payload,
            plan.jobs,
            once_ttl_s=ONCE_S,
            due_ms=self._due_ms(send),
            account=plan.account,
        )
        if stored:
            self._reported.discard(record.push_id)
            self._on_repaired("requeued")
            _log.warning(
                "the queue had lost this send; what is open of it is queued again, and"
                " some of its recipients may get it twice",
                uid=record.uid,
                push_id=record.push_id,
                request_id=record.correlation_id,
                jobs=len(plan.jobs),
                ended=sum(record.account.checkpoint().parts.values()),
            )
        return stored

    async def _plan(self, send: OpenSend, plan: Plan) -> bool:
        record = send.record
        return await self._log.plan_repair(
            record.push_id,
            seen={name: each.version for name, each in record.accounts.items()},
            accounts=plan.accounts,
            epoch="" if self._watch is None else self._watch.epoch,
            note=_GIVEN_UP.format(plan.unconfirmed) if plan.unconfirmed else "",
        )

    def _report(self, send: OpenSend) -> None:
        """Say once that a send is lost; its caller can repeat it."""
        record = send.record
        if record.push_id in self._reported:
            return
        self._reported.add(record.push_id)
        self._on_repaired("reported")
        _log.error(
            "the queue has lost this send; repair is set to report, so it is sent when"
            " its caller repeats its uid",
            uid=record.uid,
            push_id=record.push_id,
        )

    def _note_moved(self, epoch: str) -> None:
        """Say once for each queue that sends wait in it."""
        if epoch in self._reported:
            return
        self._reported.add(epoch)
        self._on_repaired("moved")
        _log.warning(
            "sends wait in the queue that was used before: move them with `tocsin queue"
            " drain`; those that are left are queued again here later",
            after_s=MOVED_GRACE_MS // 1000,
        )


def plan_of(send: OpenSend) -> Plan:
    """What to queue again of a send of which the queue has nothing.

    A plan that no queue has told of is made again under its own name: of several who
    carry it out the queue takes it from one.
    """
    standing = send.record.accounts
    if not standing:
        jobs: list[Job] = [replace(job, id=uuid.uuid4().hex) for job in send.jobs]
        account = first_account(jobs, FIRST)
        return Plan(jobs, account, {FIRST: replace(account, version=0)})
    planned = [name for name, each in standing.items() if each.is_planned]
    generation = planned[0] if planned else secrets.token_hex(8)
    kept: dict[str, Account] = {}
    batches: dict[str, Job] = {}
    walks: list[Job] = []
    unconfirmed = 0
    for name, account in standing.items():
        closed = account.checkpoint()
        for unit, job in _units(send.jobs, closed):
            if isinstance(job, SendJob):
                batches[job.unit] = job
            elif job is not None:
                walks.append(job)
            else:
                unconfirmed += _give_up(closed, account.units[unit])
        walks += _walks(send.jobs, closed)
        closed.walks, closed.units, closed.ended = {}, {}, True
        if name != generation:
            kept[name] = closed
    jobs = [*batches.values(), *walks]
    account = first_account(jobs, generation)
    if jobs:
        kept[generation] = replace(account, version=0)
    return Plan(jobs, account, kept, unconfirmed)


def _units(first: Sequence[Job], account: Account) -> Iterator[tuple[str, Job | None]]:
    """Each open unit with the job that sends it again; `None` where there is none."""
    for name, unit in account.units.items():
        index = _index(name.removesuffix(AGAIN), first)
        if index is not None and isinstance(first[index], SendJob):
            # Of one that came back from the dead letters too.
            yield name, replace(first[index], id=uuid.uuid4().hex)
            continue
        walk_name, _, page = name.partition(":")
        if not page.isdigit():
            # A part of a page that came back from the dead letters: which part is not
            # kept, and the rest of the page is not to be sent again.
            yield name, None
            continue
        again = f"{walk_name.partition('@')[0]}@{secrets.token_hex(4)}"
        walk = Walk(int(page), unit.start, unit.until)
        yield name, _walk(first, again, walk)


def _walks(first: Sequence[Job], account: Account) -> list[Job]:
    """Walks where they stopped."""
    found = [_walk(first, name, walk) for name, walk in account.walks.items()]
    return [job for job in found if job is not None]


def _walk(first: Sequence[Job], name: str, walk: Walk) -> Job | None:
    index = _index(name.partition("@")[0], first)
    job = None if index is None else first[index]
    if not isinstance(job, ExpandJob):
        return None
    work = replace(job.work, page=walk.page, cursor=walk.cursor, until=walk.until)
    return replace(job, id=uuid.uuid4().hex, work=work, unit=name)


def _give_up(closed: Account, unit: Unit) -> int:
    """Count in what is open of a unit, which may have been sent; returns how many."""
    closed.parts.update(unit.parts)
    closed.parts[Part.UNCONFIRMED.value] += unit.open
    closed.matched += unit.open + sum(unit.parts.values())
    return unit.open


def _index(name: str, first: Sequence[Job]) -> int | None:
    if not (name.isascii() and name.isdigit()) or int(name) >= len(first):
        return None
    return int(name)
