"""A subscriber that ends while it is written to harms nobody else in its channel."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tocsin.broker.memory import MemoryBroker
from tocsin.core.channel import (
    HistoryFilter,
    Publication,
    PublishOptions,
    StreamPosition,
)
from tocsin.hub.hub import Hub
from tocsin.hub.subscription import Subscription
from tocsin.protocol.frames import Encoding, WireForm

LINES = WireForm("lines", Encoding.JSON, lambda message: message + b"\n")


class Edge:
    """A subscriber's edge and owner; it ends at the first write once it `is_slow`."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.subscription = Subscription("a", self, self, LINES)
        self.subscription.is_positioned = True
        self.is_slow = False
        self.has_ended = False
        self.written: list[bytes] = []
        self.lost: list[str] = []

    def write(self, data: bytes) -> None:
        if self.is_slow:
            self._end()
        elif not self.has_ended:
            self.written.append(data)

    def lose_position(self, channel: str) -> None:
        self.lost.append(channel)

    def refuse_data(self) -> None:
        self._end()

    def _end(self) -> None:
        if not self.has_ended:
            self.has_ended = True
            self._hub.leave(self.subscription)

    async def join(self, offset: int, epoch: str = "e", *, base: int = 0) -> None:
        await self._hub.collect(self.subscription)
        self._hub.join(self.subscription, StreamPosition(offset, epoch), base=base)

    def numbers(self) -> list[Any]:
        self._hub.turn.flush()
        lines = b"".join(self.written).split(b"\n")
        return [json.loads(line)["push"]["pub"]["data"] for line in lines if line]


@pytest.fixture
async def hub() -> Hub:
    broker = MemoryBroker()
    hub = Hub(broker, uid="1")
    broker.listen(hub)
    return hub


def publish(
    hub: Hub, offset: int, *, epoch: str = "e", previous: bytes | None = None
) -> None:
    """A publication comes whose data is its number."""
    publication = Publication(b"%d" % offset, offset)
    position = StreamPosition(offset, epoch)
    hub.on_publication("a", publication, position, previous)


async def test_the_last_member_ends_while_another_joins(hub: Hub) -> None:
    """The newcomer hears what comes, though its group was just about to go."""
    slow, other = Edge(hub), Edge(hub)
    await slow.join(0)
    publish(hub, 1)
    slow.is_slow = True
    await other.join(1)
    assert slow.has_ended
    publish(hub, 2)
    assert other.numbers() == [2]
    assert hub.num_subs == 1


async def test_a_member_ends_while_it_leaves_because_of_a_gap(hub: Hub) -> None:
    """What waited for it is too much for it; the others are told of the gap."""
    slow, other = Edge(hub), Edge(hub)
    await slow.join(0)
    await other.join(0)
    publish(hub, 1)
    slow.is_slow = True
    publish(hub, 3)
    assert other.lost == ["a"]
    assert hub.num_subs == 0


async def test_a_straggler_ends_while_it_catches_up(hub: Hub) -> None:
    """The others that are behind still get theirs."""
    level, slow, other = Edge(hub), Edge(hub), Edge(hub)
    await level.join(10)
    await slow.join(12)
    await other.join(12)
    slow.is_slow = True
    publish(hub, 13)
    assert slow.has_ended
    assert level.lost == ["a"]
    assert other.numbers() == [13]
    publish(hub, 14)
    assert other.numbers() == [13, 14]
    assert hub.num_subs == 1


async def test_a_member_with_deltas_ends_at_its_first_publication(hub: Hub) -> None:
    """It is gone for good: the channel is left when nobody else is there."""
    slow = Edge(hub)
    slow.subscription.wants_delta = True
    await slow.join(0)
    slow.is_slow = True
    publish(hub, 1, previous=b"0")
    hub.turn.flush()
    assert slow.has_ended
    assert hub.num_subs == 0
    await hub.settle()
    assert hub.subscribers() == {}


async def test_a_ripe_group_ends_while_another_ripens(hub: Hub) -> None:
    """Who comes to a group whose last member goes hears what follows."""
    slow, other = Edge(hub), Edge(hub)
    for each in (slow, other):
        each.subscription.wants_delta = True
    await slow.join(0)
    publish(hub, 1, previous=b"0")
    hub.turn.flush()
    await other.join(1)
    slow.is_slow = True
    publish(hub, 2, previous=b"1")
    hub.turn.flush()
    publish(hub, 3, previous=b"2")
    hub.turn.flush()
    assert slow.has_ended
    assert [json.loads(str(each)) for each in other.numbers()] == [2, 3]
    assert hub.num_subs == 1


async def test_a_stream_that_began_anew_is_no_base(hub: Hub) -> None:
    """The same offset of another epoch is other data: the whole comes."""
    text = "x" * 200
    edge, other = Edge(hub), Edge(hub)
    edge.subscription.wants_delta = True
    edge.subscription.is_positioned = False
    await edge.join(0)
    first = Publication(json.dumps(text).encode(), 5)
    hub.on_publication("a", first, StreamPosition(5, "e"), None)
    await other.join(5, "f")
    second = Publication(json.dumps(text + "!").encode(), 6)
    hub.on_publication(
        "a", second, StreamPosition(6, "f"), json.dumps("y" + text).encode()
    )
    hub.turn.flush()
    pushes = [json.loads(line) for line in b"".join(edge.written).split(b"\n") if line]
    assert "delta" not in pushes[1]["push"]["pub"]
    assert json.loads(pushes[1]["push"]["pub"]["data"]) == text + "!"


@pytest.mark.parametrize("is_checked", [False, True])
async def test_the_last_one_that_missed_something(is_checked: bool) -> None:
    """The node leaves the channel with it: it may never come back."""
    broker = MemoryBroker()
    hub = Hub(broker, uid="1", position_grace_s=0)
    broker.listen(hub)
    edge = Edge(hub)
    top = (await broker.fetch_history("a", HistoryFilter(), meta_ttl_s=60)).top
    await edge.join(0, top.epoch)
    if is_checked:
        await broker.unsubscribe("a")
        options = PublishOptions(history_size=1, history_ttl_s=9, history_meta_ttl_s=9)
        await broker.publish("a", b"1", options)
        hub.on_gap()
    else:
        publish(hub, 2, epoch=top.epoch)
    await hub.settle()
    assert edge.lost == ["a"]
    assert hub._feeds == {}
    assert broker._subscribed == set()
