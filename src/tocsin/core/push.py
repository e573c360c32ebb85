"""A send request and the jobs that it becomes. Pure values, no I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import NamedTuple, NotRequired, TypeAlias, TypedDict

from tocsin.core.device import Detail, DeviceFilter
from tocsin.core.lanes import EXPAND, SEND, Priority, queue_name
from tocsin.core.rates import RateLimit
from tocsin.core.target_kind import TargetKind as TargetKind


class RecipientType(StrEnum):
    """The `recipient_type` label of metrics and analytics."""

    FILTER = "filter"
    TOKENS = "tokens"
    TOPIC = "topic"
    CONDITION = "condition"


@dataclass(frozen=True, slots=True)
class RawRecipient:
    """Targets in a provider's own terms, with no device row behind them."""

    provider: str
    kind: TargetKind
    targets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Body:
    """One provider's message: its own JSON, untouched, and its headers."""

    message: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RateRule:
    """How often pushes may reach the devices that share a key.

    `key` is the text of a template, or empty: then each device is limited by itself.
    A push needs all `limits` to allow it; with `drop` it is given up otherwise, else
    sent later.
    """

    limits: tuple[RateLimit, ...]
    key: str = ""
    drop: bool = False


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """When a device may be reached, on its own clock; both ends are inside.

    Seconds since midnight. A window whose start is after its end spans midnight. A
    device without a timezone is reached at once with `no_tz_send_now`, else never.
    """

    after_s: int
    before_s: int
    no_tz_send_now: bool = False


@dataclass(frozen=True, slots=True)
class Templating:
    """Asks for bodies that are rendered for each device, and brings the texts.

    `localizations` are language tag → name → text. With `use_meta` templates may use
    the metadata of a device.
    """

    localizations: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    use_meta: bool = False


@dataclass(frozen=True, slots=True)
class OnlineFirst:
    """What is published before a push; users whom it reaches get no push then.

    `b64data` wins over `data`. `wait_ms` lies between publishing and pushing.
    """

    channel: str
    data: bytes = b""
    b64data: str = ""
    wait_ms: int = 0
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SendRequest:
    """A send as the API hands it over, whichever form the caller used.

    `expire_at_ms` and `send_at_ms` are Unix milliseconds, 0 for never and for now.
    Without a `priority` the recipient decides. `caller` is the name of the key that it
    came with, if it has one; it stands in log lines alone. `traceparent` is the trace
    context of the call (`core/traces.py`), empty while tracing is off.
    """

    recipient: DeviceFilter | RawRecipient
    bodies: Mapping[str, Body]
    uid: str = ""
    analytics_uid: str = ""
    expire_at_ms: int = 0
    integration: str = ""
    correlation_id: str = ""
    send_at_ms: int = 0
    reliable: bool = False
    rate: RateRule | None = None
    window: TimeWindow | None = None
    templating: Templating | None = None
    online_first: OnlineFirst | None = None
    priority: Priority | None = None
    caller: str = ""
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class Payload:
    """What all jobs of one request share; stored once per request."""

    push_id: str
    uid: str
    analytics_uid: str
    bodies: Mapping[str, Body]
    reliable: bool = False
    rate: RateRule | None = None
    window: TimeWindow | None = None
    templating: Templating | None = None


@dataclass(frozen=True, slots=True)
class OnlineCheck:
    """Asks a walk to leave out users who were reached in `channel`.

    Who was reached is decided at `due_ms` (Unix milliseconds) or soon after, once for
    all walks of the request.
    """

    channel: str
    due_ms: int


@dataclass(frozen=True, slots=True)
class Expand:
    """Stage one: walk `filter` from `cursor` on and write batches.

    `details` are the columns that limits and templates of the request need. `until` is
    the id of the last device, or empty for all of them.
    """

    filter: DeviceFilter
    cursor: str = ""
    page: int = 0
    details: frozenset[Detail] = frozenset()
    online: OnlineCheck | None = None
    until: str = ""


class Recipient(NamedTuple):
    """One recipient of a batch; all but `target` are empty where they are not known."""

    target: str
    device_id: str = ""
    platform: str = ""
    user: str = ""
    timezone: str = ""
    locale: str = ""
    meta: str = ""


@dataclass(frozen=True, slots=True)
class Recipients:
    """The recipients of a batch: one value that holds a column for each field.

    A column runs parallel to `targets`, or is empty: raw recipients have no device,
    and the last four columns are there only if the request needs them. `metas` are
    JSON objects as text.

    Columns, since the queue's message has them, and 500 recipients at a time are read,
    cut and counted by them. With one value for each recipient, reading from the queue
    took 350 ns a recipient (1,100 ns as frozen dataclasses) and a look at one 90 ns,
    instead of 170 ns and 70 ns: one percent of the 26 us of CPU that a push costs.
    Where that does not count, `recipients[index]` is such a value.
    """

    targets: tuple[str, ...] = ()
    device_ids: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    timezones: tuple[str, ...] = ()
    locales: tuple[str, ...] = ()
    metas: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> Recipient:
        # Written out, since a loop over the columns takes half as long again.
        return Recipient(
            self.targets[index],
            self.device_ids[index] if self.device_ids else "",
            self.platforms[index] if self.platforms else "",
            self.users[index] if self.users else "",
            self.timezones[index] if self.timezones else "",
            self.locales[index] if self.locales else "",
            self.metas[index] if self.metas else "",
        )

    @property
    def is_whole(self) -> bool:
        """Whether every column is as long as the targets, or empty."""
        size = len(self.targets)
        return all(len(each) == size for each in self._columns() if each)

    def undone(self, done: bytes) -> list[int]:
        """Indexes of those that a bitmap such as `Delivery.done` does not name."""
        size = len(self.targets)
        if not any(done):
            return list(range(size))
        bits = int.from_bytes(done, "little")
        return [index for index in range(size) if not bits >> index & 1]

    def subset(self, indexes: Iterable[int]) -> Recipients:
        """Only these, in this order."""
        chosen = list(indexes)
        return Recipients(
            *[
                tuple([each[i] for i in chosen]) if each else ()
                for each in self._columns()
            ]
        )

    def slice(self, start: int, end: int) -> Recipients:
        """Those from `start` up to `end`."""
        return Recipients(*[each[start:end] for each in self._columns()])

    def _columns(self) -> tuple[tuple[str, ...], ...]:
        return (
            self.targets,
            self.device_ids,
            self.platforms,
            self.users,
            self.timezones,
            self.locales,
            self.metas,
        )


