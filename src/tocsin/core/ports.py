"""Every seam of Tocsin with its contract: what is atomic, ordered, or empty.

Each port has one test file in `tests/contracts/` that runs on every
implementation. Nothing here knows a technology.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from tocsin.core.device import (
    DeadToken,
    Detail,
    Device,
    DeviceChange,
    DeviceFilter,
    DeviceSelector,
    DeviceTopic,
    DeviceTopicFilter,
    Page,
    PageRequest,
    Registration,
    RemovedFilter,
    RemovedGroup,
    TargetPage,
    TopicsChange,
    UserTopic,
    UserTopicFilter,
)
from tocsin.core.outcome import Outcome
from tocsin.core.push import Body, DeadLetter, Job, Payload, TargetKind
from tocsin.core.rates import RateLimit


class Clock(Protocol):
    """Wall-clock time, so that tests can move it."""

    def now_ms(self) -> int:
        """Unix milliseconds."""
        ...


class DeviceStore(Protocol):
    """The device registry. Every method is one transaction."""

    async def register(self, registration: Registration) -> str:
        """Create or overwrite a device as a whole and return its id.

        (provider, token) is unique: a known pair updates that device and keeps
        its id. With an id given, that device takes the token; another row that
        held the pair is merged away. A well-formed id without a row falls back
        to the token match, else to a fresh id. Afterwards the device's topics
        are exactly `topics`, those bound to `user` and those bound to
        `GLOBAL_USER`, each with its origins. Safe under races: concurrent
        registrations of one token all return the same id. A soft-removed
        device that registers again is alive again under its id.
        Raises `BadRequest("topics", …)` over the topics-per-device limit and
        `BadRequest("id", …)` for an id that no server made.
        """
        ...

    async def update(
        self,
        selector: DeviceSelector,
        change: DeviceChange,
        *,
        switch_user_topics: bool,
    ) -> int:
        """Change all selected devices and return how many there were.

        Unknown ids are no error. With `switch_user_topics`, a change of owner
        drops the topics that came from the old user and adds those bound to
        the new one. `updated_at` moves.
        """
        ...

    async def remove(self, selector: DeviceSelector) -> int:
        """Delete all selected devices with their topics; returns how many."""
        ...

    async def fetch_page(
        self,
        filter: DeviceFilter,
        page: PageRequest,
        *,
        include_topics: bool = False,
    ) -> Page[Device]:
        """Devices in id order; soft-removed ones are hidden."""
        ...

    async def update_topics(
        self, device_id: str, change: TopicsChange, *, owner: str = ""
    ) -> None:
        """Change a device's own topics; doubled add and absent remove are no-ops.

        Raises `NotFound` for an unknown device and `Conflict` where `owner` is
        given and is not its user; nothing changes on either.
        """
        ...

    async def fetch_topic_page(
        self,
        filter: DeviceTopicFilter,
        page: PageRequest,
        *,
        include_device: bool = False,
    ) -> Page[DeviceTopic]:
        """Device topics in id order; `topic_prefix` is literal text."""
        ...

    async def fetch_targets(
        self,
        filter: DeviceFilter,
        *,
        provider: str,
        cursor: str,
        limit: int,
        details: Collection[Detail] = (),
    ) -> TargetPage:
        """The hot walk: live devices of one provider after `cursor`, by id.

        A device that several topics match appears once. The tokens are targets:
        for Web Push what `webpush.make_target` makes of endpoint and keys. Only
        the named details are brought along.
        """
        ...

    async def remove_dead(self, dead: Sequence[DeadToken]) -> list[str]:
        """Soft-remove by the rule of `DeadToken`; returns the ids that went."""
        ...

    async def remove_inactive(
        self, *, older_than_ms: int, limit: int
    ) -> Mapping[str, int]:
        """Soft-remove up to `limit` live devices not updated since that time.

        Unix milliseconds. Returns how many went, by provider; empty means that
        none is left. One that registers again at that moment stays.
        """
        ...

    async def purge_removed(self, *, older_than_ms: int, limit: int) -> int:
        """Delete for good what was soft-removed before that Unix millisecond."""
        ...

    async def count_removed(self, filter: RemovedFilter) -> list[RemovedGroup]:
        """What is soft-removed, the largest group first."""
        ...

    async def restore_removed(self, filter: RemovedFilter, *, limit: int) -> list[str]:
        """Bring up to `limit` soft-removed devices back; returns their ids.

        Empty means that none is left. They have the topics that they had, those of
        their user as they are now. A device that registered again meanwhile is
        alive, and stays as it is. Each counts as updated now.
        """
        ...


@dataclass(frozen=True, slots=True)
class RecentVerdicts:
    """What one credential was answered last, over all workers and sends.

    `letters` has one letter per answer about a token (see `core/outcome.py`), the
    oldest first. `delivered` counts the deliveries that were ever noted.
    """

    letters: str = ""
    delivered: int = 0


class VerdictStore(Protocol):
    """What all workers know together of credentials, and of suspected devices.

    A credential is a provider and the identifier of an integration.
    """

    async def note(
        self, provider: str, integration: str, letters: str, *, delivered: int
    ) -> RecentVerdicts:
        """Add answers, the oldest first, and return the last of all workers.

        Atomic: two calls at once both count. `delivered` are the deliveries since
        the call before, which may be more than `letters` tells. What is older than
        a day without any answer is forgotten.
        """
        ...

    async def suspect(
        self, accused: Sequence[DeadToken], *, delivered: int, proof: int
    ) -> list[str]:
        """Act on guarded verdicts that are believed; returns the ids that went.

        A device is only marked the first time. It is soft-removed, by the rule of
        `DeadToken`, where the mark is older than the send and the credential has
        made at least `proof` deliveries since: `delivered` counts them as `note`
        does. A registration takes the mark away.
        """
        ...

    async def fetch_suspects(
        self, provider: str, integration: str, *, limit: int
    ) -> set[str]:
        """Ids of up to `limit` marked devices of this credential."""
        ...

    async def acquit(self, ids: Collection[str]) -> None:
        """Take the mark from these devices: something was delivered to them."""
        ...

    async def acquit_all(self, provider: str, integration: str) -> None:
        """Take the mark from all devices of a credential that is in doubt."""
        ...


class UserTopicStore(Protocol):
    """Which topics a user's devices shall hold."""

    async def update(self, user: str, change: TopicsChange) -> None:
        """Change the list and, in the same transaction, that user's devices.

        For `GLOBAL_USER` devices follow only at their next registration.
        """
        ...

    async def fetch_page(
        self, filter: UserTopicFilter, page: PageRequest
    ) -> Page[UserTopic]:
        """User topics in id order; `topic_prefix` is literal text."""
        ...


