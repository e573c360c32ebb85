"""Sessions room: who decides what a client may do, as its sessions see them.

It must not decide anything itself; `channels` implements these, `app` joins them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from tocsin.channels.claims import ConnectionClaims, SubscriptionClaims
from tocsin.core.channel import ChannelOptions


class ChannelRules(Protocol):
    """The rules for names and permissions (`tocsin.channels.Namespaces`)."""

    def find(self, channel: str) -> ChannelOptions | None:
        """The options, or `None` for an unknown namespace."""
        ...

    def is_private(self, channel: str) -> bool:
        """Whether only a token opens it."""
        ...

    def is_name_allowed(self, channel: str, options: ChannelOptions) -> bool:
        """Whether a client may use the name."""
        ...

    def is_too_long(self, channel: str) -> bool:
        """Whether the name is too long for a client."""
        ...

    def personal_channel(self, user: str) -> str | None:
        """The user's own channel, if users have one."""
        ...

    def may_subscribe(
        self, channel: str, options: ChannelOptions, *, user: str, insecure: bool
    ) -> bool:
        """Whether a client may subscribe without a token."""
        ...

    def may_publish(
        self,
        channel: str,
        options: ChannelOptions,
        *,
        user: str,
        subscribed: bool,
        insecure: bool,
    ) -> bool:
        """Whether a client may publish."""
        ...

    def may_read_history(
        self,
        channel: str,
        options: ChannelOptions,
        *,
        user: str,
        subscribed: bool,
        insecure: bool,
    ) -> bool:
        """Whether a client may read history."""
        ...

    def may_read_presence(
        self,
        channel: str,
        options: ChannelOptions,
        *,
        user: str,
        subscribed: bool,
        insecure: bool,
    ) -> bool:
        """Whether a client may see who is there."""
        ...


class Verifier(Protocol):
    """Reads tokens; raises `TokenExpired`, `TokenInvalid` or `ClientFault`."""

    async def verify_connection(self, token: str) -> ConnectionClaims:
        """The claims of a connection token."""
        ...

    async def verify_subscription(self, token: str) -> SubscriptionClaims:
        """The claims of a subscription token."""
        ...


class Gate(Protocol):
    """Whether a good token is still welcome (`tocsin.channels.admission`)."""

    async def check(self, claims: ConnectionClaims, *, has_token: bool = True) -> None:
        """Raises `ClientDisconnect` or `ClientFault` for who must not come in."""
        ...

    async def check_subscription(self, claims: SubscriptionClaims) -> None:
        """Raises `ClientFault` for a subscription token that was taken back."""
        ...


RpcHandler = Callable[[str, bytes], Awaitable[bytes]]
"""User and data in, data out; raises `ClientFault` for an error reply."""

RpcHandlers = Mapping[str, RpcHandler]


async def answer_ping(user: str, data: bytes) -> bytes:  # noqa: ARG001 - every handler is called alike
    """The method `ping` of `rpc.ping`: an empty answer."""
    return b""
