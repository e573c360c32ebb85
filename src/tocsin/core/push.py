"""A send request and the jobs that it becomes. Pure values, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from tocsin.core.device import Detail, DeviceFilter
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
    """Targets in a provider's own terms; no device row is involved."""

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
    """How often one key may be reached.

    `key` is empty for each device by itself, else a template text. All `limits`
    must allow a push; `drop` gives up what they do not, else it is sent later.
    """

    limits: tuple[RateLimit, ...]
    key: str = ""
    drop: bool = False


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """When a device may be reached, on its own clock; both ends belong to it.

    Seconds since midnight. A start after the end spans midnight. A device without
    a timezone is reached at once with `no_tz_send_now`, else never.
    """

    after_s: int
    before_s: int
    no_tz_send_now: bool = False


@dataclass(frozen=True, slots=True)
class Templating:
    """That bodies are rendered for each device, and the texts for that.

    `localizations` are language tag → name → text.
    """

    localizations: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    use_meta: bool = False


@dataclass(frozen=True, slots=True)
class OnlineFirst:
    """What is published before a push, which then spares whoever it reached.

    `b64data` wins over `data`. `wait_ms` lies between publishing and pushing.
    """

    channel: str
    data: bytes = b""
    b64data: str = ""
    wait_ms: int = 0
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SendRequest:
    """A send as the API hands it over, both spellings already joined.

    `expire_at_ms` and `send_at_ms` are Unix milliseconds, 0 for never and for now.
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
    """That a walk leaves out users who were reached in `channel`.

    Who they are is decided from `due_ms` (Unix milliseconds) on, for all walks of
    the request together.
    """

    channel: str
    due_ms: int


@dataclass(frozen=True, slots=True)
class Expand:
    """Stage one: walk `filter` from `cursor` on and write batches.

    `details` are the columns that limits and templates of the request need.
    """

    filter: DeviceFilter
    cursor: str = ""
    page: int = 0
    details: frozenset[Detail] = frozenset()
    online: OnlineCheck | None = None


@dataclass(frozen=True, slots=True)
class Send:
    """Stage two: one provider, one batch.

    `device_ids` and `platforms` run parallel to `targets`, or are empty for raw
    recipients; so do the lists after them, which are there only when the request
    needs them. `metas` are JSON objects as text. `admitted` means that the rate
    rule of the request let these recipients pass already.
    """

    kind: TargetKind
    targets: tuple[str, ...]
    device_ids: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    timezones: tuple[str, ...] = ()
    locales: tuple[str, ...] = ()
    metas: tuple[str, ...] = ()
    admitted: bool = False

    def subset(self, indexes: Iterable[int]) -> Send:
        """The batch of only these recipients."""
        chosen = list(indexes)

        def pick(values: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(values[index] for index in chosen) if values else ()

        return Send(
            kind=self.kind,
            targets=pick(self.targets),
            device_ids=pick(self.device_ids),
            platforms=pick(self.platforms),
            users=pick(self.users),
            timezones=pick(self.timezones),
            locales=pick(self.locales),
            metas=pick(self.metas),
            admitted=self.admitted,
        )

    def slice(self, start: int, end: int) -> Send:
        """The batch of the recipients from `start` up to `end`."""
        return Send(
            kind=self.kind,
            targets=self.targets[start:end],
            device_ids=self.device_ids[start:end],
            platforms=self.platforms[start:end],
            users=self.users[start:end],
            timezones=self.timezones[start:end],
            locales=self.locales[start:end],
            metas=self.metas[start:end],
            admitted=self.admitted,
        )


@dataclass(frozen=True, slots=True)
class Job:
    """One entry of the queue. Times are Unix milliseconds, 0 for none.

    `attempt` counts tries at the provider that these recipients had before.
    """

    id: str
    push_id: str
    provider: str
    work: Expand | Send
    recipient_type: RecipientType
    accepted_at_ms: int
    integration: str = ""
    expire_at_ms: int = 0
    attempt: int = 0
    first_try_at_ms: int = 0
    correlation_id: str = ""

    @property
    def queue(self) -> str:
        """The stream that carries it: one per stage and provider."""
        stage = "expand" if isinstance(self.work, Expand) else "send"
        return queue_name(stage, self.provider)

    @property
    def credential(self) -> str:
        """The identifier of the integration that it goes through."""
        return self.integration or self.provider

    def with_work(self, work: Expand | Send, *, id: str) -> Job:
        """The same request's next job."""
        return replace(self, work=work, id=id)


def queue_name(stage: str, provider: str) -> str:
    """`expand:fcm`, `send:fcm`, … : the name used in ports, metrics and CLI."""
    return f"{stage}:{provider}"


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
