"""The way from the API to the workers: a port for each who uses it, and its limits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tocsin.core.accounts import NOTHING, Account, Counts, WalkPage
from tocsin.core.dead_letters import DeadStock, LetterHead, Mend
from tocsin.core.ports.queue_stock import LetterShelf
from tocsin.core.push import DeadLetter, Job, Payload
from tocsin.core.rates import RateLimit


@dataclass(slots=True)
class Delivery:
    """A job in the hands of one worker, until settled or taken over.

    `count` is how often it was handed out, 1 the first time; hand-outs whose holder
    turned out to live do not count. `done` is a bitmap over the recipients of a `Send`,
    least significant bit first: those whose result an earlier holder recorded; it may
    be empty. A second bitmap may follow it: those of them whose token was called dead.
    `receipt` belongs to the queue: whoever takes over gets the same one.

    `held_until` is the moment of this process (`elapsed_s`) from which its worker
    starts no further request for it, unless `keep_alive` has moved it on: soon
    afterwards another worker may have it. It is counted from before the queue was
    asked, so that no delay on the way makes it too late. The worker sets `lost` when
    `keep_alive` has named it: then nothing more is done for it.
    """

    job: Job
    receipt: str
    count: int
    done: bytes
    held_until: float = math.inf
    lost: bool = False


@dataclass(frozen=True, slots=True)
class QueuePosition:
    """Which data a queue holds, and how far it has come.

    `epoch` is a name that the data got once: another name means other data. `reached`
    rises with every accepted request, and falls only where data is lost. `certain` is
    its highest value that was confirmed to this process. `missing` is how much of what
    was confirmed this process has found gone since it began, under any epoch.
    """

    epoch: str
    reached: int
    certain: int = 0
    missing: int = 0


class QueueServer(Protocol):
    """What every process asks of the queue itself, whatever it does with jobs."""

    async def position(self) -> QueuePosition:
        """Which data this is, and how far it has come; see there."""
        ...

    async def now_ms(self) -> int | None:
        """The clock that judges what is due, in Unix milliseconds.

        Every `due_ms` is a time of this clock, whatever a caller's own says. `None`
        where it is the clock of this machine.
        """
        ...


class JobProducer(Protocol):
    """What accepts work: all of a request at once, or nothing of it."""

    async def enqueue(
        self,
        payload: Payload,
        jobs: Sequence[Job],
        *,
        once_ttl_s: float = 0,
        due_ms: int = 0,
        account: Account | None = None,
    ) -> bool:
        """Store the payload, all jobs and the account of the send in one atomic step.

        `account` is made of the jobs if it is not given; those of older releases, whose
        jobs have no unit, get none. An account without jobs is one that has ended.
        While the queue has an account under this `push_id` a call stores nothing and
        returns `False`; so does one within the `once_ttl_s` of an earlier call.
        With `due_ms` (Unix milliseconds) the jobs
        are handed out from then on; `cancel` takes back those that were not yet. Raises
        `QueueFull` when one of the queues is at its limit of unfinished entries;
        nothing is stored then. For a `reliable` payload it returns when a second server
        has the entries, if the engine has one; `QueueUnavailable` says that none got
        them in time, and a repeat is safe where `once_ttl_s` is given.
        """
        ...

    async def cancel(self, uid: str) -> list[Job]:
        """Take back jobs that were enqueued under this uid with a later `due_ms`.

        Returns the jobs that were removed and will never be handed out; jobs that were
        handed out before are not touched. An unknown uid is no error. A job that falls
        due at that moment is either cancelled or handed out, never both.
        """
        ...


class Backlog(Protocol):
    """How much work waits."""

    async def waiting(
        self, queues: Sequence[str], *, only_due: bool = False
    ) -> dict[str, int]:
        """Entries per queue that nobody holds, delayed ones included.

        With `only_due`, those alone that could be handed out now.
        """
        ...


class JobConsumer(Backlog, QueueServer, Protocol):
    """What works on jobs; at-least-once, never less.

    An entry leaves only by `settle`. One that its worker neither settles nor
    keeps alive is handed to another within the take-over time.
    """

    async def receive(
        self,
        queues: Sequence[str],
        *,
        limit: int,
        wait_s: float,
        behind: Sequence[str] = (),
    ) -> list[Delivery]:
        """Up to `limit` due entries, waiting at most `wait_s` for the first.

        `queues` have equal shares. Those in `behind` come after them: they get what
        `queues` leave, and so as not to starve an eighth of the limits, over time.

        Moves due delayed entries, and takes over those of silent workers. A silent
        worker may be this one: the receipt that it still has then stands for a new
        hold. An entry that cannot be decoded goes to the dead letters with the reason.
        """
        ...

    async def fetch_payload(self, push_id: str) -> Payload | None:
        """The stored payload, or `None` when nothing of that request is left."""
        ...

    async def record_progress(self, progress: Mapping[str, bytes]) -> None:
        """Store the `done` bitmaps by receipt, in one round trip."""
        ...

    async def settle(
        self,
        delivery: Delivery,
        *,
        follow: Sequence[tuple[Job, int]] = (),
        dead: Sequence[tuple[Job, str]] = (),
        ended: Counts = NOTHING,
        page: WalkPage | None = None,
    ) -> bool:
        """End a delivery and add what follows from it, in one atomic step.

        `follow` are (job, due Unix milliseconds or 0 for now); `dead` are
        (job, reason). Both ignore the backlog limit: that work is accepted. `ended`
        are recipients by what became of them, those of `dead` too, and `page` is what
        a walk has found: both go into the account of the send (`core/accounts.py`).
        The payload goes with the request's last job (dead letters keep a copy).
        Returns `False`, and adds nothing, when somebody else has settled it: then the
        caller must count and report nothing either.
        """
        ...

    async def keep_alive(self, deliveries: Sequence[Delivery]) -> list[str]:
        """Renew the hold on these; returns the receipts that were lost.

        It moves `held_until` of each that was renewed. A delivery that is neither lost
        nor moved could not be judged now; ask again. It never waits for other calls of
        this process.

        A worker that lost a job and still asks here was not killed by that job, so the
        hand-out that took the job away is not counted; see `Delivery.count`.
        """
        ...

    async def excuse(self, deliveries: Sequence[Delivery]) -> None:
        """Do not count the last hand-out of these: their holder lives and has them."""
        ...

    async def find_queued(self, deliveries: Sequence[Delivery]) -> set[str]:
        """Of these, the receipts whose entry is in the queue, whoever holds it."""
        ...


class AccountReader(Protocol):
    """What keeps the send log: reads what the queue has counted for each send."""

    async def changed(self, *, limit: int) -> dict[str, Account]:
        """Some accounts that changed since they were acknowledged, by push id.

        One that is gone meanwhile comes without a generation; acknowledge it too.
        """
        ...

    async def find(self, push_ids: Sequence[str]) -> dict[str, Account]:
        """The accounts of these sends that the queue has.

        Of a send whose work has ended it has none, once that was acknowledged.
        """
        ...

    async def acknowledge(
        self, accounts: Mapping[str, Account], *, forget: bool
    ) -> None:
        """These are written down elsewhere, in the state in which they were read.

        With `forget` the queue drops those that have ended, if nothing was added since.
        """
        ...

    async def note_keeper(self, fence: int) -> int:
        """Remember how far the send log has come; returns the highest number before.

        One that is above the log's own tells that the log's database went back.
        """
        ...


class JobOperator(Backlog, Protocol):
    """What an operator sees and does: the backlog and the dead letters."""

    async def list_dead(self, *, limit: int, after: str = "") -> list[DeadLetter]:
        """Dead letters, oldest first, after the given id."""
        ...

    async def scan_dead(self, *, limit: int, after: str = "") -> list[LetterHead]:
        """As `list_dead`, without recipients and payloads, which may be large."""
        ...

    async def fetch_dead(self, id: str) -> tuple[DeadLetter, Payload | None] | None:
        """A whole letter with its payload, `None` where that cannot be read."""
        ...

    async def count_dead(self) -> DeadStock:
        """How many there are, without reading them."""
        ...

    async def replay_dead(self, ids: Sequence[str], *, mend: Mend | None = None) -> int:
        """Put these back to work with fresh attempts; returns how many.

        Each letter is one atomic step, and of several who replay it one counts it. With
        `mend` their work brings a body of its own, and other work of the send keeps the
        payload's; letters of other providers, and those whose job cannot be read, stay.
        """
        ...

    async def purge_dead(self, ids: Sequence[str]) -> int:
        """Forget these for good; returns how many."""
        ...


class JobQueue(JobProducer, JobConsumer, JobOperator, Protocol):
    """All of it, as an engine has it and a composition opens it.

    Whoever is given a queue to use asks for one of the ports above.
    """

    @property
    def accounts(self) -> AccountReader:
        """The accounts of the sends whose work it has."""
        ...

    @property
    def letters(self) -> LetterShelf:
        """Its dead letters, as whoever copies them sees them."""
        ...

    async def check(self) -> None:
        """Raise if the queue cannot be reached now."""
        ...

    async def close(self) -> None:
        """Release what was opened; entries still held are left for take-over."""
        ...


class RateLimiter(Protocol):
    """Token buckets that all workers share; see `core/rates.py`."""

    async def take(self, keys: Sequence[str], limits: Sequence[RateLimit]) -> list[int]:
        """Take a token for each key in turn, from all its buckets or from none.

        Returns for each 0, or the Unix millisecond from which it may be tried
        again. A key that stands twice takes twice. Raises `QueueUnavailable`.
        """
        ...
