"""Hub room: one connection's subscription to one channel, as the fan-out sees it.

It must not decide who may subscribe; `channels` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from tocsin.core.channel import StreamPosition
from tocsin.core.client_codes import Disconnect
from tocsin.core.control import RefreshCommand, SubscribeCommand
from tocsin.hub.arrival import Arrival
from tocsin.protocol.frames import WireForm
from tocsin.protocol.tags_filter import Condition


class Sink(Protocol):
    """Where a connection's bytes go."""

    def write(self, data: bytes) -> None:
        """Queue framed bytes; must not block and must not raise."""
        ...


class SubscriptionOwner(Protocol):
    """The connection that a subscription belongs to."""

    def lose_position(self, channel: str) -> None:
        """Its subscription missed something, and has left the feed already."""
        ...

    def refuse_data(self) -> None:
        """Data came that this connection's encoding cannot carry."""
        ...


class Member(Protocol):
    """A connection as the registry and the commands of the server API see it."""

    @property
    def client(self) -> str:
        """The client id."""
        ...

    @property
    def user(self) -> str:
        """The user, or empty."""
        ...

    @property
    def session(self) -> str:
        """The session id of an emulated or one-way connection, else empty."""
        ...

    @property
    def labels(self) -> Mapping[str, str]:
        """What label filters look at."""
        ...

    def take_subscribe(self, command: SubscribeCommand) -> None:
        """Subscribe by order of the server."""
        ...

    def take_unsubscribe(self, channel: str) -> None:
        """Unsubscribe by order of the server."""
        ...

    def take_refresh(self, command: RefreshCommand) -> None:
        """Move or end the connection's expiry."""
        ...

    def take_emulated(self, data: bytes) -> None:
        """Take commands that came over another request, framed."""
        ...

    def describe(self) -> Mapping[str, object]:
        """What the server API says about the connection, as JSON values."""
        ...

    def close(self, disconnect: Disconnect) -> None:
        """End the connection."""
        ...


class Subscription:
    """What the fan-out needs to know of a subscriber.

    `offset` and `epoch` are its position only while it is a straggler; else the feed's
    position holds for it. `buffer` collects what arrives until the subscriber has its
    reply, and is `None` from then on.
    """

    __slots__ = (
        "buffer",
        "channel",
        "condition",
        "epoch",
        "filter_key",
        "form",
        "is_positioned",
        "offset",
        "owner",
        "sink",
        "wants_delta",
        "wants_joins",
    )

    def __init__(
        self, channel: str, owner: SubscriptionOwner, sink: Sink, form: WireForm
    ) -> None:
        self.channel = channel
        self.owner = owner
        self.sink = sink
        self.form = form
        self.is_positioned = False
        self.wants_delta = False
        self.wants_joins = False
        self.condition: Condition | None = None
        self.filter_key = b""
        self.offset = 0
        self.epoch = ""
        self.buffer: list[tuple[Arrival, StreamPosition]] | None = None
