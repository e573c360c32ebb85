"""Transports room: the protocol state machine that every transport runs.

It must not touch sockets: bytes come in by `receive`, go out by a `Link`, and time
comes from the wheel. One bad command ends its own connection and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from tocsin.core.client_codes import (
    CONNECTION_CLOSED,
    CONNECTION_EXPIRED,
    INTERNAL,
    NO_PONG,
    SERVER_ERROR,
    SHUTDOWN,
    STALE,
    SUBSCRIPTION_EXPIRED,
    UNAVAILABLE,
    UNSUBSCRIBE_EXPIRED,
    WRONG_COMMAND,
    ClientDisconnect,
    ClientFault,
    Disconnect,
)
from tocsin.core.control import RefreshCommand, SubscribeCommand
from tocsin.core.errors import ApiError
from tocsin.protocol import client_pb2 as pb
from tocsin.protocol.frames import (
    BadFrame,
    ForeignData,
    decode_commands,
    encode_ping,
)
from tocsin.transports import queries
from tocsin.transports.connecting import (
    Connected,
    connect,
    connect_push,
    refresh,
    refresh_by_command,
    uni_disconnect,
)
from tocsin.transports.connection import (
    ClientSubscription,
    Connection,
    Context,
    State,
)
from tocsin.transports.establishing import Vanished, activate, announce
from tocsin.transports.link import Link, Traits
from tocsin.transports.server_side import subscribe_by_command, unsubscribe_by_command
from tocsin.transports.subscribing import subscribe

log = logging.getLogger(__name__)

_NEVER = float("inf")
_REFUSED_END_S = 5.0
_IN_FLIGHT_WAIT_S = 5.0
# Commands that may wait before the client's bytes are left in the socket.
_INBOX_HIGH = 128
_INBOX_LOW = 32

_FIRST_OF = (
    "connect",
    "subscribe",
    "unsubscribe",
    "publish",
    "presence",
    "presence_stats",
    "history",
    "rpc",
    "send",
    "refresh",
    "sub_refresh",
)
_Query = Callable[[Connection, Any], Awaitable[Any]]
_QUERIES: dict[str, _Query] = {
    "publish": queries.publish,
    "presence": queries.read_presence,
    "presence_stats": queries.read_presence_stats,
    "history": queries.read_history,
    "rpc": queries.call,
    "refresh": refresh,
    "sub_refresh": queries.refresh_subscription,
}


class _Unsubscribe(str):
    """An unsubscribe order of the server; the channel."""

    __slots__ = ()


_Work = (
    pb.Command
    | pb.ConnectRequest
    | SubscribeCommand
    | RefreshCommand
    | _Unsubscribe
    | Disconnect
)


class Session(Connection):
    """One client's walk through the protocol.

    `open` starts its clock, `receive` takes frames, `close` ends it from this
    side; the transport calls `lost` when the other side has gone.
    """

    __slots__ = (
        "_inbox",
        "_is_reading_paused",
        "_ping_at_s",
        "_ping_sent_s",
        "_pong_by_s",
        "_stale_at_s",
        "_tick_at_s",
        "_workers",
        "timer_slot",
    )

    def __init__(
        self, context: Context, link: Link, traits: Traits, *, header_user: str = ""
    ) -> None:
        super().__init__(context, link, traits, header_user=header_user)
        self.timer_slot = -1
        self._inbox: deque[_Work] | None = None
        self._workers = 0
        self._is_reading_paused = False
        self._ping_at_s = self._pong_by_s = self._tick_at_s = _NEVER
        self._ping_sent_s = 0.0
        self._stale_at_s = _NEVER

    def open(self) -> None:
        """Start the clock: a client that does not connect is not kept."""
        delay_s = self.context.settings.stale_close_delay_s
        if delay_s > 0:
            self._stale_at_s = self.context.wheel.now() + delay_s
            self._schedule()
        if self.traits.emulated:
            self.context.hub.add_session(self)

    # --- what comes in ---

    def receive(self, data: bytes) -> None:
        """Take one frame; its commands are carried out in order."""
        if self.is_closed:
            return
        if self.state is State.REFUSED:
            if not self.traits.ends_after_refusal:
                self.close(WRONG_COMMAND)
            return
        try:
            for command in decode_commands(self.traits.form.encoding, data):
                self._take(command)
        except BadFrame as error:
            log.debug("client %s sent a bad frame: %s", self.client, error)
            self._enqueue(WRONG_COMMAND)

    def _take(self, command: pb.Command) -> None:
        if not command.id and not command.HasField("send"):
            self._take_pong()
        else:
            self._enqueue(command)

    def start(self, request: pb.ConnectRequest) -> None:
        """Connect a one-way client."""
        self._enqueue(request)

    def take_pong(self) -> None:
        """The transport's own pong came; one too many is no fault there."""
        if self._pong_by_s != _NEVER:
            self._take_pong()

    def _take_pong(self) -> None:
        if self._pong_by_s == _NEVER:
            self._enqueue(WRONG_COMMAND)
            return
        self._pong_by_s = _NEVER
        passed_s = self.context.wheel.now() - self._ping_sent_s
        self.latency_ms = max(0, int(passed_s * 1000))

    def take_subscribe(self, command: SubscribeCommand) -> None:
        """See `Member`."""
        self._enqueue(command)

    def take_unsubscribe(self, channel: str) -> None:
        """See `Member`."""
        self._enqueue(_Unsubscribe(channel))

    def take_refresh(self, command: RefreshCommand) -> None:
        """See `Member`."""
        self._enqueue(command)

    def take_emulated(self, data: bytes) -> None:
        """See `Member`; who listens one way only commands nothing."""
        if self.traits.emulated:
            self.receive(data)

    def lost(self) -> None:
        """The other side has gone."""
        if not self.is_closed:
            log.debug("client %s is gone: %s", self.client, CONNECTION_CLOSED.reason)
        self.shut()

    def shut(self) -> None:
        """See `Connection`."""
        super().shut()
        self.context.wheel.remove(self)
        if self.traits.emulated:
            self.context.hub.remove(self)
        if self._inbox is not None:
            self._inbox.clear()

    # --- one thing after the other ---

    def _enqueue(self, work: _Work) -> None:
        if self.is_closed:
            return
        if self._inbox is None:
            self._inbox = deque()
        self._inbox.append(work)
        most = 1
        if self.state is State.CONNECTED:
            most = max(1, self.context.settings.concurrency)
        if self._workers < most:
            self._workers += 1
            self.spawn(self._work())
        if len(self._inbox) > _INBOX_HIGH and not self._is_reading_paused:
            self._is_reading_paused = True
            self.link.pause_reading()

    async def _work(self) -> None:
        inbox = self._inbox
        try:
            while inbox and not self.is_closed:
                await self._carry_out(inbox.popleft())
                if self._is_reading_paused and len(inbox) < _INBOX_LOW:
                    self._is_reading_paused = False
                    self.link.resume_reading()
        finally:
            self._workers -= 1
            if not self._workers and not inbox:
                self._inbox = None  # idle connections hold nothing

    async def _carry_out(self, work: _Work) -> None:
        """The border: what goes wrong in here ends here."""
        try:
            await self._run(work)
        except ClientDisconnect as end:
            self.close(end.disconnect)
        except ForeignData:
            self.refuse_data()
        except Vanished:
            self._fail(work, ClientFault(INTERNAL))
        except ClientFault as fault:
            self._fail(work, fault)
        except ApiError as error:
            self._fail(work, queries.fault_of(self, error))
        except Exception:
            log.exception("a command of client %s failed", self.client)
            if isinstance(work, pb.Command) and not work.HasField("connect"):
                self._fail(work, ClientFault(INTERNAL))
            else:
                self.close(SERVER_ERROR)

    def _fail(self, work: _Work, fault: ClientFault) -> None:
        if self.is_closed:
            return
        if isinstance(work, pb.Command):
            self.reply_error(work.id, fault.error)
            if self.state is State.NEW and work.HasField("connect"):
                self._refuse()
        elif isinstance(work, pb.ConnectRequest):
            self.close(uni_disconnect(self, fault.error))
        else:
            log.warning("an order for client %s failed: %s", self.client, fault)

    def _refuse(self) -> None:
        """A connect was answered with an error: nothing else will be."""
        self.state = State.REFUSED
        self.context.hub.remove(self)
        if self.traits.emulated:
            self.context.hub.add_session(self)
        if self._inbox:
            self._inbox.clear()
        if self.traits.ends_after_refusal:
            self._stale_at_s = self.context.wheel.now() + _REFUSED_END_S
            self._schedule()

    async def _run(self, work: _Work) -> None:
        if isinstance(work, Disconnect):
            raise ClientDisconnect(work)
        if isinstance(work, pb.ConnectRequest):
            await self._connect(0, work)
        elif isinstance(work, SubscribeCommand):
            await subscribe_by_command(self, work)
        elif isinstance(work, RefreshCommand):
            refresh_by_command(self, work)
            self._reschedule()
        elif isinstance(work, _Unsubscribe):
            await unsubscribe_by_command(self, str(work))
        else:
            await self._run_command(work)

    async def _run_command(self, command: pb.Command) -> None:
        name = next((each for each in _FIRST_OF if command.HasField(each)), "")
        is_connected = self.state is State.CONNECTED
        if not name or is_connected == (name == "connect"):
            raise ClientDisconnect(WRONG_COMMAND)
        if name == "send":
            raise ClientDisconnect(UNAVAILABLE)
        if not command.id:
            raise ClientDisconnect(WRONG_COMMAND)
        if name == "connect":
            await self._connect(command.id, command.connect)
        elif name == "subscribe":
            await subscribe(self, command.id, command.subscribe)
        elif name == "unsubscribe":
            await self._unsubscribe(command.id, command.unsubscribe)
        else:
            result = await _QUERIES[name](self, getattr(command, name))
            if not self.is_closed:
                self.reply(command.id, pb.Reply(**{name: result}))
                if name == "refresh":
                    self._reschedule()

    async def _connect(self, command_id: int, request: pb.ConnectRequest) -> None:
        if self.context.hub.is_closing:
            raise ClientDisconnect(SHUTDOWN)
        connected = await connect(self, request)
        if self.is_closed:
            return
        self.state = State.CONNECTED
        self._tell_connected(command_id, connected)
        for each in connected.established:
            activate(self, each)
        if not self.is_closed:
            self._start_clock()
        for each in connected.established:
            await announce(self, each.subscription)

    def _tell_connected(self, command_id: int, connected: Connected) -> None:
        if self.traits.form.unidirectional:
            self.push(pb.Push(connect=connect_push(connected.result)))
        else:
            self.reply(command_id, pb.Reply(connect=connected.result))

    async def _unsubscribe(
        self, command_id: int, request: pb.UnsubscribeRequest
    ) -> None:
        channel = request.channel
        if not channel:
            raise ClientDisconnect(WRONG_COMMAND)
        subscription = self.subscriptions.get(channel)
        if subscription is not None and not subscription.is_active:
            await self._wait_until_settled(subscription)
        subscription = self.drop_subscription(channel)
        self.reply(command_id, pb.Reply(unsubscribe=pb.UnsubscribeResult()))
        if subscription is not None:
            await self._say_goodbye([subscription])

    async def _wait_until_settled(self, subscription: ClientSubscription) -> None:
        subscription.settled = asyncio.Event()
        try:
            async with asyncio.timeout(_IN_FLIGHT_WAIT_S):
                await subscription.settled.wait()
        except TimeoutError:
            raise ClientDisconnect(SERVER_ERROR) from None

    # --- time ---

    def _start_clock(self) -> None:
        settings = self.context.settings
        now_s = self.context.wheel.now()
        self._stale_at_s = _NEVER
        if self._pings and settings.ping_interval_s > 0:
            share = random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, no secret
            self._ping_at_s = now_s + settings.ping_interval_s * share
        if settings.presence_update_interval_s > 0:
            share = random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, no secret
            self._tick_at_s = now_s + settings.presence_update_interval_s * share
        self._schedule()

    @property
    def _pings(self) -> bool:
        return self.traits.pings or self.traits.native_pings

    def _schedule(self) -> None:
        when_s = min(
            self._stale_at_s, self._ping_at_s, self._pong_by_s, self._tick_at_s
        )
        if self.expire_at and self.state is State.CONNECTED:
            wheel = self.context.wheel
            when_s = min(when_s, wheel.now() + max(0.1, self._expires_in_s()))
        if when_s != _NEVER:
            self.context.wheel.put(self, when_s)

    def _reschedule(self) -> None:
        if not self.is_closed:
            self._schedule()

    def _expires_in_s(self) -> float:
        delay_s = self.context.settings.expired_close_delay_s
        return self.expire_at + delay_s - self.context.clock.now_ms() / 1000

    def on_timer(self, now_s: float) -> None:
        """See `Timed`."""
        if self.is_closed:
            return
        if now_s >= self._stale_at_s:
            self._end_stale()
            return
        if now_s >= self._pong_by_s:
            self.close(NO_PONG)
            return
        if self.expire_at and self._expires_in_s() <= 0:
            self.close(CONNECTION_EXPIRED)
            return
        if now_s >= self._ping_at_s:
            self._ping(now_s)
        if now_s >= self._tick_at_s:
            self._tick_at_s = now_s + self.context.settings.presence_update_interval_s
            self._tick()
        if not self.is_closed:
            self._schedule()

    def _end_stale(self) -> None:
        if self.state is State.REFUSED and self.traits.ends_after_refusal:
            self.shut()
            self.link.end()
        else:
            self.close(STALE)

    def _ping(self, now_s: float) -> None:
        settings = self.context.settings
        self._ping_at_s = now_s + settings.ping_interval_s
        self._ping_sent_s = now_s
        if self.traits.pings:
            self.link.write(encode_ping(self.traits.form))
        if self.traits.native_pings:
            self.link.ping()
        if settings.pong_timeout_s > 0 and not self.traits.form.unidirectional:
            self._pong_by_s = now_s + settings.pong_timeout_s

    def _tick(self) -> None:
        """What is looked after now and then: expiry, presence, positions."""
        settings, now_s = self.context.settings, self.now_s()
        present = []
        for subscription in list(self.subscriptions.values()):
            expire_at = subscription.expire_at
            if expire_at and now_s > expire_at + settings.expired_sub_close_delay_s:
                self._expire(subscription)
                if self.is_closed:
                    return
                continue
            if subscription.is_present and subscription.is_active:
                present.append(subscription)
            if subscription.is_positioned:
                delay_s = settings.channel_position_check_delay_s
                if delay_s > 0:
                    self.context.hub.check_position(
                        subscription.channel, older_than_s=delay_s
                    )
        if present:
            self.spawn(self._renew_presence(present))

    def _expire(self, subscription: ClientSubscription) -> None:
        if subscription.is_server_side:
            self.close(SUBSCRIPTION_EXPIRED)
            return
        if self.drop_subscription(subscription.channel) is not None:
            self.push_unsubscribe(subscription.channel, UNSUBSCRIBE_EXPIRED)
            self.say_goodbye([subscription])

    async def _renew_presence(self, subscriptions: list[ClientSubscription]) -> None:
        try:
            for subscription in subscriptions:
                if subscription.is_present:
                    await self.context.presence.add(
                        subscription.channel, self.client_info(subscription.info)
                    )
                    await self._take_back(subscription)
        except ApiError as error:
            log.warning("presence of client %s not renewed: %s", self.client, error)

    async def _take_back(self, subscription: ClientSubscription) -> None:
        """The subscription may have ended while its presence was renewed."""
        current = self.subscriptions.get(subscription.channel)
        if current is None or not current.is_present:
            await self.context.presence.remove(
                subscription.channel, self.client, self.user
            )
