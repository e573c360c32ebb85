"""Devices, their topics, and what selects them. Pure values, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntFlag, StrEnum
from typing import Generic, TypeVar

T = TypeVar("T")

PLATFORMS: tuple[str, ...] = ("ios", "android", "web")

GLOBAL_USER = ""
"""The user whose topics are copied onto every device at its next register."""


class TopicOp(StrEnum):
    """What an update does to a set."""

    ADD = "add"
    REMOVE = "remove"
    SET = "set"


class TopicOrigin(IntFlag):
    """Why a device holds a topic; a topic goes when its last origin goes."""

    DEVICE = 1
    USER = 2
    GLOBAL = 4


@dataclass(frozen=True, slots=True)
class ProviderTokens:
    """Tokens of one provider, as a selector."""

    provider: str
    tokens: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DeviceFilter:
    """Values in one list are OR, different lists AND; all tags must match."""

    ids: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
    provider_tokens: tuple[ProviderTokens, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    integrations: tuple[str, ...] = ()

    def is_empty(self) -> bool:
        """Whether it selects every device."""
        return self == DeviceFilter()


@dataclass(frozen=True, slots=True)
class DeviceSelector:
    """What device_update and device_remove act on; lists combine by AND."""

    ids: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    provider_tokens: tuple[ProviderTokens, ...] = ()

    def is_empty(self) -> bool:
        """Whether nothing is selected (never "all devices")."""
        return not (self.ids or self.users or self.provider_tokens)


@dataclass(frozen=True, slots=True)
class DeviceTopicFilter:
    """Selects rows of the device-topic table; lists combine as in `DeviceFilter`."""

    device_ids: tuple[str, ...] = ()
    device_providers: tuple[str, ...] = ()
    device_platforms: tuple[str, ...] = ()
    device_users: tuple[str, ...] = ()
    device_provider_tokens: tuple[ProviderTokens, ...] = ()
    topics: tuple[str, ...] = ()
    topic_prefix: str = ""


@dataclass(frozen=True, slots=True)
class UserTopicFilter:
    """Selects rows of the user-topic table; lists combine as in `DeviceFilter`."""

    users: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    topic_prefix: str = ""


@dataclass(frozen=True, slots=True)
class Registration:
    """The whole state of a device as device_register sends it."""

    provider: str
    token: str
    platform: str
    id: str = ""
    user: str = ""
    meta: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    topics: tuple[str, ...] = ()
    timezone: str = ""
    locale: str = ""
    integration: str = ""
    webpush_keys: str = ""


@dataclass(frozen=True, slots=True)
class TopicsChange:
    """One operation on a list of topics."""

    op: TopicOp
    topics: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TagsChange:
    """One operation on a tag map; for `REMOVE` only the keys count."""

    op: TopicOp
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class DeviceChange:
    """What device_update sets; `None` leaves a field as it is."""

    user: str | None = None
    meta: Mapping[str, str] | None = None
    tags: TagsChange | None = None
    topics: TopicsChange | None = None
    timezone: str | None = None
    locale: str | None = None


@dataclass(frozen=True, slots=True)
class Device:
    """A stored device. Times are Unix seconds."""

    id: str
    provider: str
    token: str
    platform: str
    user: str = ""
    meta: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    topics: tuple[str, ...] = ()
    timezone: str = ""
    locale: str = ""
    integration: str = ""
    webpush_keys: str = ""
    created_at: int = 0
    updated_at: int = 0


@dataclass(frozen=True, slots=True)
class DeviceTopic:
    """One device holding one topic."""

    id: str
    device_id: str
    topic: str
    device: Device | None = None


@dataclass(frozen=True, slots=True)
class UserTopic:
    """One user bound to one topic."""

    id: str
    user: str
    topic: str


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Where a listing starts and how far it goes.

    `cursor` is the id of the last row of the page before, or empty.
    """

    cursor: str = ""
    limit: int = 100
    include_total: bool = False


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page in id order. `next_cursor` is empty on the last page.

    `total` counts the whole filter, or is `None` where it was not asked for.
    """

    items: tuple[T, ...]
    next_cursor: str = ""
    total: int | None = None


class Detail(StrEnum):
    """Further fields that a walk can bring of each device."""

    USER = "user"
    TIMEZONE = "timezone"
    LOCALE = "locale"
    META = "meta"


@dataclass(frozen=True, slots=True)
class DeadToken:
    """A provider says that this device's token is dead.

    The device is removed only if it was not registered again at or after `before_ms`
    (Unix milliseconds) and still holds `token`. `push_id` is the send that was answered
    so, empty where it is not known.
    """

    device_id: str
    token: str
    before_ms: int
    reason: str
    push_id: str = ""


@dataclass(frozen=True, slots=True)
class RemovedFilter:
    """Selects devices that are soft-removed, or held for that.

    Values in one list are OR, all else AND.

    A reason is as it was stored (`fcm: unregistered`, `inactive`), or the code
    after the colon alone. The times bound the removal or the hold, in Unix
    milliseconds: from `since_ms` on, up to but without `until_ms`; 0 is no bound.
    """

    ids: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    integrations: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    since_ms: int = 0
    until_ms: int = 0

    def is_empty(self) -> bool:
        """Whether it selects every removed device."""
        return self == RemovedFilter()


@dataclass(frozen=True, slots=True)
class RemovedGroup:
    """How many such devices have this in common. `integration` may be empty."""

    provider: str
    integration: str
    reason: str
    count: int
