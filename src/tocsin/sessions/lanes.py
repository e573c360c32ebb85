"""Sessions room: orders of one channel run in order, beside those of other channels.

It must not carry anything out; a session's workers ask it what may begin.
"""

from __future__ import annotations

from collections import deque

from tocsin.sessions.orders import Order


class _Lane:
    """One channel's orders: how many are running, of which kind, and which wait."""

    __slots__ = ("num_under_way", "together", "waiting")

    def __init__(self) -> None:
        self.num_under_way = 0
        self.together = ""
        self.waiting: deque[Order] | None = None

    def admits(self, order: Order) -> bool:
        """Whether the orders that are running now let it begin."""
        if not self.num_under_way:
            return True
        return bool(order.together) and order.together == self.together

    def begin(self, order: Order) -> None:
        """Count one more running order."""
        self.num_under_way += 1
        self.together = order.together


class Lanes:
    """The lanes of one connection; a lane exists while one of its orders runs.

    A worker calls `enter` before it runs an order and `leave` after it. An order that
    may not begin is kept here; the `leave` of an earlier one hands it out.
    """

    __slots__ = ("_by_channel", "num_waiting")

    def __init__(self) -> None:
        self._by_channel: dict[str, _Lane] = {}
        self.num_waiting = 0

    def enter(self, order: Order) -> bool:
        """Whether the order may begin; else it waits here."""
        channel = order.channel
        if not channel:
            return True
        lane = self._by_channel.get(channel)
        if lane is None:
            lane = self._by_channel[channel] = _Lane()
        # Behind those that wait, even if it could run now: it must not overtake them.
        if lane.waiting or not lane.admits(order):
            if lane.waiting is None:
                lane.waiting = deque()
            lane.waiting.append(order)
            self.num_waiting += 1
            return False
        lane.begin(order)
        return True

    def leave(self, order: Order) -> Order | None:
        """End an order; returns the next one of its channel, which begins now."""
        channel = order.channel
        lane = self._by_channel.get(channel)
        if not channel or lane is None:  # `clear` was called while it ran
            return None
        lane.num_under_way -= 1
        following = self._take(lane)
        if following is None and not lane.num_under_way:
            del self._by_channel[channel]
        return following

    def has_beside(self, channel: str) -> bool:
        """Whether `take_beside` would give an order."""
        lane = self._by_channel.get(channel)
        if lane is None or not lane.waiting:
            return False
        return lane.admits(lane.waiting[0])

    def take_beside(self, channel: str) -> Order | None:
        """A waiting order that may run together with the running ones; it begins."""
        lane = self._by_channel.get(channel)
        return None if lane is None else self._take(lane)

    def _take(self, lane: _Lane) -> Order | None:
        if not lane.waiting or not lane.admits(lane.waiting[0]):
            return None
        order = lane.waiting.popleft()
        self.num_waiting -= 1
        lane.begin(order)
        return order

    def clear(self) -> None:
        """Forget all orders, those that wait and those that run."""
        self._by_channel.clear()
        self.num_waiting = 0
