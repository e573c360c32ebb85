"""Hub room: this node's connections, and who of them listens to what.

It must not decide who may do what, and it knows no transport. It hears the broker
and the control bus, and encodes what is published once per form of the wire.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from tocsin.core.channel import (
    ClientInfo,
    HistoryFilter,
    NodeInfo,
    Publication,
    StreamPosition,
)
from tocsin.core.channel_ports import Broker
from tocsin.core.client_codes import SHUTDOWN, Disconnect
from tocsin.core.control import (
    ControlCommand,
    DisconnectCommand,
    RefreshCommand,
    SubscribeCommand,
    Target,
)
from tocsin.core.errors import ApiError
from tocsin.hub.arrival import Arrival
from tocsin.hub.feed import Feed
from tocsin.hub.subscription import Member, Subscription
from tocsin.hub.surveys import SurveyHandler, count_channels, list_connections
from tocsin.hub.turn import Turn
from tocsin.protocol import client_pb2 as pb
from tocsin.protocol.frames import ForeignData, WireForm, encode_push, info_message
from tocsin.protocol.tags_filter import BadFilter, compile_label_filter

# How long messages under way may take before a position counts as lost.
POSITION_GRACE_S = 1.0
_CHECKS_AT_ONCE = 32

log = logging.getLogger(__name__)


class Hub:
    """`BrokerListener` and `ControlListener` of a node.

    `uid`, `name` and `version` are what the node tells about itself.
    """

    def __init__(
        self,
        broker: Broker,
        *,
        uid: str,
        name: str = "",
        version: str = "",
        turn: Turn | None = None,
        clock: Callable[[], float] = time.monotonic,
        position_grace_s: float = POSITION_GRACE_S,
    ) -> None:
        self._broker = broker
        self._clock = clock
        self._started_at_s = clock()
        self._position_grace_s = position_grace_s
        self._feeds: dict[str, Feed] = {}
        self._members: dict[str, Member] = {}
        self._by_user: dict[str, dict[str, Member]] = {}
        self._by_session: dict[str, Member] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._surveys: dict[str, SurveyHandler] = {
            "channels": lambda params: count_channels(self.subscribers(), params),
            "connections": self._list_connections,
            "emulation": self._take_emulated,
        }
        self.turn = turn or Turn()
        self.uid = uid
        self.name = name
        self.version = version
        self.metrics: Callable[[], dict[str, float]] | None = None
        self.note_user: Callable[[str], None] | None = None
        self.is_closing = False
        self.filtered = 0

    # --- connections ---

    def add(self, member: Member) -> None:
        """Register a connection that knows its user."""
        self._members[member.client] = member
        self._by_user.setdefault(member.user, {})[member.client] = member
        if member.session:
            self._by_session[member.session] = member
        if self.note_user is not None:
            self.note_user(member.user)

    def remove(self, member: Member) -> None:
        """Forget a connection; absent is no error."""
        self._members.pop(member.client, None)
        same_user = self._by_user.get(member.user)
        if same_user is not None:
            same_user.pop(member.client, None)
            if not same_user:
                del self._by_user[member.user]
            if self.note_user is not None:
                self.note_user(member.user)
        if self._by_session.get(member.session) is member:
            del self._by_session[member.session]

    def count_user(self, user: str) -> int:
        """How many connections of a user are here."""
        return len(self._by_user.get(user, ()))

    def users(self) -> list[str]:
        """Who is connected here."""
        return list(self._by_user)

    def has_match(self, target: Target) -> bool:
        """Whether a command for this target would find a connection here."""
        return next(self._find_members(target), None) is not None

    def find_client(self, client: str) -> Member | None:
        """The connection with this client id."""
        return self._members.get(client)

    def find_session(self, session: str) -> Member | None:
        """The emulated or one-way connection with this session id."""
        return self._by_session.get(session)

    def add_session(self, member: Member) -> None:
        """Let a connection be found by its session id before it is connected."""
        self._by_session[member.session] = member

    @property
    def num_clients(self) -> int:
        """Connections that passed `connect`."""
        return len(self._members)

    @property
    def num_users(self) -> int:
        """Different users among them, nobody counting as one."""
        return len(self._by_user)

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
        """From its return on, the subscription's buffer misses nothing.

        The first one here subscribes this node; raises what the broker raises.
        """
        feed = self._feeds.get(subscription.channel)
        if feed is None:
            feed = Feed(subscription.channel, self.turn)
            self._feeds[subscription.channel] = feed
        if not feed.is_subscribed:
            await self._open(feed)
        subscription.buffer = []
        feed.collectors[subscription] = None

    async def _open(self, feed: Feed) -> None:
        feed.waiting += 1
        try:
            async with feed.lock:
                if not feed.is_subscribed:
                    await self._broker.subscribe(feed.channel)
                    feed.is_subscribed = True
                    feed.checked_at_s = self._clock()
        finally:
            feed.waiting -= 1
            if feed.is_idle and not feed.is_subscribed:
                self._feeds.pop(feed.channel, None)

    def join(
        self, subscription: Subscription, position: StreamPosition, *, base: int = 0
    ) -> None:
        """Let a collecting subscription take part from `position` on."""
        feed = self._feeds[subscription.channel]
        feed.join(subscription, position, base=base)

    def leave(self, subscription: Subscription) -> None:
        """End a subscription; the last one here unsubscribes this node."""
        feed = self._feeds.get(subscription.channel)
        if feed is None:
            return
        feed.leave(subscription)
        if feed.is_idle:
            self.spawn(self._close(feed))

    async def _close(self, feed: Feed) -> None:
        # Under the lock, so that a new subscriber's way to the broker comes after.
        async with feed.lock:
            if feed.is_idle and feed.is_subscribed:
                feed.is_subscribed = False
                try:
                    await self._broker.unsubscribe(feed.channel)
                except ApiError as error:
                    log.warning("could not leave channel at the broker: %s", error)
            if feed.is_idle and self._feeds.get(feed.channel) is feed:
                del self._feeds[feed.channel]

    # --- BrokerListener ---

    def on_publication(
        self,
        channel: str,
        publication: Publication,
        position: StreamPosition,
        previous: bytes | None,
    ) -> None:
        """See the port."""
        feed = self._feeds.get(channel)
        if feed is not None:
            arrival = Arrival(channel, publication, position.epoch, previous)
            self.filtered += feed.deliver(arrival, position)

    def on_join(self, channel: str, info: ClientInfo) -> None:
        """See the port."""
        self._push_presence(
            channel, pb.Push(channel=channel, join=pb.Join(info=info_message(info)))
        )

    def on_leave(self, channel: str, info: ClientInfo) -> None:
        """See the port."""
        self._push_presence(
            channel, pb.Push(channel=channel, leave=pb.Leave(info=info_message(info)))
        )

    def _push_presence(self, channel: str, push: pb.Push) -> None:
        feed = self._feeds.get(channel)
        if feed is None:
            return

        def build(form: WireForm) -> bytes:
            return encode_push(form, push)

        try:
            feed.push_to_watchers(build)
        except ForeignData:
            log.warning(
                "info of a client in %s is no JSON; its join is unseen", channel
            )

    def on_gap(self) -> None:
        """See the port."""
        self.spawn(self._check_all())

    # --- positions ---

    def check_position(self, channel: str, *, older_than_s: float) -> None:
        """Compare with the stream's top, if that was not done lately."""
        feed = self._feeds.get(channel)
        if feed is None or feed.is_checking or not feed.has_positions:
            return
        if self._clock() - feed.checked_at_s >= older_than_s:
            self.spawn(self._check(feed))

    def set_meta_ttl(self, channel: str, meta_ttl_s: int) -> None:
        """The lifetime that position checks renew."""
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
            top = await self._fetch_top(feed)
            if feed.find_behind(top):
                await asyncio.sleep(self._position_grace_s)
                for subscription in feed.find_behind(top):
                    feed.leave(subscription)
                    subscription.owner.lose_position(feed.channel)
            feed.checked_at_s = self._clock()
        except ApiError as error:
            log.warning("could not check positions in %s: %s", feed.channel, error)
        finally:
            feed.is_checking = False

    async def _fetch_top(self, feed: Feed) -> StreamPosition:
        history = await self._broker.fetch_history(
            feed.channel, HistoryFilter(), meta_ttl_s=feed.meta_ttl_s
        )
        return history.top

    # --- ControlListener ---

    def run(self, command: ControlCommand) -> None:
        """See the port."""
        members = list(self._find_members(command.target))
        for member in members:
            if isinstance(command, DisconnectCommand):
                if member.client not in command.whitelist:
                    member.close(command.disconnect)
            elif isinstance(command, SubscribeCommand):
                member.take_subscribe(command)
            elif isinstance(command, RefreshCommand):
                member.take_refresh(command)
            else:
                member.take_unsubscribe(command.channel)

    def _find_members(self, target: Target) -> Iterator[Member]:
        try:
            condition = (
                compile_label_filter(target.label_filter)
                if target.label_filter is not None
                else None
            )
        except BadFilter as error:
            log.warning("a control command was dropped, its label filter: %s", error)
            return
        for member in self._candidates(target):
            if (
                (target.all_users or member.user == target.user)
                and (not target.client or member.client == target.client)
                and (not target.session or member.session == target.session)
                and (condition is None or condition(member.labels))
            ):
                yield member

    def _candidates(self, target: Target) -> list[Member]:
        if target.client:
            found = self._members.get(target.client)
            return [] if found is None else [found]
        if target.session:
            found = self._by_session.get(target.session)
            return [] if found is None else [found]
        if target.all_users:
            return list(self._members.values())
        return list(self._by_user.get(target.user, {}).values())

    def answer_survey(self, op: str, params: bytes) -> bytes:
        """See the port; an unknown question is answered with nothing."""
        handler = self._surveys.get(op)
        return b"" if handler is None else handler(params)

    def on_survey(self, op: str, handler: SurveyHandler) -> None:
        """Answer one more kind of question."""
        self._surveys[op] = handler

    def _list_connections(self, params: bytes) -> bytes:
        return list_connections(
            (
                (member.client, member.user, member.describe)
                for member in self._members.values()
            ),
            params,
        )

    def _take_emulated(self, params: bytes) -> bytes:
        session, _, data = params.partition(b"\n")
        member = self._by_session.get(session.decode(errors="replace"))
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
            log.error("a background step of the hub failed", exc_info=error)

    async def close(
        self, disconnect: Disconnect = SHUTDOWN, *, timeout_s: float = 5.0
    ) -> None:
        """Close every connection and wait until presence and channels are left."""
        self.is_closing = True
        for member in [*self._members.values(), *self._by_session.values()]:
            member.close(disconnect)
        await self.settle(timeout_s=timeout_s)
        for task in list(self._tasks):
            task.cancel()

    async def settle(self, *, timeout_s: float = 5.0) -> None:
        """Wait until everything begun beside is done, and written."""
        deadline_s = self._clock() + timeout_s
        while self._tasks and (left_s := deadline_s - self._clock()) > 0:
            await asyncio.wait(self._tasks, timeout=left_s)
        self.turn.flush()
