"""Hub room: this node's connections and their subscriptions.

It must not decide who may do what, and it knows no transport. It listens to the broker
and the control bus, and encodes a publication once per wire form.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import structlog

from tocsin.core.channel import (
    ClientInfo,
    HistoryFilter,
    NodeInfo,
    Publication,
    StreamPosition,
)
from tocsin.core.client_codes import SHUTDOWN, Disconnect
from tocsin.core.control import (
    ControlCommand,
    DisconnectCommand,
    RefreshCommand,
    SubscribeCommand,
)
from tocsin.core.errors import ApiError
from tocsin.core.ports.channels import Broker
from tocsin.hub.arrival import Arrival
from tocsin.hub.feed import Feed
from tocsin.hub.registry import Registry
from tocsin.hub.share import TurnShare
from tocsin.hub.subscription import Member, Subscription
from tocsin.hub.surveys import SurveyHandler, count_channels, list_connections
from tocsin.hub.turn import Turn
from tocsin.protocol import client_pb2 as pb
from tocsin.protocol.frames import ForeignData, WireForm, encode_push, info_message
from tocsin.telemetry.client_metrics import ClientMetrics

# How long a publication may take from the broker's history to its subscribers before
# they count as having missed it.
POSITION_GRACE_S = 1.0
_CHECKS_AT_ONCE = 32  # questions to the broker, after a gap that concerns every feed

_log = structlog.get_logger(__name__)


class Hub(Registry):
    """`BrokerListener` and `ControlListener` of a node.

    `uid`, `name` and `version` are what the node tells about itself. `clock` is in
    seconds and never goes back.
    """

    def __init__(
        self,
        broker: Broker,
        *,
        uid: str,
        name: str = "",
        version: str = "",
        turn: Turn | None = None,
        meter: ClientMetrics | None = None,
        clock: Callable[[], float] = time.monotonic,
        position_grace_s: float = POSITION_GRACE_S,
    ) -> None:
        super().__init__()
        self._broker = broker
        self._clock = clock
        self._started_at_s = clock()
        self._position_grace_s = position_grace_s
        self._feeds: dict[str, Feed] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._surveys: dict[str, SurveyHandler] = {
            "channels": lambda params: count_channels(self.subscribers(), params),
            "connections": self._list_connections,
            "emulation": self._take_emulated,
        }
        self.orders = 0  # commands and questions about connections so far
        self.turn = turn or Turn()
        self.share = TurnShare()
        self.meter = meter or ClientMetrics()
        self.uid = uid
        self.name = name
        self.version = version
        self.is_closing = False

    @property
    def num_subs(self) -> int:
        """Subscriptions on this node."""
        return sum(feed.num_subscribers for feed in self._feeds.values())

    @property
    def num_channels(self) -> int:
        """Channels with a subscriber on this node."""
        return sum(1 for feed in self._feeds.values() if feed.num_subscribers)

    def subscribers(self) -> dict[str, int]:
        """How many connections each channel has here."""
        return {
            name: feed.num_subscribers
            for name, feed in self._feeds.items()
            if feed.num_subscribers
        }

    # --- subscriptions ---

    async def collect(self, subscription: Subscription) -> None:
        """Let the subscription collect: after this its buffer gets all that comes.

        The channel's first one subscribes this node; raises what the broker raises.
        """
        feed = self._feeds.get(subscription.channel)
        if feed is None:
            feed = Feed(subscription.channel, self.turn, self.meter)
            self._feeds[subscription.channel] = feed
        if not feed.is_subscribed:
            await self._open(feed)
        subscription.buffer = []
        feed.collectors[subscription] = None

    async def _open(self, feed: Feed) -> None:
        # Counted, so that `_close` keeps a feed that somebody waits for.
        feed.waiting += 1
        try:
            # The lock keeps a subscribe from overtaking an unsubscribe that is still
            # on its way to the broker; of several who wait, the first subscribes.
            async with feed.lock:
                if not feed.is_subscribed:
                    await self._broker.subscribe(feed.channel)
                    feed.is_subscribed = True
                    feed.checked_at_s = self._clock()
        finally:
            feed.waiting -= 1
            # The broker failed, and nobody else wants the channel.
            if feed.is_idle and not feed.is_subscribed:
                self._feeds.pop(feed.channel, None)

    def join(
        self, subscription: Subscription, position: StreamPosition, *, base: int = 0
    ) -> None:
        """Turn a collecting subscription into a member of its feed; see `Feed.join`."""
        feed = self._feeds[subscription.channel]
        feed.join(subscription, position, base=base)

    def leave(self, subscription: Subscription) -> None:
        """End a subscription; the last one here unsubscribes this node."""
        feed = self._feeds.get(subscription.channel)
        if feed is None:
            return
        feed.leave(subscription)
        self._close_idle(feed)

    def _close_idle(self, feed: Feed) -> None:
        if feed.is_idle:
            self.spawn(self._close(feed))

    async def _close(self, feed: Feed) -> None:
        # Under the lock, so that a new subscriber asks the broker after this is done.
        async with feed.lock:
            if feed.is_idle and feed.is_subscribed:
                # Before the await: who comes during it has to subscribe again.
                feed.is_subscribed = False
                try:
                    await self._broker.unsubscribe(feed.channel)
                except ApiError as error:
                    _log.warning(
                        "channel not left at the broker",
                        channel=feed.channel,
                        reason=str(error),
                    )
            # Asked again: somebody may wait for the lock by now.
            if feed.is_idle and self._feeds.get(feed.channel) is feed:
                del self._feeds[feed.channel]

    def flush(self, channel: str) -> None:
        """Write what is pending in a channel before anything that is written next."""
        feed = self._feeds.get(channel)
        if feed is not None:
            feed.flush()

    # --- BrokerListener ---

    def on_publication(
        self,
        channel: str,
        publication: Publication,
        position: StreamPosition,
        previous: bytes | None,
    ) -> None:
        """See the port."""
        self.meter.heard("publication")
        feed = self._feeds.get(channel)
        if feed is None or feed.is_idle:
            return
        began_s = time.perf_counter()
        feed.deliver(Arrival(channel, publication, position.epoch, previous), position)
        self.meter.spread("publication", time.perf_counter() - began_s)
        self._close_idle(feed)  # the last ones may have lost their position, and left

    def on_join(self, channel: str, info: ClientInfo) -> None:
        """See the port."""
        push = pb.Push(channel=channel, join=pb.Join(info=info_message(info)))
        self._push_presence("join", push)

    def on_leave(self, channel: str, info: ClientInfo) -> None:
        """See the port."""
        push = pb.Push(channel=channel, leave=pb.Leave(info=info_message(info)))
        self._push_presence("leave", push)

    def _push_presence(self, kind: str, push: pb.Push) -> None:
        self.meter.heard(kind)
        feed = self._feeds.get(push.channel)
        if feed is None:
            return

        def build(form: WireForm) -> bytes:
            return encode_push(form, push)

        try:
            feed.push_to_watchers(f"push_{kind}", build)
        except ForeignData:
            _log.warning("a client's info is no JSON: unseen", channel=push.channel)

    def on_gap(self) -> None:
        """See the port."""
        self.spawn(self._check_all())

    # --- positions ---

    def check_position(self, channel: str, *, older_than_s: float) -> None:
        """Compare the positions here with the stream's top, unless done lately."""
        feed = self._feeds.get(channel)
        if feed is None or feed.is_checking or not feed.has_positions:
            return
        if self._clock() - feed.checked_at_s >= older_than_s:
            self.spawn(self._check(feed))

    def set_meta_ttl(self, channel: str, meta_ttl_s: int) -> None:
        """Set the lifetime of a stream's position, which every check renews."""
        if (feed := self._feeds.get(channel)) is not None:
            feed.meta_ttl_s = meta_ttl_s

    async def _check_all(self) -> None:
        feeds = [feed for feed in self._feeds.values() if feed.has_positions]
        for at in range(0, len(feeds), _CHECKS_AT_ONCE):
            await asyncio.gather(
                *(self._check(feed) for feed in feeds[at : at + _CHECKS_AT_ONCE])
            )

    async def _check(self, feed: Feed) -> None:
        if feed.is_checking:
            return
        feed.is_checking = True
        try:
            before = feed.standing()  # what arrives during the question is no error
            top = await self._fetch_top(feed)
            if ahead := feed.find_ahead(top, before):
                self._drop(feed, ahead)
                feed.rewind(top)
            if feed.find_behind(top):
                # The publication may still be on its way here: only those who are
                # still behind `top` after a while have missed something.
                await asyncio.sleep(self._position_grace_s)
                self._drop(feed, feed.find_behind(top))
            feed.checked_at_s = self._clock()
        except ApiError as error:
            _log.warning(
                "positions not checked", channel=feed.channel, reason=str(error)
            )
        finally:
            feed.is_checking = False

    def _drop(self, feed: Feed, subscriptions: Iterable[Subscription]) -> None:
        for subscription in subscriptions:
            feed.leave(subscription)
            subscription.owner.lose_position(feed.channel)
        self._close_idle(feed)

    async def _fetch_top(self, feed: Feed) -> StreamPosition:
        history = await self._broker.fetch_history(
            feed.channel, HistoryFilter(), meta_ttl_s=feed.meta_ttl_s
        )
        return history.top

    # --- ControlListener ---

    def run(self, command: ControlCommand) -> None:
        """See the port."""
        self.meter.heard("control")
        self.orders += 1
        for member in self.find(command.target):
            try:
                _tell(member, command)
            except Exception:  # noqa: BLE001 - the border of a client: others get theirs
                _log.exception("an order for a client failed", client=member.client)

    def answer_survey(self, op: str, params: bytes) -> bytes:
        """See the port; an unknown question is answered with nothing."""
        handler = self._surveys.get(op)
        return b"" if handler is None else handler(params)

    def _list_connections(self, params: bytes) -> bytes:
        self.orders += 1
        return list_connections(
            (
                (member.client, member.user, member.describe)
                for member in self.connected()
            ),
            params,
        )

    def _take_emulated(self, params: bytes) -> bytes:
        session, _, data = params.partition(b"\n")
        member = self.find_session(session.decode(errors="replace"))
        if member is not None:
            member.take_emulated(data)
        return b""

    def describe(self) -> NodeInfo:
        """See the port."""
        return NodeInfo(
            uid=self.uid,
            name=self.name,
            version=self.version,
            num_clients=self.num_clients,
            num_users=self.num_users,
            num_subs=self.num_subs,
            num_channels=self.num_channels,
            uptime_s=int(self._clock() - self._started_at_s),
        )

    # --- life ---

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something beside everything else; `close` waits for it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a background step of the hub failed", exc_info=error)

    async def close(
        self, disconnect: Disconnect = SHUTDOWN, *, timeout_s: float = 5.0
    ) -> None:
        """Close every connection and wait until presence and channels are left."""
        self.is_closing = True
        for member in self.everybody():
            member.close(disconnect)
        await self.settle(timeout_s=timeout_s)
        for task in list(self._tasks):
            task.cancel()

    async def settle(self, *, timeout_s: float = 5.0) -> None:
        """Wait until all spawned tasks have ended, then write what is pending."""
        deadline_s = self._clock() + timeout_s
        while self._tasks and (left_s := deadline_s - self._clock()) > 0:
            await asyncio.wait(self._tasks, timeout=left_s)
        self.turn.flush()


def _tell(member: Member, command: ControlCommand) -> None:
    if isinstance(command, DisconnectCommand):
        if member.client not in command.whitelist:
            member.close(command.disconnect)
    elif isinstance(command, SubscribeCommand):
        member.take_subscribe(command)
    elif isinstance(command, RefreshCommand):
        member.take_refresh(command)
    else:
        member.take_unsubscribe(command.channel)
