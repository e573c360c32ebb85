"""Push room: queues again what a queue has lost of an accepted send.

What is queued again is made of the send's row: the pages that were open when its
account was last written down, and the rest of its walks.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import structlog

from tocsin.core.accounts import AGAIN, Account, Unit, Walk, first_account
from tocsin.core.errors import ApiError, QueueFull
from tocsin.core.ports.clock import Clock
from tocsin.core.ports.queue import AccountReader, JobProducer
from tocsin.core.ports.send_log import OpenSend, SendAcceptor
from tocsin.core.push import ExpandJob, Job, SendJob
from tocsin.push.queue_watch import QueueWatch

FIRST_CALL_MS = 10_000
"""A send that is younger may be about to be queued by the call that brought it."""

MOVED_GRACE_MS = 600_000
"""Work in a queue that was used before is left there for so long: to be moved, or to be
done by workers that still use it. A move that comes later leaves it out."""

OnRepaired = Callable[[str], None]
"""Called for each send with `requeued`, `reported` or `moved`."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to queue again: jobs, their account, and all accounts of the send then."""

    jobs: Sequence[Job]
    account: Account
    accounts: dict[str, Account]


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
        # Read after the queue was asked: an account leaves the queue only after the
        # row says that the send is over.
        return await self._log.find_open(missing)

    async def look(self, push_ids: Sequence[str]) -> int:
        """Queue again what is missing of these sends; returns how many sends."""
        repaired = 0
        for send in await self.find_missing(push_ids):
            record = send.record
            if not self._resume:
                self._report(send)
            elif await self._is_elsewhere(record.epoch, wait=True):
                self._note_moved(record.epoch)
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
        age_ms = self._clock.now_ms() - send.record.accepted_at_ms
        if send.record.accounts or age_ms >= FIRST_CALL_MS:
            return await self._requeue(send)
        # The first call is under way, maybe on another server, or that has died. Of
        # both exactly one queues it.
        plan = plan_of(send)
        await self._queue.enqueue(
            send.payload,
            plan.jobs,
            due_ms=self._due_ms(send),
            account=plan.account,
        )
        return False

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
        # Written down first: a crash between the two leaves a plan that the next look
        # makes again in the same way.
        is_planned = await self._log.plan_repair(
            record.push_id,
            seen={name: each.version for name, each in record.accounts.items()},
            accounts=plan.accounts,
            epoch="" if self._watch is None else self._watch.epoch,
        )
        if not is_planned or not plan.jobs:
            return False
        stored = await self._queue.enqueue(
            send.payload,
            plan.jobs,
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

    A generation that was planned and never seen in the queue is planned anew, to the
    same work.
    """
    generation = secrets.token_hex(8)
    kept: dict[str, Account] = {}
    walks: dict[str, Walk] = {}
    units: dict[str, Unit] = {}
    for name, account in send.record.accounts.items():
        closed = account.checkpoint()
        walks.update(closed.walks)
        units.update(closed.units)
        closed.walks, closed.units, closed.ended = {}, {}, True
        kept[name] = closed
    if not send.record.accounts:
        jobs = [replace(job, id=uuid.uuid4().hex) for job in send.jobs]
    else:
        jobs = [*_batches(send.jobs, units), *_walks(send.jobs, walks, units)]
    account = first_account(jobs, generation)
    if jobs:
        kept[generation] = replace(account, version=0)
    return Plan(jobs, account, kept)


def _batches(first: Sequence[Job], units: dict[str, Unit]) -> list[Job]:
    """First batches that are open; of one that came back from the dead letters too."""
    found: dict[int, Job] = {}
    for name in units:
        index = _index(name.removesuffix(AGAIN), first)
        if index is not None and isinstance(first[index], SendJob):
            found[index] = replace(first[index], id=uuid.uuid4().hex)
    return list(found.values())


def _walks(
    first: Sequence[Job], walks: dict[str, Walk], units: dict[str, Unit]
) -> list[Job]:
    """Walks where they stopped, and over each page that is open."""
    jobs: list[Job] = []
    for name, walk in walks.items():
        jobs += _walk(first, name, walk, name)
    for name, unit in units.items():
        walk_name, _, page = name.partition(":")
        if not page.isdigit():
            # A part of a page that came back from the dead letters: which part is not
            # kept, and the rest of the page is not to be sent again.
            continue
        again = f"{walk_name.partition('@')[0]}@{secrets.token_hex(4)}"
        jobs += _walk(first, again, Walk(int(page), unit.start, unit.until), again)
    return jobs


def _walk(first: Sequence[Job], name: str, walk: Walk, unit: str) -> list[Job]:
    index = _index(name.partition("@")[0], first)
    job = None if index is None else first[index]
    if not isinstance(job, ExpandJob):
        return []
    work = replace(job.work, page=walk.page, cursor=walk.cursor, until=walk.until)
    return [replace(job, id=uuid.uuid4().hex, work=work, unit=unit)]


def _index(name: str, first: Sequence[Job]) -> int | None:
    if not (name.isascii() and name.isdigit()) or int(name) >= len(first):
        return None
    return int(name)
