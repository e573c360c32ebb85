"""Channels: what is published, who is present, where a stream stands. Pure values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class ClientInfo:
    """One connection as others see it. Both infos are raw JSON or binary, or empty."""

    user: str
    client: str
    conn_info: bytes = b""
    chan_info: bytes = b""


@dataclass(frozen=True, slots=True)
class StreamPosition:
    """Where a stream stands. Offsets start at 1; an epoch names one life of it."""

    offset: int = 0
    epoch: str = ""


@dataclass(slots=True)  # frozen ones take three times as long to make
class Publication:
    """One message of a channel. `offset` is 0 where no history keeps it.

    `info` is set when a client published it. `version` is the publisher's own.
    """

    data: bytes
    offset: int = 0
    info: ClientInfo | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    version: int = 0


@dataclass(frozen=True, slots=True)
class PublishOptions:
    """How a broker shall take a publication. Times are seconds.

    History is kept when `history_size` and `history_ttl_s` are both above 0.
    `delta` asks for the previous publication to be handed to listeners.
    """

    history_size: int = 0
    history_ttl_s: int = 0
    history_meta_ttl_s: int = 0
    idempotency_key: str = ""
    version: int = 0
    version_epoch: str = ""
    delta: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)
    info: ClientInfo | None = None


@dataclass(slots=True)  # as above
class PublishResult:
    """Position after the publish; empty without history.

    `suppressed` says why nothing was published: `idempotency` or `version`.
    """

    position: StreamPosition = StreamPosition()
    suppressed: str = ""


@dataclass(frozen=True, slots=True)
class HistoryFilter:
    """What to read. `limit` 0 is only the position, below 0 everything.

    Forward after `since` (or from the start); `reverse` before it (or from the
    top), newest first.
    """

    limit: int = 0
    since: StreamPosition | None = None
    reverse: bool = False


@dataclass(frozen=True, slots=True)
class History:
    """Publications in the order asked for, and the stream's top."""

    publications: tuple[Publication, ...]
    top: StreamPosition


@dataclass(frozen=True, slots=True)
class PresenceStats:
    """How many are present; an empty user id counts as one user."""

    num_clients: int
    num_users: int


class RecoveryMode(StrEnum):
    """What a subscriber gets back after an absence."""

    STREAM = "stream"
    CACHE = "cache"


@dataclass(frozen=True, slots=True)
class ChannelOptions:
    """The options of a namespace, under their published names. Times are seconds."""

    presence: bool = False
    join_leave: bool = False
    force_push_join_leave: bool = False
    history_size: int = 0
    history_ttl: int = 0
    history_meta_ttl: int = 0
    force_positioning: bool = False
    allow_positioning: bool = False
    force_recovery: bool = False
    allow_recovery: bool = False
    force_recovery_mode: str = ""
    auto_cache_recover: bool = False
    allowed_delta_types: tuple[str, ...] = ()
    delta_publish: bool = False
    allow_tags_filter: bool = False
    allow_subscribe_for_client: bool = False
    allow_subscribe_for_anonymous: bool = False
    allow_publish_for_subscriber: bool = False
    allow_publish_for_client: bool = False
    allow_publish_for_anonymous: bool = False
    allow_history_for_subscriber: bool = False
    allow_history_for_client: bool = False
    allow_history_for_anonymous: bool = False
    allow_presence_for_subscriber: bool = False
    allow_presence_for_client: bool = False
    allow_presence_for_anonymous: bool = False
    allow_user_limited_channels: bool = False
    channel_regex: str = ""
    publication_data_format: str = ""
    subscription_type: str = ""

    @property
    def keeps_history(self) -> bool:
        """Whether publications are stored."""
        return self.history_size > 0 and self.history_ttl > 0


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """One node as it last told about itself; `uptime_s` is whole seconds."""

    uid: str
    name: str
    version: str
    num_clients: int = 0
    num_users: int = 0
    num_subs: int = 0
    num_channels: int = 0
    uptime_s: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    metrics_interval_s: float = 0.0
