"""Sessions room: orders of one channel run in order, beside those of other channels.

It must not carry anything out; a session's workers ask it what may begin.
"""

from __future__ import annotations

from collections import deque

from tocsin.sessions.orders import Order


class _Line:
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


class ChannelOrders:
    """One connection's orders by channel; a line exists while one of its orders runs.

    A worker calls `enter` before it runs an order and `leave` after it. An order that
    may not begin is kept here; the `leave` of an earlier one hands it out.
    """

    __slots__ = ("_by_channel", "num_waiting")

    def __init__(self) -> None:
        self._by_channel: dict[str, _Line] = {}
        self.num_waiting = 0

    def enter(self, order: Order) -> bool:
        """Whether the order may begin; else it waits here."""
        channel = order.channel
        if not channel:
            return True
        line = self._by_channel.get(channel)
        if line is None:
            line = self._by_channel[channel] = _Line()
        # Behind those that wait, even if it could run now: it must not overtake them.
        if line.waiting or not line.admits(order):
            if line.waiting is None:
                line.waiting = deque()
            line.waiting.append(order)
            self.num_waiting += 1
            return False
        line.begin(order)
        return True

    def leave(self, order: Order) -> Order | None:
        """End an order; returns the next one of its channel, which begins now."""
        channel = order.channel
        line = self._by_channel.get(channel)
        if not channel or line is None:  # `clear` was called while it ran
            return None
        line.num_under_way -= 1
        following = self._take(line)
        if following is None and not line.num_under_way:
            del self._by_channel[channel]
        return following

    def has_beside(self, channel: str) -> bool:
        """Whether `take_beside` would give an order."""
        line = self._by_channel.get(channel)
        if line is None or not line.waiting:
            return False
        return line.admits(line.waiting[0])

    def take_beside(self, channel: str) -> Order | None:
        """A waiting order that may run together with the running ones; it begins."""
        line = self._by_channel.get(channel)
        return None if line is None else self._take(line)

    def _take(self, line: _Line) -> Order | None:
        if not line.waiting or not line.admits(line.waiting[0]):
            return None
        order = line.waiting.popleft()
        self.num_waiting -= 1
        line.begin(order)
        return order

    def clear(self) -> None:
        """Forget all orders, those that wait and those that run."""
        self._by_channel.clear()
        self.num_waiting = 0
