"""The realtime corridor: broker, presence, control bus, and the state of users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from tocsin.core.channel import (
    ClientInfo,
    History,
    HistoryFilter,
    NodeInfo,
    PresenceStats,
    Publication,
    PublishOptions,
    PublishResult,
    StreamPosition,
)
from tocsin.core.control import ControlCommand, Target


class BrokerListener(Protocol):
    """Hears what arrives for channels that this node subscribed to.

    Called from the event loop, in the order of each channel's stream. Must not
    block and must not raise.
    """

    def on_publication(
        self,
        channel: str,
        publication: Publication,
        position: StreamPosition,
        previous: bytes | None,
    ) -> None:
        """A publication came; `position` is empty without history.

        `previous` is the data of the publication before it in the stream, where
        delta was asked for; `None` without delta, or when there is none.
        """
        ...

    def on_join(self, channel: str, info: ClientInfo) -> None:
        """A subscriber came."""
        ...

    def on_leave(self, channel: str, info: ClientInfo) -> None:
        """A subscriber went."""
        ...

    def on_gap(self) -> None:
        """Messages may have been missed (connection to the broker was lost).

        Positions of every positioned subscriber must be checked.
        """
        ...


class Broker(Protocol):
    """Pub/sub and history of channels; every publish is atomic per channel."""

    def listen(self, listener: BrokerListener) -> None:
        """Set the listener; once, before `start`."""
        ...

    async def start(self) -> None:
        """Connect; raises when the broker cannot be reached."""
        ...

    async def subscribe(self, channel: str) -> None:
        """From its return on, this node hears every message of the channel.

        Doubled calls are no-ops.
        """
        ...

    async def unsubscribe(self, channel: str) -> None:
        """Stop hearing the channel."""
        ...

    async def publish(
        self, channel: str, data: bytes, options: PublishOptions
    ) -> PublishResult:
        """Check idempotency, then version; append; fan out: one atomic step.

        A repeated idempotency key within 300 s gives the first result again and
        publishes nothing. Version: see `server-api` 2.1 of the published docs.
        Raises `InternalError` while the broker is away.
        """
        ...

    async def publish_join(self, channel: str, info: ClientInfo) -> None:
        """Tell every node's listener; never stored."""
        ...

    async def publish_leave(self, channel: str, info: ClientInfo) -> None:
        """Tell every node's listener; never stored."""
        ...

    async def fetch_history(
        self, channel: str, filter: HistoryFilter, *, meta_ttl_s: int
    ) -> History:
        """Read a stream and renew its meta lifetime.

        Creates the stream's epoch where there is none yet. Raises
        `UnrecoverablePosition` for another epoch, and
        `BadRequest` for `reverse` with a since offset of 0.
        """
        ...

    async def remove_history(self, channel: str) -> None:
        """Delete the stored publications; offset and epoch stay."""
        ...

    async def check(self) -> None:
        """Raise if the broker cannot be reached now."""
        ...

    async def close(self) -> None:
        """Release what was opened."""
        ...


class PresenceStore(Protocol):
    """Who is in a channel, over all nodes.

    Where nodes share them, entries die some time after their last renewal.
    """

    async def add(self, channel: str, info: ClientInfo) -> None:
        """Put or renew an entry, keyed by `info.client`."""
        ...

    async def remove(self, channel: str, client: str, user: str) -> None:
        """Remove an entry; absent is no error."""
        ...

    async def fetch(self, channel: str) -> Mapping[str, ClientInfo]:
        """All entries by client id."""
        ...

    async def fetch_stats(self, channel: str) -> PresenceStats:
        """Only their number."""
        ...


class ControlListener(Protocol):
    """Runs commands on this node and answers surveys."""

    def run(self, command: ControlCommand) -> None:
        """Start the command on this node's connections; must not block."""
        ...

    def answer_survey(self, op: str, params: bytes) -> bytes:
        """Answer a survey for this node, as bytes of the survey's own form."""
        ...

    def describe(self) -> NodeInfo:
        """Describe this node as it is now."""
        ...


class ControlBus(Protocol):
    """All nodes as one: commands, surveys, and who is there."""

    def listen(self, listener: ControlListener) -> None:
        """Set the listener; once, before `start`."""
        ...

    async def start(self) -> None:
        """Join; from its return on other nodes learn of this one."""
        ...

    async def broadcast(self, command: ControlCommand) -> None:
        """Run it on this node at once, and send it to all others, best effort."""
        ...

    async def survey(
        self, op: str, params: bytes, *, timeout_s: float = 10.0
    ) -> Sequence[bytes]:
        """Every node's answer; raises `InternalError` when one stays silent."""
        ...

    async def send_to_node(self, node: str, op: str, params: bytes) -> bool:
        """Hand bytes to one node's `answer_survey`, without its answer.

        `False` when no such node is known.
        """
        ...

    async def fetch_nodes(self) -> Sequence[NodeInfo]:
        """All nodes heard of within seven seconds, this one included."""
        ...

    async def close(self) -> None:
        """Leave; other nodes are told."""
        ...


@dataclass(frozen=True, slots=True)
class UserStatus:
    """When a user last did something (`active`) and was last connected (`online`).

    Unix seconds, 0 for never; `state` is the back end's own word.
    """

    user: str
    active: int = 0
    online: int = 0
    state: str = ""


class UserStatusStore(Protocol):
    """Statuses of users, over all nodes.

    Each is forgotten `ttl_s` after its last change.
    """

    async def set_active(
        self, users: Sequence[str], state: str, *, now_s: int, ttl_s: int
    ) -> None:
        """Set `active` and `state` of each user, and renew its lifetime."""
        ...

    async def set_online(self, users: Sequence[str], *, now_s: int, ttl_s: int) -> None:
        """Set `online` of each user, and renew its lifetime."""
        ...

    async def fetch(self, users: Sequence[str]) -> Sequence[UserStatus]:
        """One for each, in the order asked for; zeros for an unknown user."""
        ...

    async def delete(self, users: Sequence[str]) -> None:
        """Forget them; unknown users are no error."""
        ...


class DenialKind(StrEnum):
    """What can be denied; the key is a user, a `jti`, or user and channel."""

    USER = "user"
    TOKEN = "token"
    USER_TOKENS = "user_tokens"


class DenialStore(Protocol):
    """What is no longer let in, over all nodes. Raises `InternalError` when away."""

    async def put(
        self, kind: DenialKind, key: str, value: int, *, expire_at: int
    ) -> None:
        """Deny from now on until `expire_at` (Unix seconds, 0 for ever).

        A second `put` replaces `expire_at`, and `value` unless the old one is higher.
        """
        ...

    async def remove(self, kind: DenialKind, key: str) -> None:
        """Deny no more; absent is no error."""
        ...

    async def fetch(
        self, keys: Sequence[tuple[DenialKind, str]]
    ) -> Sequence[int | None]:
        """The value of each, in order; `None` where nothing is denied."""
        ...


class LocalConnections(Protocol):
    """The connections of this node alone."""

    def has_match(self, target: Target) -> bool:
        """Whether any connection of this node matches."""
        ...


class JwksUnavailable(Exception):
    """A key document cannot be had now; says why, for the log."""


class JwksFetcher(Protocol):
    """Brings the documents in which somebody publishes the keys of tokens."""

    async def fetch(self, url: str) -> bytes:
        """The document behind an http(s) URL.

        Waits at most a second per try and tries twice; raises `JwksUnavailable`.
        """
        ...
