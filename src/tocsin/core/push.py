"""A send request and the jobs that it becomes. Pure values, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from tocsin.core.device import DeviceFilter


class TargetKind(StrEnum):
    """What the strings of a batch are."""

    TOKEN = "token"
    TOPIC = "topic"
    CONDITION = "condition"


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
class SendRequest:
    """A send as the API hands it over, both spellings already joined.

    `expire_at_ms` is Unix milliseconds, 0 for never.
    """

    recipient: DeviceFilter | RawRecipient
    bodies: Mapping[str, Body]
    uid: str = ""
    analytics_uid: str = ""
    expire_at_ms: int = 0
    integration: str = ""
    correlation_id: str = ""


@dataclass(frozen=True, slots=True)
class Payload:
    """What all jobs of one request share; stored once per request."""

    push_id: str
    uid: str
    analytics_uid: str
    bodies: Mapping[str, Body]


@dataclass(frozen=True, slots=True)
class Expand:
    """Stage one: walk `filter` from `cursor` on and write batches."""

    filter: DeviceFilter
    cursor: str = ""
    page: int = 0


@dataclass(frozen=True, slots=True)
class Send:
    """Stage two: one provider, one batch.

    `device_ids` and `platforms` run parallel to `targets`, or are empty for raw
    recipients.
    """

    kind: TargetKind
    targets: tuple[str, ...]
    device_ids: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()


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

    def with_work(self, work: Expand | Send, *, id: str) -> Job:
        """The same request's next job."""
        return replace(self, work=work, id=id)


def queue_name(stage: str, provider: str) -> str:
    """`expand:fcm`, `send:fcm`, … : the name used in ports, metrics and CLI."""
    return f"{stage}:{provider}"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A job that ended without being sent, and why. It can be replayed."""

    id: str
    job: Job
    reason: str
    at_ms: int
