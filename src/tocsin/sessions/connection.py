"""Sessions room: the state of one client's connection, and what orders do to it.

It must not read frames or know sockets: `session.py` walks the protocol over it,
orders act on it, a `Link` moves bytes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Coroutine, Mapping
from enum import Enum
from typing import Any
from uuid import uuid4

import structlog

from tocsin.core.channel import ChannelOptions, ClientInfo
from tocsin.core.client_codes import (
    INAPPROPRIATE_PROTOCOL,
    INSUFFICIENT_STATE,
    UNSUBSCRIBE_INSUFFICIENT,
    ClientError,
    Disconnect,
    Unsubscribe,
)
from tocsin.core.control import RefreshCommand, SubscribeCommand
from tocsin.core.errors import ApiError
from tocsin.hub.subscription import Subscription
from tocsin.protocol import client_pb2 as pb
from tocsin.protocol.frames import ForeignData, encode_message, encode_push
from tocsin.sessions.context import Context
from tocsin.sessions.link import Link, Traits
from tocsin.sessions.refusals import is_told
from tocsin.telemetry.throttle import LineThrottle

lines = LineThrottle(structlog.get_logger(__name__))

MAX_TTL_S = 365 * 24 * 3600  # as the published server caps it
_PUSH_KINDS = {
    "pub": "push_publication",
    "join": "push_join",
    "leave": "push_leave",
    "unsubscribe": "push_unsubscribe",
    "message": "push_message",
    "subscribe": "push_subscribe",
    "connect": "push_connect",
    "disconnect": "push_disconnect",
    "refresh": "push_refresh",
}


class State(Enum):
    """How far a connection has come."""

    NEW = "new"
    CONNECTED = "connected"
    REFUSED = "refused"
    CLOSED = "closed"


class ClientSubscription(Subscription):
    """A subscription with what the protocol must remember of it.

    `is_active` is set once the client was told of it. `is_present` is set before the
    presence store is asked to add it. `expire_at` is Unix seconds, 0 for never.
    `claims_id` is `jti` and `iat` of its token, `None` without one.
    """

    __slots__ = (
        "claims_id",
        "expire_at",
        "info",
        "is_active",
        "is_present",
        "is_server_side",
        "options",
    )

    def __init__(self, channel: str, connection: ClientConnection) -> None:
        super().__init__(channel, connection, connection.link, connection.traits.form)
        self.is_active = False
        self.is_present = False
        self.is_server_side = False
        self.claims_id: tuple[str, int] | None = None
        self.expire_at = 0
        self.info = b""
        self.options = ChannelOptions()


class ClientConnection(ABC):
    """State, replies, pushes, and the end."""

    __slots__ = (
        "__weakref__",
        "app_name",
        "app_version",
        "claims_id",
        "client",
        "connected_at_ms",
        "context",
        "expire_at",
        "header_user",
        "info",
        "labels",
        "latency_ms",
        "link",
        "meta",
        "session",
        "state",
        "subscriptions",
        "token_channels",
        "traits",
        "user",
    )

    def __init__(
        self, context: Context, link: Link, traits: Traits, *, header_user: str
    ) -> None:
        self.context = context
        self.link = link
        self.traits = traits
        self.header_user = header_user
        self.client = str(uuid4())
        has_session = traits.emulated or traits.form.unidirectional
        self.session = str(uuid4()) if has_session else ""
        self.state = State.NEW
        self.user = ""
        self.info = b""
        self.meta = b""
        self.labels: Mapping[str, str] = _NO_LABELS
        self.app_name = self.app_version = ""
        self.claims_id: tuple[str, int] | None = None
        self.expire_at = 0
        self.token_channels: frozenset[str] = frozenset()
        self.subscriptions: dict[str, ClientSubscription] = {}
        self.connected_at_ms = 0
        self.latency_ms = 0

    @property
    def is_closed(self) -> bool:
        """Whether it has ended: nothing more may be started for it."""
        return self.state is State.CLOSED

    def now_s(self) -> int:
        """Unix seconds."""
        return self.context.clock.now_ms() // 1000

    def ttl_s(self, expire_at: int) -> int:
        """Seconds from now to an expiry, a year at most."""
        return max(0, min(expire_at - self.now_s(), MAX_TTL_S))

    def client_info(self, chan_info: bytes = b"") -> ClientInfo:
        """As others see this connection."""
        return ClientInfo(self.user, self.client, self.info, chan_info)

    def is_subscribed(self, channel: str) -> bool:
        """Whether a subscription is in place, not only on its way."""
        subscription = self.subscriptions.get(channel)
        return subscription is not None and subscription.is_active

    # --- what the server orders ---

    @abstractmethod
    def take_subscribe(self, command: SubscribeCommand) -> None:
        """See `Member`."""

    @abstractmethod
    def take_unsubscribe(self, channel: str) -> None:
        """See `Member`."""

    @abstractmethod
    def take_refresh(self, command: RefreshCommand) -> None:
        """See `Member`."""

    @abstractmethod
    def take_emulated(self, data: bytes) -> None:
        """See `Member`."""

    # --- what orders change of it ---

    @abstractmethod
    def begin(self) -> None:
        """It is connected: start the timers for pings and upkeep."""

    @abstractmethod
    def reschedule(self) -> None:
        """Its expiry has moved."""

    @abstractmethod
    def refuse_more(self) -> None:
        """Its connect was answered with an error: no other command will be."""

    # --- what goes out ---

    def reply(self, command_id: int, reply: pb.Reply, method: str) -> None:
        """Answer a command; raises `ForeignData`."""
        reply.id = command_id
        form = self.traits.form
        self.write(form.frame(encode_message(form.encoding, reply)), method)

    def reply_error(self, command_id: int, error: ClientError, method: str) -> None:
        """Answer a command with an error."""
        told = pb.Error(
            code=error.code, message=error.message, temporary=error.temporary
        )
        self.context.hub.meter.replied_error(method, error.code)
        self.reply(command_id, pb.Reply(error=told), method)

    def write(self, frame: bytes, kind: str) -> None:
        """Queue a framed message of a kind, and count it."""
        self.context.hub.meter.sent(self.traits.name, kind, 1, len(frame))
        self.link.write(frame)

    def push(self, push: pb.Push) -> None:
        """Tell the client something; ends it where its encoding cannot carry the data.

        That is data that is not JSON, for a client that reads JSON.
        """
        try:
            frame = encode_push(self.traits.form, push)
        except ForeignData:
            self.refuse_data()
        else:
            self.write(frame, _PUSH_KINDS[push.ListFields()[-1][0].name])

    def push_unsubscribe(self, channel: str, reason: Unsubscribe) -> None:
        """Tell that a subscription has ended."""
        self.context.hub.meter.unsubscribed_by_server(reason.code)
        self.push(
            pb.Push(
                channel=channel,
                unsubscribe=pb.Unsubscribe(code=reason.code, reason=reason.reason),
            )
        )

    # --- ends ---

    def close(self, disconnect: Disconnect, *, why: str = "") -> None:
        """End the connection; a second call does nothing. `why` is for the log."""
        if self.is_closed:
            return
        if is_told(disconnect) and self.state is not State.REFUSED:
            code, reason = disconnect.code, disconnect.reason
            self.context.refusals.end(self, code, reason, why)
        self.context.hub.meter.disconnected_by_server(self.traits.name, disconnect.code)
        # Closed before anything is written: a write that fails calls `close` again.
        self.shut()
        if self.traits.pushes_disconnect:
            self.push(
                pb.Push(
                    disconnect=pb.Disconnect(
                        code=disconnect.code, reason=disconnect.reason
                    )
                )
            )
        self.link.close(disconnect)

    def shut(self) -> None:
        """Leave the hub and every channel; the caller ends the link."""
        if self.is_closed:
            return
        self._count_out()  # before the state changes: it counts by the state
        self.state = State.CLOSED
        self.context.hub.remove(self)
        subscriptions, self.subscriptions = self.subscriptions, {}
        for subscription in subscriptions.values():
            self.context.hub.leave(subscription)
        self.say_goodbye(list(subscriptions.values()))

    def _count_out(self) -> None:
        meter = self.context.hub.meter
        if self.state is State.CONNECTED:
            meter.ended(self.traits.name, self.app_name, self.app_version)
        active = sum(each.is_active for each in self.subscriptions.values())
        if active:
            meter.unsubscribed(self.app_name, active)

    def drop_subscription(self, channel: str) -> ClientSubscription | None:
        """Take a subscription out; the caller tells the client."""
        subscription = self.subscriptions.pop(channel, None)
        if subscription is not None:
            self.context.hub.leave(subscription)
            if subscription.is_active:
                self.context.hub.meter.unsubscribed(self.app_name)
        return subscription

    def say_goodbye(self, subscriptions: list[ClientSubscription]) -> None:
        """Remove presence and publish leaves, in a task of its own.

        A transport reports the end of a connection in a callback, which cannot wait.
        """
        concerned = [
            each
            for each in subscriptions
            if each.is_present or (each.options.join_leave and each.is_active)
        ]
        if concerned:
            self.context.hub.spawn(self.finish_goodbye(concerned))

    async def finish_goodbye(self, subscriptions: list[ClientSubscription]) -> None:
        """As `say_goodbye`, but waits until it is done.

        A newer subscription of this connection to the channel keeps its presence.
        """
        for subscription in subscriptions:
            try:
                await self._leave_others(subscription)
            except ApiError as error:
                lines.warning(
                    "a client left a channel, and others were not told",
                    client=self.client,
                    channel=subscription.channel,
                    reason=str(error),
                )

    async def _leave_others(self, subscription: ClientSubscription) -> None:
        channel = subscription.channel
        if subscription.is_present:
            subscription.is_present = False
            await self.tell_presence(channel)
        if subscription.options.join_leave and subscription.is_active:
            info = self.client_info(subscription.info)
            await self.context.broker.publish_leave(channel, info)

    async def tell_presence(self, channel: str) -> None:
        """Write to the presence store whether this connection is in the channel.

        Raises what the store raises.
        """
        presence = self.context.presence
        # The client may leave or come back during the write. Then the store is
        # written again, so that the last write says what is true at its end.
        while True:
            current = self._present(channel)
            if current is None:
                await presence.remove(channel, self.client, self.user)
            else:
                await presence.add(channel, self.client_info(current.info))
            if self._present(channel) is current:
                return

    def _present(self, channel: str) -> ClientSubscription | None:
        current = self.subscriptions.get(channel)
        return current if current is not None and current.is_present else None

    def lose_position(self, channel: str) -> None:
        """A publication was missed: the client has to recover."""
        subscription = self.subscriptions.pop(channel, None)
        if subscription is None:
            return
        if subscription.is_server_side:
            # A client cannot repeat a subscription that the server made: it has to
            # reconnect. It is put back, so that `close` removes its presence too.
            self.subscriptions[channel] = subscription
            self.close(INSUFFICIENT_STATE)
            return
        self.context.hub.meter.unsubscribed(self.app_name)
        self.push_unsubscribe(channel, UNSUBSCRIBE_INSUFFICIENT)
        self.say_goodbye([subscription])

    def refuse_data(self) -> None:
        """End a client that reads JSON, because data for it is not JSON."""
        self.close(INAPPROPRIATE_PROTOCOL)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something in a task of its own; the hub keeps and awaits it."""
        self.context.hub.spawn(work)

    def describe(self) -> Mapping[str, object]:
        """See `Member`; the shape is that of the server API's ConnectionInfo."""
        state: dict[str, object] = {
            "channels": {
                name: {"source": 1 if each.is_server_side else 0}
                for name, each in self.subscriptions.items()
                if each.is_active
            }
        }
        if self.claims_id is not None:
            state["connection_token"] = _describe_token(self.claims_id)
        tokens = {
            name: _describe_token(each.claims_id)
            for name, each in self.subscriptions.items()
            if each.claims_id is not None
        }
        if tokens:
            state["subscription_tokens"] = tokens
        if self.meta:
            state["meta"] = self.meta.decode(errors="replace")
        return {
            "app_name": self.app_name,
            "app_version": self.app_version,
            "transport": self.traits.name,
            "protocol": self.traits.form.encoding.value,
            "user": self.user,
            "state": state,
            "connected_at_ms": self.connected_at_ms,
            "ping_pong_latency_ms": self.latency_ms,
            "labels": dict(self.labels),
        }


_NO_LABELS: Mapping[str, str] = {}


def _describe_token(claims_id: tuple[str, int]) -> dict[str, object]:
    uid, issued_at = claims_id
    return {"uid": uid, "issued_at": issued_at}