@dataclass(frozen=True, slots=True)
class UidClaim:
    """Who owns a uid. `accepted` means that its work is already queued.

    `epoch` names the queue's data that has it; empty where that is not known.
    """

    push_id: str
    accepted: bool
    epoch: str = ""


UID_TAKEN = "uid: was used for a send with other content"
"""What every store says of a uid in a `Conflict`."""


class UidStore(Protocol):
    """Remembers the uid of accepted sends, so that a repeat queues nothing."""

    async def claim(
        self, uid: str, *, fingerprint: bytes, push_id: str, ttl_s: float
    ) -> UidClaim:
        """Take the uid, or return the claim that stands.

        Of two first claims at once exactly one wins; both get its `push_id`. With
        `ttl_s` 0 a first claim ends at once, so that it only asks.
        Raises `Conflict(UID_TAKEN)` when the fingerprint differs.
        """
        ...

    async def confirm(self, uid: str, *, epoch: str = "") -> None:
        """Mark the claim as accepted; called after the work was queued.

        `epoch` names the data of the queue that has it.
        """
        ...

    async def purge_expired(self, *, limit: int) -> int:
        """Forget uids over their ttl; returns how many (0 where it is automatic)."""
        ...


@dataclass(slots=True)
class Delivery:
    """A job in the hands of one worker, until settled or taken over.

    `count` is how often it was handed out, 1 the first time, without the hand-outs
    whose holder turned out to live. `done` is a
    bitmap over the recipients of a `Send`, least significant bit first: those
    whose result was recorded by an earlier holder; it may be empty. `receipt`
    belongs to the queue: the same one is given again to whoever takes over.

    `held_until` is the moment of this process (`elapsed_s`) from which its worker
    starts no request for it any more, unless `keep_alive` has moved it: soon
    afterwards another may have it. It is counted from before the queue was asked,
    so that no delay on the way makes it too late. `lost` is set by the worker once
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

    `epoch` is a name that the data got once: another one means other data. `reached`
    rises with every request that is accepted, and falls only where data is lost.
    `certain` is the highest of it that was confirmed to this process, and `missing`
    how much of that this process found gone since it began, under any epoch.
    """

    epoch: str
    reached: int
    certain: int = 0
    missing: int = 0


