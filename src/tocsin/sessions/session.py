"""Sessions room: the protocol state machine that every transport runs.

It must not touch sockets: bytes come in by `receive`, go out by a `Link`, and time
comes from the wheel. One bad command ends its own connection and nothing else.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator

import structlog

from tocsin.channels.refusing import explain
from tocsin.core.client_codes import (
    CONNECTION_CLOSED,
    INTERNAL,
    SERVER_ERROR,
    TOO_MANY_COMMANDS,
    WRONG_COMMAND,
    ClientDisconnect,
    ClientFault,
)
from tocsin.core.control import RefreshCommand, SubscribeCommand
from tocsin.core.errors import ApiError
from tocsin.protocol import client_pb2 as pb
from tocsin.protocol.frames import BadFrame, ForeignData, decode_commands
from tocsin.sessions.channel_orders import ChannelOrders
from tocsin.sessions.commands import read_command
from tocsin.sessions.connecting import OneWayConnectOrder, ServerRefreshOrder
from tocsin.sessions.connection import State
from tocsin.sessions.context import Context
from tocsin.sessions.establishing import Vanished
from tocsin.sessions.link import Link, Traits
from tocsin.sessions.orders import EndOrder, Order, fault_of
from tocsin.sessions.server_side import ServerSubscribeOrder, ServerUnsubscribeOrder
from tocsin.sessions.timing import TimedClientConnection

log = structlog.get_logger(__name__)

# Waiting orders above which the link stops reading, and below which it reads again.
_INBOX_HIGH = 128
_INBOX_LOW = 32
# Waiting orders above which an emulated client is disconnected. Its commands come by
# requests of their own, and not over the one connection whose reading could be paused.
_INBOX_MOST = 4096
# Commands of one frame that are read in one go; the rest waits for a later turn.
COMMANDS_AT_ONCE = 32
# Processor time that a worker may use before other connections have a turn.
_TURN_S = 0.0005
# The assumed size of a command, to estimate how many a frame holds that is not read.
_USUAL_COMMAND_BYTES = 32


class Session(TimedClientConnection):
    """One client's walk through the protocol.

    `open` starts its clock, `receive` takes frames, `close` ends it from this
    side; the transport calls `lost` when the other side has gone.
    """

    __slots__ = (
        "_inbox",
        "_is_reading_paused",
        "_ordered",
        "_unread",
        "_waits",
        "_workers",
    )

    def __init__(
        self, context: Context, link: Link, traits: Traits, *, header_user: str
    ) -> None:
        super().__init__(context, link, traits, header_user=header_user)
        self._inbox: deque[Order] | None = None
        self._ordered: ChannelOrders | None = None
        self._workers = 0
        self._is_reading_paused = self._waits = False
        self._unread: deque[tuple[Iterator[pb.Command], int]] | None = None

    def open(self) -> None:
        """Start the clock: a client that sends no connect in time is ended."""
        self.expect_connect()
        if self.traits.emulated:
            self.context.hub.add_session(self)

    # --- what comes in ---

    def receive(self, data: bytes) -> None:
        """Take one frame; its commands are carried out in order."""
        if self.is_closed:
            return
        if self.state is State.REFUSED:
            # As the published server: a WebSocket is not read any more, and on the
            # other transports the next command ends the connection with 3501.
            if not self.traits.ends_after_refusal:
                self.close(WRONG_COMMAND)
            return
        try:
            commands = decode_commands(self.traits.form.encoding, data)
        except BadFrame as error:
            self._refuse_frame(error)
            return
        if self._unread:  # behind the frames that came before it
            self._unread.append((commands, len(data)))
        else:
            self._read(commands, len(data), len(data))

    def _read(self, commands: Iterator[pb.Command], size: int, uncounted: int) -> None:
        """Take a share of a frame's commands, and keep the frame if it holds more.

        `size` is the frame's in bytes; `uncounted` is the part of it that the metrics
        have not counted yet. The first command is counted with all of it.
        """
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
        log.debug("a client sent a bad frame", client=self.client, reason=str(error))
        self._enqueue(EndOrder(WRONG_COMMAND))

    def _hold(self, commands: Iterator[pb.Command], size: int) -> None:
        """Keep a frame for a later turn, or until fewer commands wait."""
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
        """See `Waiting`: read the next share of the frames that are kept."""
        self._waits = False
        if self.is_closed:
            self._unread = None
        elif self._unread:
            self._read(*self._unread.popleft(), 0)
            self._read_on()

    def _read_on(self) -> None:
        """After a share: wait for the next one, or let the link read again."""
        if self._unread:
            self._wait_for_turn()
        else:
            self._unread = None
            if not self._is_reading_paused:
                self.link.resume_reading()

    def end_flood(self) -> None:
        """End a client that sent too much before its connect was answered."""
        end, why = TOO_MANY_COMMANDS, "it sent too much before its connect"
        if self.state is State.NEW:
            self.context.refusals.end(self, end.code, end.reason, why)
        self.close(end)

    def _take(self, message: pb.Command, size: int) -> None:
        meter = self.context.hub.meter
        if not message.id and not message.HasField("send"):
            meter.received(self.traits.name, "client_pong", size)
            self._take_pong()
            return
        order = read_command(message)
        meter.received(self.traits.name, order.name, size)
        self._enqueue(order)

    def start(self, request: pb.ConnectRequest) -> None:
        """Connect a one-way client."""
        self._enqueue(OneWayConnectOrder(request))

    def take_pong(self) -> None:
        """Note the transport's own pong; it may come without a ping."""
        if self.awaits_pong:
            self.note_pong()

    def _take_pong(self) -> None:
        if self.awaits_pong:
            self.note_pong()
        else:
            self._enqueue(EndOrder(WRONG_COMMAND))

    def take_subscribe(self, command: SubscribeCommand) -> None:
        """See `Member`."""
        self._enqueue(ServerSubscribeOrder(command))

    def take_unsubscribe(self, channel: str) -> None:
        """See `Member`."""
        self._enqueue(ServerUnsubscribeOrder(channel))

    def take_refresh(self, command: RefreshCommand) -> None:
        """See `Member`."""
        self._enqueue(ServerRefreshOrder(command))

    def take_emulated(self, data: bytes) -> None:
        """See `Member`; ignored for one-way clients, which send no commands."""
        if not self.traits.emulated:
            return
        unread = sum(size for _, size in self._unread or ()) // _USUAL_COMMAND_BYTES
        if unread + self._num_waiting > _INBOX_MOST:
            self.close(TOO_MANY_COMMANDS)
        else:
            self.receive(data)

    def lost(self) -> None:
        """The other side has gone."""
        if not self.is_closed:
            log.debug(
                "a client is gone", client=self.client, reason=CONNECTION_CLOSED.reason
            )
        self.shut()

    def shut(self) -> None:
        """See `ClientConnection`."""
        super().shut()
        if self.traits.emulated:
            self.context.hub.remove(self)
        self._unread = None
        self._forget_orders()

    def _forget_orders(self) -> None:
        if self._inbox is not None:
            self._inbox.clear()
        if self._ordered is not None:
            self._ordered.clear()

    # --- what is carried out ---

    def _enqueue(self, order: Order) -> None:
        if self.is_closed:
            return
        most = self.context.settings.concurrency
        if self._inbox is None:
            self._inbox = deque()
            self._ordered = ChannelOrders() if most > 1 else None
        self._inbox.append(order)
        # One worker until the connect is done: no command may overtake it.
        if not self._workers or (
            self._workers < most and self.state is State.CONNECTED
        ):
            self._workers += 1
            self.spawn(self._work(self._inbox, self._ordered))
        if self._num_waiting > _INBOX_HIGH and not self._is_reading_paused:
            self._is_reading_paused = True
            self.link.pause_reading()

    @property
    def _num_waiting(self) -> int:
        waiting = len(self._inbox) if self._inbox is not None else 0
        return waiting if self._ordered is None else waiting + self._ordered.num_waiting

    async def _work(
        self, inbox: deque[Order], ordered: ChannelOrders | None, channel: str = ""
    ) -> None:
        """Carry out orders until none waits; up to `concurrency` workers do so.

        A worker that is given a `channel` begins with an order of that line.
        """
        began_s: float | None = None
        order = (
            self._go_on(ordered.take_beside(channel)) if ordered is not None else None
        )
        try:
            while not self.is_closed and (order or inbox):
                if order is None:
                    order = inbox.popleft()
                    if ordered is not None and not ordered.enter(order):
                        order = None  # the one before it in its line hands it out
                        continue
                # No await between taking an order and running it: orders that may run
                # together would overtake each other.
                await self._carry_out(order)
                if inbox or (ordered is not None and ordered.num_waiting):
                    # Processor time, since a command may also wait for a store.
                    now_s = time.thread_time()
                    if began_s is None:
                        began_s = now_s
                    elif now_s - began_s > _TURN_S:
                        await self.context.hub.share.pause()
                        began_s = None
                order = (
                    self._go_on(ordered.leave(order)) if ordered is not None else None
                )
                if self._is_reading_paused and self._num_waiting < _INBOX_LOW:
                    self._is_reading_paused = False
                    self._read_on()
        finally:
            self._workers -= 1
            if not self._workers and not inbox:
                self._inbox = self._ordered = None  # idle connections cost no memory

    def _go_on(self, order: Order | None) -> Order | None:
        """Pass `order` on, and start a worker for one that may run beside it."""
        inbox, ordered = self._inbox, self._ordered
        if (
            order is not None
            and inbox is not None
            and ordered is not None
            and self._workers < self.context.settings.concurrency
            and ordered.has_beside(order.channel)
        ):
            self._workers += 1
            self.spawn(self._work(inbox, ordered, order.channel))
        return order

    async def _carry_out(self, order: Order) -> None:
        """Run one order; every error becomes a reply, or ends this connection only."""
        began_s = time.perf_counter()
        try:
            await order.run(self)
        except ClientDisconnect as end:
            self.close(end.disconnect, why=explain(end))
        except ForeignData:
            self.refuse_data()
        except Vanished:
            self._tell_failure(order, ClientFault(INTERNAL))
        except ClientFault as fault:
            self._tell_failure(order, fault)
        except ApiError as error:
            self._tell_failure(order, fault_of(self, error))
        except Exception:
            log.exception("a command of a client failed", client=self.client)
            if order.outlives_bugs:
                self._tell_failure(order, ClientFault(INTERNAL))
            else:
                self.close(SERVER_ERROR)
        if order.name is not None:
            passed_s = time.perf_counter() - began_s
            self.context.hub.meter.commanded(order.name, passed_s)

    def _tell_failure(self, order: Order, fault: ClientFault) -> None:
        if not self.is_closed:
            order.refuse(self, fault)

    def refuse_more(self) -> None:
        """See `ClientConnection`."""
        self.state = State.REFUSED
        # No command of the server finds it any more. An emulated client's next request
        # still must, to end it.
        self.context.hub.remove(self)
        if self.traits.emulated:
            self.context.hub.add_session(self)
        has_more = bool(self._inbox or self._unread)
        if self._unread:
            self._unread.clear()
            self._read_on()  # `_hold` paused the link, and nothing else resumes it
        self._forget_orders()
        if self.traits.ends_after_refusal:
            self.end_soon()
        elif has_more:
            self.close(WRONG_COMMAND)
