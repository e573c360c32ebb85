"""Hub room: one channel's subscribers here, and their position in its stream.

It must not reach the broker. One position is kept for all subscribers that are level
with each other; only stragglers have a position of their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from tocsin.core.channel import StreamPosition
from tocsin.hub.arrival import Arrival
from tocsin.hub.group import Group, GroupKey, send_alone
from tocsin.hub.subscription import Subscription
from tocsin.hub.turn import Turn
from tocsin.protocol.frames import ForeignData, WireForm
from tocsin.telemetry.client_metrics import ClientMetrics


class _Step(Enum):
    """What a publication means for the subscribers at the feed's position.

    `UNSTORED`: it has no offset. `NEXT`: it follows on. `OLD`: they have it already.
    `GAP`: they missed something before it.
    """

    UNSTORED = "unstored"
    NEXT = "next"
    OLD = "old"
    GAP = "gap"


@dataclass(frozen=True, slots=True)
class Standing:
    """Everybody's position at a moment.

    `level` is that of those who were level, `None` where nobody was; `stragglers` has
    the offsets of the others.
    """

    level: StreamPosition | None
    stragglers: Mapping[Subscription, int]


class Feed:
    """A channel's subscriptions on this node.

    A subscription first collects (`Hub.collect`), then joins at a position (`join`).
    A write to a connection that is too slow ends it, and it leaves the feed at once. So
    every flush and every write may change the feed, and what was read before it has to
    be read again.

    `lock` orders this node's subscribe and unsubscribe at the broker. `waiting` counts
    those who wait for it. `checked_at_s` is on the hub's clock.
    """

    __slots__ = (
        "_groups",
        "_meter",
        "_stragglers",
        "_turn",
        "_watchers",
        "channel",
        "checked_at_s",
        "collectors",
        "epoch",
        "is_checking",
        "is_subscribed",
        "lock",
        "meta_ttl_s",
        "num_level",
        "num_subscribers",
        "offset",
        "waiting",
    )

    def __init__(self, channel: str, turn: Turn, meter: ClientMetrics) -> None:
        self.channel = channel
        self._turn = turn
        self._meter = meter
        self._groups: dict[GroupKey, Group] = {}
        self._stragglers: dict[Subscription, None] = {}
        self._watchers: dict[WireForm, Group] = {}
        self.collectors: dict[Subscription, None] = {}
        self.offset = 0
        self.epoch = ""
        self.num_level = 0
        self.num_subscribers = 0
        self.is_subscribed = False
        self.lock = asyncio.Lock()
        self.waiting = 0
        self.checked_at_s = 0.0
        self.is_checking = False
        self.meta_ttl_s = 0

    @property
    def is_idle(self) -> bool:
        """Whether nobody here is in the channel or about to be."""
        return not (self.num_subscribers or self.collectors or self.waiting)

    @property
    def has_positions(self) -> bool:
        """Whether anybody's position can be checked."""
        return bool(self.num_level or self._stragglers)

    # --- coming and going ---

    def join(
        self, subscription: Subscription, position: StreamPosition, *, base: int = 0
    ) -> None:
        """Pass it what comes from now on; a positioned one follows on `position`.

        `base` is the offset of the publication whose data the client holds, 0 for none:
        a delta may follow it.
        """
        self.collectors.pop(subscription, None)
        subscription.buffer = None
        self.num_subscribers += 1
        if subscription.wants_joins:
            self._watch(subscription)
        if not subscription.is_positioned:
            self._join_group(subscription, base)
            return
        if not self.num_level and not self._stragglers:
            self._move(position)  # nobody depends on the position that is kept
        subscription.offset, subscription.epoch = position.offset, position.epoch
        if self._is_level(subscription):
            self._join_group(subscription, base)
        else:
            self._stragglers[subscription] = None

    def leave(self, subscription: Subscription) -> None:
        """Take it out, wherever it is; what was pending for it is written first."""
        if subscription in self.collectors:
            del self.collectors[subscription]
            return
        if self._take_out(subscription):
            self.num_subscribers -= 1
        watchers = self._watchers.get(subscription.form)
        if subscription.wants_joins and watchers is not None:
            watchers.flush()
            watchers.members.pop(subscription, None)

    def _take_out(self, subscription: Subscription) -> bool:
        if subscription in self._stragglers:
            del self._stragglers[subscription]
            return True
        for key, group in self._groups.items():  # noqa: B007 - used after the break
            if subscription in group.members:
                break
        else:
            return False
        group.flush()
        if subscription not in group.members:  # the flush ended it: it has left already
            return False
        del group.members[subscription]
        self.num_level -= group.is_positioned
        if not group.members:
            del self._groups[key]
        return True

    def _is_level(self, subscription: Subscription) -> bool:
        return (subscription.offset, subscription.epoch) == (self.offset, self.epoch)

    def _join_group(self, subscription: Subscription, base: int) -> None:
        is_ready = False
        # It may get deltas at once if it holds the data that the ready group holds;
        # else it gets one whole publication first.
        if subscription.wants_delta and base:
            ready = self._groups.get(_key(subscription, is_ready=True))
            is_ready = ready is None or ready.base == base
        group = self._open(subscription, is_ready=is_ready)
        if is_ready:
            group.base = base
        group.members[subscription] = subscription.sink
        self.num_level += group.is_positioned

    def _open(self, subscription: Subscription, *, is_ready: bool) -> Group:
        key = _key(subscription, is_ready=is_ready)
        group = self._groups.get(key)
        if group is None:
            group = Group(self._turn, subscription.form, self._meter)
            self._groups[key] = group
            group.is_positioned = subscription.is_positioned
            group.wants_delta = subscription.wants_delta
            group.condition = subscription.condition
        # What is pending is for the members so far: a new one must not get it.
        group.flush()
        self._groups[key] = group  # the flush removes it if it ends the last member
        return group

    def _watch(self, subscription: Subscription) -> None:
        group = self._watchers.get(subscription.form)
        if group is None:
            group = Group(self._turn, subscription.form, self._meter)
            self._watchers[subscription.form] = group
        group.flush()
        group.members[subscription] = subscription.sink

    # --- what arrives ---

    def deliver(self, arrival: Arrival, position: StreamPosition) -> None:
        """Pass a publication to everybody it concerns."""
        for collector in self.collectors:
            if collector.buffer is not None:
                collector.buffer.append((arrival, position))
        step = self._advance(position)
        # Read before the stragglers are looked at: one that this publication makes
        # level joins a group, and has missed nothing.
        lost = self._lost() if step is _Step.GAP else []
        ripe: list[GroupKey] = []
        # A copy: a connection that cannot carry the data leaves, and with a group's
        # last member the group goes.
        for key, group in list(self._groups.items()):
            if group.is_positioned and step in {_Step.OLD, _Step.GAP}:
                continue
            self._send(group, arrival)
            if group.base and not key.is_ready:
                ripe.append(key)
        for key in ripe:
            self._ripen(key)
        if self._stragglers:
            lost += self._deliver_to_stragglers(arrival, position)
        for subscription in lost:
            self.leave(subscription)
            subscription.owner.lose_position(self.channel)

    def _advance(self, position: StreamPosition) -> _Step:
        if not position.offset:
            return _Step.UNSTORED
        # Offsets compare within one epoch only.
        is_known = self.epoch == position.epoch
        if is_known and position.offset <= self.offset:
            return _Step.OLD
        follows = is_known and position.offset == self.offset + 1
        self._move(position)
        return _Step.NEXT if follows or not self.num_level else _Step.GAP

    def _move(self, position: StreamPosition) -> None:
        if self.epoch != position.epoch:
            for group in self._groups.values():
                group.base = 0  # an offset of another epoch names other data
        self.offset, self.epoch = position.offset, position.epoch

    def _send(self, group: Group, arrival: Arrival) -> None:
        try:
            passed = group.send(arrival)
        except ForeignData:
            for subscription in list(group.members):
                subscription.owner.refuse_data()
            return
        if not passed:
            self._meter.dropped(len(group.members))

    def _ripen(self, key: GroupKey) -> None:
        """Move a group's members to the ready group: they now hold whole data.

        Both are flushed first, since what is pending differs between them.
        """
        ripe_key = key._replace(is_ready=True)
        for each in (key, ripe_key):
            if (group := self._groups.get(each)) is not None:
                group.flush()
        fresh = self._groups.pop(key, None)
        if fresh is None:  # the flush ended its last member
            return
        ready = self._groups.get(ripe_key)
        if ready is None:
            self._groups[ripe_key] = fresh
            return
        if ready.base != fresh.base:
            ready.base = 0  # they hold different data: the next one goes out whole
        ready.members.update(fresh.members)

    def _deliver_to_stragglers(
        self, arrival: Arrival, position: StreamPosition
    ) -> list[Subscription]:
        lost = []
        for subscription in list(self._stragglers):
            if not position.offset:
                send_alone(subscription, arrival, self._meter)
            elif subscription.epoch != position.epoch:
                lost.append(subscription)
            elif position.offset == subscription.offset + 1:
                subscription.offset = position.offset
                send_alone(subscription, arrival, self._meter)
            elif position.offset > subscription.offset:
                lost.append(subscription)
            # `send_alone` may have ended it.
            is_here = subscription in self._stragglers and subscription not in lost
            if is_here and self._is_level(subscription):
                del self._stragglers[subscription]
                self._join_group(subscription, 0)
        return lost

    def flush(self) -> None:
        """Write what is pending in this channel now, instead of at the turn's end."""
        for group in (*self._watchers.values(), *self._groups.values()):
            group.flush()

    def push_to_watchers(self, kind: str, build: Callable[[WireForm], bytes]) -> None:
        """Pass a join or leave to the subscribers that asked for them.

        `build` encodes it, once for each wire form; raises what it raises.
        """
        for form, group in self._watchers.items():
            if group.members:
                group.push(build(form), kind)

    # --- positions ---

    def standing(self) -> Standing:
        """Everybody's position now, for a later `find_ahead`."""
        own = StreamPosition(self.offset, self.epoch) if self.num_level else None
        return Standing(own, {each: each.offset for each in self._stragglers})

    def find_ahead(self, top: StreamPosition, before: Standing) -> list[Subscription]:
        """Those who were ahead of `top` already before it was asked for.

        Then the broker's server has lost its last writes, and numbers new publications
        with the same offsets. Whoever has seen the lost ones would take the new ones
        for old. `before` was read before the question, since publications may arrive
        while it is answered.
        """
        found = [
            each
            for each, offset in before.stragglers.items()
            if each in self._stragglers
            and each.epoch == top.epoch
            and offset > top.offset
        ]
        level = before.level
        if level is not None and level.epoch == top.epoch and level.offset > top.offset:
            found += self._lost()
        return found

    def rewind(self, top: StreamPosition) -> None:
        """Go on from `top`, unless somebody is level: their position then holds."""
        if not self.num_level:
            self.offset, self.epoch = top.offset, top.epoch

    def find_behind(self, top: StreamPosition) -> list[Subscription]:
        """Those who are at another epoch than `top`, or below its offset."""
        behind = [
            each
            for each in self._stragglers
            if each.epoch != top.epoch or each.offset < top.offset
        ]
        if self.num_level and (self.epoch != top.epoch or self.offset < top.offset):
            behind += self._lost()
        return behind

    def _lost(self) -> list[Subscription]:
        return [
            subscription
            for group in self._groups.values()
            if group.is_positioned
            for subscription in group.members
        ]


def _key(subscription: Subscription, *, is_ready: bool) -> GroupKey:
    return GroupKey(
        subscription.form,
        subscription.is_positioned,
        subscription.wants_delta,
        is_ready,
        subscription.filter_key,
    )
