"""Commands that one node gives to all nodes: values that travel on the control bus."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tocsin.core.channel import StreamPosition
from tocsin.core.client_codes import FORCE_DISCONNECT, Disconnect


@dataclass(frozen=True, slots=True)
class Target:
    """Which connections are meant: all that match every given part.

    An empty `user` means connections without a user, not everybody;
    `all_users` does. `label_filter` is the published filter tree as plain
    values (op, key, cmp, val, vals, nodes), or `None`.
    """

    user: str = ""
    client: str = ""
    session: str = ""
    all_users: bool = False
    label_filter: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class SubscribeCommand:
    """Subscribe the target's connections; `None` in an override leaves it.

    `expire_at` is Unix seconds, 0 for never.
    """

    target: Target
    channel: str
    info: bytes = b""
    data: bytes = b""
    expire_at: int = 0
    recover_since: StreamPosition | None = None
    overrides: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UnsubscribeCommand:
    """End the target's subscription to a channel."""

    target: Target
    channel: str


@dataclass(frozen=True, slots=True)
class DisconnectCommand:
    """Close the target's connections but for the client ids in `whitelist`."""

    target: Target
    disconnect: Disconnect = FORCE_DISCONNECT
    whitelist: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RefreshCommand:
    """Move the expiry of the target's connections, or end it (`expired`)."""

    target: Target
    expired: bool = False
    expire_at: int = 0
    info: bytes = b""


ControlCommand = (
    SubscribeCommand | UnsubscribeCommand | DisconnectCommand | RefreshCommand
)