@dataclass(frozen=True, slots=True)
class RecipientPage:
    """Some of the devices of a filter, in the order of their ids.

    `cursor` is the last id, or empty when no further page exists.
    """

    recipients: Recipients
    cursor: str = ""


@dataclass(frozen=True, slots=True)
class Send:
    """Stage two: one batch for one provider.

    `admitted` means that these recipients have passed the rate rule of the request
    already, and take no second token.
    """

    kind: TargetKind
    recipients: Recipients
    admitted: bool = False

    def subset(self, indexes: Iterable[int]) -> Send:
        """The batch of only these recipients."""
        return replace(self, recipients=self.recipients.subset(indexes))


@dataclass(frozen=True, slots=True, kw_only=True)
class _OfRequest:
    """What a job knows of its request. Times are Unix milliseconds, 0 for none.

    `attempt` counts the failed tries that these recipients had before. The first try,
    or wait for a paused credential, was at `first_try_at_ms`; in a walk, the first
    fault of the channel engine. `unit` says where in the account of the send it counts
    (`core/accounts.py`); for a walk it is the walk's own name. It is empty in jobs of
    releases before accounts. `body` is the one that an operator gave dead letters of
    this provider, instead of the send's. `traceparent` is the trace context of the call
    that the request came by, empty where it was not traced.
    """

    id: str
    push_id: str
    provider: str
    recipient_type: RecipientType
    accepted_at_ms: int
    integration: str = ""
    expire_at_ms: int = 0
    attempt: int = 0
    first_try_at_ms: int = 0
    correlation_id: str = ""
    unit: str = ""
    priority: Priority = Priority.NORMAL
    body: Body | None = None
    traceparent: str = ""

    @property
    def body_key(self) -> str:
        """What batches with one body of one send share."""
        if self.body is None:
            return self.push_id
        digest = hashlib.sha256(self.body.message)
        for name, value in sorted(self.body.headers.items()):
            digest.update(f"\0{name}\0{value}".encode())
        return f"{self.push_id}~{digest.hexdigest()[:16]}"

    @property
    def credential(self) -> str:
        """The identifier of the integration that it is sent through."""
        return self.integration or self.provider


@dataclass(frozen=True, slots=True, kw_only=True)
class SendJob(_OfRequest):
    """An entry of the queue whose work is a batch."""

    work: Send

    @property
    def queue(self) -> str:
        """The queue that carries it: one per stage, provider and priority.

        What was tried before, or waited for its credential, has one of its own, so
        that it never comes before fresh work.
        """
        is_retry = self.attempt > 0 or self.first_try_at_ms > 0
        return queue_name(SEND, self.provider, self.priority, is_retry=is_retry)

    def part(self, indexes: Iterable[int], *, id: str) -> SendJob:
        """The job of only these recipients."""
        return replace(self, work=self.work.subset(indexes), id=id)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpandJob(_OfRequest):
    """An entry of the queue whose work is a page of a walk."""

    work: Expand

    @property
    def queue(self) -> str:
        """The queue that carries it: one per stage, provider and priority."""
        return queue_name(EXPAND, self.provider, self.priority)

    @property
    def page_unit(self) -> str:
        """Where the recipients of this page count; empty without an account."""
        return f"{self.unit}:{self.work.page}" if self.unit else ""

    def batch(self, work: Send, *, id: str) -> SendJob:
        """The job of a batch that the walk has found; it counts its own tries."""
        # `first_try_at_ms` is left out: in a walk it is about the channel engine.
        return SendJob(
            id=id,
            push_id=self.push_id,
            provider=self.provider,
            work=work,
            recipient_type=self.recipient_type,
            accepted_at_ms=self.accepted_at_ms,
            integration=self.integration,
            expire_at_ms=self.expire_at_ms,
            attempt=self.attempt,
            correlation_id=self.correlation_id,
            unit=self.page_unit,
            priority=self.priority,
            body=self.body,
            traceparent=self.traceparent,
        )


class JobFields(TypedDict):
    """The fields that both kinds of job share, except id and work; see there."""

    push_id: str
    provider: str
    recipient_type: RecipientType
    accepted_at_ms: int
    integration: NotRequired[str]
    expire_at_ms: NotRequired[int]
    attempt: NotRequired[int]
    first_try_at_ms: NotRequired[int]
    correlation_id: NotRequired[str]
    unit: NotRequired[str]
    priority: NotRequired[Priority]
    body: NotRequired[Body | None]
    traceparent: NotRequired[str]


Job: TypeAlias = ExpandJob | SendJob
"""One entry of the queue; its type decides which stage works on it."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A job that ended without being sent, and why. It can be replayed.

    `uid` is that of its send, empty where it cannot be read.
    """

    id: str
    job: Job
    reason: str
    at_ms: int
    uid: str = ""
