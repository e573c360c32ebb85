from __future__ import annotations

from tocsin.protocol import client_pb2 as pb
from tocsin.sessions.lanes import Lanes
from tocsin.sessions.orders import ClientOrder
from tocsin.sessions.queries import HistoryOrder, PresenceOrder, PublishOrder, RpcOrder
from tocsin.sessions.subscribing import SubscribeOrder, UnsubscribeOrder


def subscribe(channel: str = "a") -> ClientOrder:
    return SubscribeOrder(1, pb.SubscribeRequest(channel=channel))


def unsubscribe(channel: str = "a") -> ClientOrder:
    return UnsubscribeOrder(2, pb.UnsubscribeRequest(channel=channel))


def publish(channel: str = "a") -> ClientOrder:
    return PublishOrder(3, pb.PublishRequest(channel=channel))


def test_one_after_the_other() -> None:
    """Each begins at the end of the one before, in the order of coming."""
    lanes = Lanes()
    orders = [subscribe(), unsubscribe(), subscribe()]
    assert [lanes.enter(each) for each in orders] == [True, False, False]
    assert lanes.num_waiting == 2
    assert lanes.leave(orders[0]) is orders[1]
    assert lanes.enter(late := unsubscribe()) is False
    assert lanes.leave(orders[1]) is orders[2]
    assert lanes.leave(orders[2]) is late
    assert lanes.leave(late) is None
    assert lanes.num_waiting == 0
    assert lanes._by_channel == {}


def test_other_channels_and_none_do_not_wait() -> None:
    """A slow channel holds up nobody else."""
    lanes = Lanes()
    assert lanes.enter(subscribe("a"))
    assert lanes.enter(subscribe("b"))
    rpc = RpcOrder(1, pb.RPCRequest())
    assert lanes.enter(rpc)
    assert lanes.enter(rpc)
    assert lanes.leave(rpc) is None
    assert not lanes.enter(unsubscribe("a"))


def test_those_that_go_together() -> None:
    """Publications are begun in order and under way at once; so are reads."""
    lanes = Lanes()
    first, second = publish(), publish()
    assert lanes.enter(first)
    assert lanes.enter(second)
    read = HistoryOrder(4, pb.HistoryRequest(channel="a"))
    other = PresenceOrder(5, pb.PresenceRequest(channel="a"))
    assert not lanes.enter(read)
    assert not lanes.enter(other)
    assert not lanes.enter(last := publish())
    assert lanes.leave(first) is None
    assert lanes.leave(second) is read
    assert lanes.has_beside("a")
    assert lanes.take_beside("a") is other
    assert not lanes.has_beside("a")
    assert lanes.take_beside("a") is None
    assert lanes.leave(read) is None
    assert lanes.leave(other) is last


def test_nobody_is_overtaken_by_his_own_kind() -> None:
    """A publication behind an unsubscribe waits, though others are under way."""
    lanes = Lanes()
    assert lanes.enter(first := publish())
    assert not lanes.enter(leaving := unsubscribe())
    assert not lanes.enter(late := publish())
    assert lanes.leave(first) is leaving
    assert lanes.take_beside("a") is None
    assert lanes.leave(leaving) is late


def test_an_end_in_the_middle() -> None:
    """What waited is forgotten; who is still under way leaves in peace."""
    lanes = Lanes()
    order = subscribe()
    lanes.enter(order)
    lanes.enter(unsubscribe())
    lanes.clear()
    assert lanes.num_waiting == 0
    assert lanes.leave(order) is None
