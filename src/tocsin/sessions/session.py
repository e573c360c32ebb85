"""Sessions room: the protocol state machine that every transport runs.

It must not touch sockets: bytes come in by `receive`, go out by a `Link`, and time
comes from the wheel. One bad command ends its own connection and nothing else.
"""

from __future__ import annotations

import logging
import random
import time
from collections import deque
from collections.abc import Iterator

from tocsin.core.client_codes import (
    CONNECTION_CLOSED,
    CONNECTION_EXPIRED,
    INTERNAL,
    NO_PONG,
    SERVER_ERROR,
    SHUTDOWN,
    STALE,
    TOO_MANY_COMMANDS,
    UNAVAILABLE,
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
from tocsin.sessions import queries
from tocsin.sessions.commands import (
    ClientCommand,
    channel_of,
    name_command,
    run_command,
)
from tocsin.sessions.connecting import (
    Connected,
    connect,
    connect_push,
    refresh_by_command,
    uni_disconnect,
)
from tocsin.sessions.connection import (
    Connection,
    Context,
    State,
)
from tocsin.sessions.establishing import Vanished, activate, announce
from tocsin.sessions.link import Link, Traits
from tocsin.sessions.refusals import explain, log_error_reply
from tocsin.sessions.server_side import subscribe_by_command, unsubscribe_by_command
from tocsin.sessions.upkeep import look_after

log = logging.getLogger(__name__)

_NEVER = float("inf")
_REFUSED_END_S = 5.0
# Commands that may wait before the client's bytes are left in the socket.
_INBOX_HIGH = 128
_INBOX_LOW = 32
# Commands that may wait before a further request with some ends the connection:
# those of emulation come over sockets that cannot be left alone.
_INBOX_MOST = 4096
# Commands of one frame that are read in one go; the rest waits for a later turn.
COMMANDS_AT_ONCE = 32
# How long the processor may be kept before other connections have a turn.
_TURN_S = 0.0005
# Of a command in a frame that is not read yet; for counting those that wait.
_USUAL_COMMAND_BYTES = 32


class _Unsubscribe(str):
    """An unsubscribe order of the server; the channel."""

    __slots__ = ()


_Work = (
    ClientCommand
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
        "_unread",
        "_waits",
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
        self._is_reading_paused = self._waits = False
        self._unread: deque[tuple[Iterator[pb.Command], int]] | None = None
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
            commands = decode_commands(self.traits.form.encoding, data)
        except BadFrame as error:
            self._refuse_frame(error)
            return
        if self._unread:
            self._unread.append((commands, len(data)))
        else:
            self._read(commands, len(data), len(data))

    def _read(self, commands: Iterator[pb.Command], size: int, uncounted: int) -> None:
        """Take a share of a frame's commands; with more in it, hold it."""
        left = COMMANDS_AT_ONCE
        try:
            for message in commands:
                self._take(message, uncounted)
                uncounted = 0
                left -= 1
                if not left or self._is_reading_paused:
                    self._hold(commands, size)
                    return
        except BadFrame as error:
            self._refuse_frame(error)

    def _refuse_frame(self, error: BadFrame) -> None:
        log.debug("client %s sent a bad frame: %s", self.client, error)
        self._enqueue(WRONG_COMMAND)

    def _hold(self, commands: Iterator[pb.Command], size: int) -> None:
        """Read on later: in a turn to come, or when fewer commands wait."""
        if self._unread is None:
            self._unread = deque()
        self._unread.appendleft((commands, size))
        self.link.pause_reading()
        self._wait_for_turn()

    def _wait_for_turn(self) -> None:
        if not (self._waits or self._is_reading_paused):
            self._waits = True
            self.context.hub.share.wait(self)

    def go_on(self) -> None:
        """See `Waiting`: the next share of what has come."""
        self._waits = False
        if self.is_closed:
            self._unread = None
        elif self._unread:
            self._read(*self._unread.popleft(), 0)
            self._read_on()

    def _read_on(self) -> None:
        """After a share: wait for the next, or let the link bring more."""
        if self._unread:
            self._wait_for_turn()
        else:
            self._unread = None
            if not self._is_reading_paused:
                self.link.resume_reading()

    def end_flood(self) -> None:
        """More came than anybody sends before a connect is answered."""
        end, why = TOO_MANY_COMMANDS, "it sent too much before its connect"
        if self.state is State.NEW:
            self.context.refusals.end(self, end.code, end.reason, why)
        self.close(end)

    def _take(self, message: pb.Command, size: int) -> None:
        is_pong = not message.id and not message.HasField("send")
        command = ClientCommand("", message) if is_pong else name_command(message)
        meter = self.context.hub.meter
        kind = "client_pong" if is_pong else command.name
        meter.received(self.traits.name, kind, size)
        if is_pong:
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
        self.context.hub.meter.ponged(self.traits.name, passed_s)

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
        if not self.traits.emulated:
            return
        waiting = sum(size for _, size in self._unread or ()) // _USUAL_COMMAND_BYTES
        if waiting + len(self._inbox or ()) > _INBOX_MOST:
            self.close(TOO_MANY_COMMANDS)
        else:
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
        self._unread = None
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
        began_s: float | None = None
        try:
            while inbox and not self.is_closed:
                await self._carry_out(inbox.popleft())
                if inbox:
                    # Not the time that passes: a command may wait for a store.
                    now_s = time.thread_time()
                    if began_s is None:
                        began_s = now_s
                    elif now_s - began_s > _TURN_S:
                        await self.context.hub.share.pause()
                        began_s = None
                if self._is_reading_paused and len(inbox) < _INBOX_LOW:
                    self._is_reading_paused = False
                    self._read_on()
        finally:
            self._workers -= 1
            if not self._workers and not inbox:
                self._inbox = None  # idle connections hold nothing

    async def _carry_out(self, work: _Work) -> None:
        """The border: what goes wrong in here ends here."""
        began_s = time.perf_counter()
        try:
            await self._run(work)
        except ClientDisconnect as end:
            self.close(end.disconnect, why=explain(end))
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
            if isinstance(work, ClientCommand) and work.name != "connect":
                self._fail(work, ClientFault(INTERNAL))
            else:
                self.close(SERVER_ERROR)
        if isinstance(work, ClientCommand):
            passed_s = time.perf_counter() - began_s
            self.context.hub.meter.commanded(work.name, passed_s)

    def _fail(self, work: _Work, fault: ClientFault) -> None:
        if self.is_closed:
            return
        if isinstance(work, ClientCommand):
            self.reply_error(work.message.id, fault.error, work.name)
            if self.state is State.NEW and work.name == "connect":
                self._tell_refused(fault)
                self._refuse()
            else:
                channel, code = channel_of(work), fault.error.code
                detail = explain(fault)
                log_error_reply(self, work.name, channel, code, detail=detail)
        elif isinstance(work, pb.ConnectRequest):
            self._tell_refused(fault)
            self.state = State.REFUSED
            self.close(uni_disconnect(self, fault.error))
        else:
            log.warning("an order for client %s failed: %s", self.client, fault)

    def _tell_refused(self, fault: ClientFault) -> None:
        error = fault.error
        self.context.refusals.end(self, error.code, error.message, explain(fault))

    def _refuse(self) -> None:
        """A connect was answered with an error: nothing else will be."""
        self.state = State.REFUSED
        self.context.hub.remove(self)
        if self.traits.emulated:
            self.context.hub.add_session(self)
        has_more = bool(self._inbox or self._unread)
        if self._unread:
            self._unread.clear()
            self._read_on()
        if self._inbox:
            self._inbox.clear()
        if self.traits.ends_after_refusal:
            self._stale_at_s = self.context.wheel.now() + _REFUSED_END_S
            self._schedule()
        elif has_more:
            self.close(WRONG_COMMAND)

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

    async def _run_command(self, command: ClientCommand) -> None:
        name, command_id = command.name, command.message.id
        is_connected = self.state is State.CONNECTED
        if not name or is_connected == (name == "connect"):
            raise ClientDisconnect(WRONG_COMMAND)
        if name == "send":
            raise ClientDisconnect(UNAVAILABLE)
        if not command_id:
            raise ClientDisconnect(WRONG_COMMAND)
        if name == "connect":
            await self._connect(command_id, command.message.connect)
            return
        await run_command(self, command)
        if name == "refresh":
            self._reschedule()

    async def _connect(self, command_id: int, request: pb.ConnectRequest) -> None:
        if self.context.hub.is_closing:
            raise ClientDisconnect(SHUTDOWN)
        connected = await connect(self, request)
        if self.is_closed:
            return
        self.state = State.CONNECTED
        meter = self.context.hub.meter
        meter.connected(self.traits.name, self.app_name, self.app_version)
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
            reply = pb.Reply(connect=connected.result)
            self.reply(command_id, reply, "connect")

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
            look_after(self)
        if not self.is_closed:
            self._schedule()

    def _end_stale(self) -> None:
        if self.state is State.REFUSED and self.traits.ends_after_refusal:
            self.shut()
            self.link.end()
        else:
            is_new = self.state is State.NEW
            self.close(STALE, why="it sent no connect in time" if is_new else "")

    def _ping(self, now_s: float) -> None:
        settings = self.context.settings
        self._ping_at_s = now_s + settings.ping_interval_s
        self._ping_sent_s = now_s
        if self.traits.pings:
            self.write(encode_ping(self.traits.form), "server_ping")
        if self.traits.native_pings:
            self.link.ping()
        if settings.pong_timeout_s > 0 and not self.traits.form.unidirectional:
            self._pong_by_s = now_s + settings.pong_timeout_s