@dataclass(frozen=True, slots=True)
class QueueMark:
    """What is remembered of the queue's data of one epoch.

    `accepted` is a `QueuePosition.reached` that surely was reached. `lost` says what
    was last found to be lost, at `lost_at_ms` (Unix milliseconds, 0 for never).
    """

    epoch: str
    accepted: int = 0
    lost_at_ms: int = 0
    lost: str = ""


@dataclass(frozen=True, slots=True)
class Entered:
    """The mark of data that was found, and what that says.

    `is_loss`: other data with accepted work was at its place before, and this caller is
    the first to know. `is_moved`: this data is new, and there is other at other places.
    """

    mark: QueueMark
    is_loss: bool
    is_moved: bool


LOSS_TOLD_ONCE_MS = 60_000
"""Processes that find the same loss within this time tell it once."""


class QueueMarkStore(Protocol):
    """Remembers apart from the queue what the queue's data was."""

    async def fetch(self, epoch: str) -> QueueMark | None:
        """The mark of this epoch, or `None`."""
        ...

    async def enter(
        self,
        epoch: str,
        place: str,
        *,
        lost: str,
        now_ms: int,
        before: str = "",
        had_work: bool = False,
    ) -> Entered:
        """Data of this name was found at this place: what else was there is replaced.

        Not so what was there before the queue moved to another place, and is not
        `before`, the data that the caller itself has seen. Where replaced data had
        accepted work, by its mark or because the caller `had_work` in it, `lost` is
        noted in the new mark. Of several callers at once one is told of the loss.
        """
        ...

    async def advance(self, epoch: str, accepted: int, *, now_ms: int) -> None:
        """Raise the mark to this number, never lower it."""
        ...

    async def report_loss(
        self, epoch: str, *, reached: int, lost: str, now_ms: int
    ) -> bool:
        """The data is only at `reached`: lower the mark to that, and note the loss.

        `False` when somebody else noted one within `LOSS_TOLD_ONCE_MS`; that note
        stands then. Whoever lowers a mark moves its time on: one that is lower at the
        same time as before tells that the marks themselves went back.
        """
        ...

    async def is_replaced(self, epoch: str) -> bool:
        """Whether other data has come in its place; not so for an unknown epoch."""
        ...


class JobQueue(Protocol):
    """The way from the API to the workers; at-least-once, never less.

    An entry leaves only by `settle`. One that its worker neither settles nor
    keeps alive is handed to another within the take-over time.
    """

    async def enqueue(
        self,
        payload: Payload,
        jobs: Sequence[Job],
        *,
        once_ttl_s: float = 0,
        due_ms: int = 0,
    ) -> bool:
        """Store the payload and all jobs in one atomic step.

        With `once_ttl_s`, a second call with the same `push_id` within that
        time stores nothing and returns `False`. With `due_ms` (Unix
        milliseconds) the jobs are handed out from then on, and until one of them
        was, `cancel` takes it back. Raises `QueueFull` when one of the queues has
        its limit of unfinished entries; nothing is stored then. For a payload
        that is `reliable`, it returns once a second server has the entries,
        where the engine has one; `QueueUnavailable` says that none got them in
        time, and a repeat is safe where `once_ttl_s` is given.
        """
        ...

    async def cancel(self, uid: str) -> list[Job]:
        """Take back jobs that were enqueued under this uid with a later `due_ms`.

        Returns what will never be handed out, nothing of it is left; what was
        handed out before is not touched. An unknown uid is no error. Of a job
        that falls due at that moment either happens, never both.
        """
        ...

    async def receive(
        self, queues: Sequence[str], *, limit: int, wait_s: float
    ) -> list[Delivery]:
        """Up to `limit` due entries, waiting at most `wait_s` for the first.

        Moves due delayed entries and takes over those of silent workers, which may
        be this one: whoever still has that receipt in hand has a new hold on it. An
        entry that cannot be decoded goes to the dead letters with the reason.
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
    ) -> bool:
        """End a delivery and add what follows from it, in one atomic step.

        `follow` are (job, due Unix milliseconds or 0 for now); `dead` are
        (job, reason). Both ignore the backlog limit: that work is accepted.
        The payload goes with the request's last job (dead letters keep a copy).
        Returns `False`, and adds nothing, when somebody else settled it before:
        then the caller counts and reports nothing either.
        """
        ...

    async def keep_alive(self, deliveries: Sequence[Delivery]) -> list[str]:
        """Renew the hold on these; returns the receipts that were lost.

        It moves `held_until` of each that was renewed. One that is neither lost nor
        moved could not be judged now, and is asked for again. It waits for nothing
        that other calls of this process do.

        Whoever lost one and lives to ask here was not ended by it: the hand-out that
        took it away is not counted, see `Delivery.count`.
        """
        ...

    async def excuse(self, deliveries: Sequence[Delivery]) -> None:
        """Do not count the last hand-out of these: who had them lives and has them."""
        ...

    async def find_queued(self, deliveries: Sequence[Delivery]) -> set[str]:
        """Of these, the receipts whose entry is in the queue, whoever holds it."""
        ...

    async def position(self) -> QueuePosition:
        """Which data this is, and how far it has come; see there."""
        ...

    async def waiting(
        self, queues: Sequence[str], *, only_due: bool = False
    ) -> dict[str, int]:
        """Entries per queue that nobody holds, delayed ones included.

        With `only_due`, those alone that could be handed out now.
        """
        ...

    async def list_dead(self, *, limit: int, after: str = "") -> list[DeadLetter]:
        """Dead letters, oldest first, after the given id."""
        ...

    async def replay_dead(self, ids: Sequence[str]) -> int:
        """Put these back to work with fresh attempts; returns how many."""
        ...

    async def purge_dead(self, ids: Sequence[str]) -> int:
        """Forget these for good; returns how many."""
        ...

    async def now_ms(self) -> int | None:
        """The clock that judges what is due, in Unix milliseconds.

        Every `due_ms` is a time of this clock, whatever a caller's own says. `None`
        where it is the clock of this machine.
        """
        ...

    async def check(self) -> None:
        """Raise if the queue cannot be reached now."""
        ...

    async def close(self) -> None:
        """Release what was opened; entries still held are left for take-over."""
        ...


@dataclass(frozen=True, slots=True)
class SharedToken:
    """A token that a process made, and when, in Unix milliseconds."""

    value: str = field(repr=False)
    made_at_ms: int


TOKEN_AHEAD_MS = 15 * 60_000
"""Made so long after now, a token comes from a clock that is wrong."""


class TokenStore(Protocol):
    """Where processes agree on the tokens that they present to a push service."""

    async def agree(
        self, name: str, offered: SharedToken, *, made_after_ms: int, ttl_s: float
    ) -> SharedToken:
        """The token under this name that was made after `made_after_ms`.

        Where none stands, or only an older one, `offered` takes its place. Of
        several offers at once exactly one wins and all get it. A token that was made
        `TOKEN_AHEAD_MS` after the store's now stands for nobody, and its offerer has
        it for itself: the push service will not take it from anybody. What nobody
        replaced within `ttl_s` is forgotten. Raises `ApiError` when the store
        cannot be reached.
        """
        ...


@dataclass(frozen=True, slots=True)
class Stored:
    """A queue entry as another engine takes it over: bytes, not nouns.

    `id` names it in the engine that it leaves. `due_ms` is Unix milliseconds, 0
    for now. `scheduled_uid` is the uid under which it can be cancelled, or empty.
    """

    id: str
    queue: str
    push_id: str
    job: bytes
    due_ms: int = 0
    scheduled_uid: str = ""


@dataclass(frozen=True, slots=True)
class StoredLetter:
    """A dead letter as another engine takes it over."""

    id: str
    queue: str
    push_id: str
    letter: bytes
    raw: bytes
    payload: bytes


class QueueStock(Protocol):
    """All that a queue keeps, for moving it into another engine.

    The one that gives has no worker meanwhile. Every step can be repeated.
    """

    async def origin(self) -> str:
        """The name of this queue, made once and never given to another."""
        ...

    async def count_held(self) -> int:
        """Entries in the hands of a worker that is alive."""
        ...

    async def fetch_entries(
        self, *, limit: int
    ) -> tuple[list[Stored], dict[str, bytes]]:
        """Some entries that no living worker holds, and payloads by push id.

        Recipients whose result was recorded are left out of the job.
        """
        ...

    async def fetch_letters(self, *, limit: int) -> list[StoredLetter]:
        """Some dead letters, oldest first."""
        ...

    async def take_in(
        self,
        entries: Sequence[Stored],
        payloads: Mapping[str, bytes],
        letters: Sequence[StoredLetter] = (),
        *,
        origin: str,
    ) -> None:
        """Store each of these in an atomic step; the backlog limit does not count.

        What was taken in from this `origin` under the same id before is left out,
        so that a move that broke off can begin anew.
        """
        ...

    async def give_up(
        self, entries: Sequence[Stored], letters: Sequence[StoredLetter] = ()
    ) -> None:
        """Forget what another engine has now, payloads with their last entry."""
        ...


class RateLimiter(Protocol):
    """Token buckets that all workers share; see `core/rates.py`."""

    async def take(self, keys: Sequence[str], limits: Sequence[RateLimit]) -> list[int]:
        """Take a token for each key in turn, from all its buckets or from none.

        Returns for each 0, or the Unix millisecond from which it may be tried
        again. A key that stands twice takes twice. Raises `QueueUnavailable`.
        """
        ...


class Pace(Protocol):
    """Tells a provider whether it may start one more request."""

    def ready(self) -> bool:
        """Whether the next request may start now; cheap, called per recipient."""
        ...

    async def wait(self) -> bool:
        """Wait until `ready`; `False` means stop: start no further request."""
        ...


@dataclass(frozen=True, slots=True)
class Batch:
    """What a provider gets: the message, and who shall have it.

    `pending` are the indexes of `targets` to send to, in order. `bodies` runs
    parallel to `targets` where rendering made each one's message its own; else
    all get `body`. `validate_only` asks the provider to check without delivering.
    """

    body: Body
    kind: TargetKind
    targets: Sequence[str]
    pending: Sequence[int]
    deadline_ms: int = 0
    validate_only: bool = False
    bodies: Sequence[Body] | None = None


Report = Callable[[int, Outcome], None]
"""Takes the index of a target and its outcome, once per index started."""


class PushProvider(Protocol):
    """One configured credential of one push service."""

    name: str
    integration: str
    batch_size: int

    async def send(self, batch: Batch, report: Report, pace: Pace) -> None:
        """Send to all pending targets, as fast as `pace` lets it.

        Returns when every request that was started has been reported. Faults
        of single recipients, of the credential or of the network are outcomes,
        never exceptions. After `pace.wait()` returned `False` the rest is left
        unreported. Credential refresh (once, on 401) happens inside.
        """
        ...

    async def close(self) -> None:
        """Close connections; called once, with no send under way."""
        ...


@dataclass(frozen=True, slots=True)
class Ticket:
    """An accepted message whose fate the service tells only later, in a receipt.

    `id` is the service's. `device_id` and `token` are empty for raw recipients.
    `sent_at_ms` is Unix milliseconds from before the send began.
    """

    id: str
    provider: str
    integration: str
    sent_at_ms: int
    device_id: str = ""
    token: str = field(default="", repr=False)


class ReceiptStore(Protocol):
    """Tickets until their receipts have been acted on."""

    async def add(self, tickets: Sequence[Ticket], *, due_at_ms: int) -> None:
        """Keep them, due at that Unix millisecond; a known id changes nothing."""
        ...

    async def claim(
        self, integration: str, *, now_ms: int, next_due_ms: int, limit: int
    ) -> list[Ticket]:
        """Up to `limit` due tickets, the longest due first.

        They are due again at `next_due_ms` unless dropped. Of several claims at
        once each ticket goes to one.
        """
        ...

    async def drop(self, tickets: Sequence[Ticket]) -> list[Ticket]:
        """Forget these; returns those that there were.

        The others were dropped by somebody who claimed them later: who asks for
        receipts longer than until `next_due_ms` is not the only one.
        """
        ...

    async def purge_overdue(self, *, due_before_ms: int, limit: int) -> int:
        """Forget what nobody claims any more; returns how many."""
        ...


@runtime_checkable
class ReceiptSource(Protocol):
    """A provider whose success is only a ticket: `message_id` is its id."""

    name: str
    integration: str
    receipt_delay_s: float
    receipt_batch_size: int

    async def fetch_receipts(
        self, ids: Sequence[str]
    ) -> Mapping[str, Outcome] | Outcome:
        """What became of up to `receipt_batch_size` tickets, by id.

        Those that the service has no receipt of yet are left out. One `Outcome`
        is the fault of the whole request; it is never raised.
        """
        ...


class ResultSink(Protocol):
    """Hears every result (analytics, the demo's summary). Must not block."""

    def record(
        self, job: Job, payload: Payload, results: Sequence[tuple[int, Outcome, int]]
    ) -> None:
        """Results of one batch: (target index, outcome, Unix ms of the answer)."""
        ...
