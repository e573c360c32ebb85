from __future__ import annotations

from tocsin.protocol import client_pb2 as pb
from tocsin.sessions.channel_orders import ChannelOrders
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
    by_channel = ChannelOrders()
    orders = [subscribe(), unsubscribe(), subscribe()]
    assert [by_channel.enter(each) for each in orders] == [True, False, False]
    assert by_channel.num_waiting == 2
    assert by_channel.leave(orders[0]) is orders[1]
    assert by_channel.enter(late := unsubscribe()) is False
    assert by_channel.leave(orders[1]) is orders[2]
    assert by_channel.leave(orders[2]) is late
    assert by_channel.leave(late) is None
    assert by_channel.num_waiting == 0
    assert by_channel._by_channel == {}


def test_other_channels_and_none_do_not_wait() -> None:
    """A slow channel holds up nobody else."""
    by_channel = ChannelOrders()
    assert by_channel.enter(subscribe("a"))
    assert by_channel.enter(subscribe("b"))
    rpc = RpcOrder(1, pb.RPCRequest())
    assert by_channel.enter(rpc)
    assert by_channel.enter(rpc)
    assert by_channel.leave(rpc) is None
    assert not by_channel.enter(unsubscribe("a"))


def test_those_that_go_together() -> None:
    """Publications are begun in order and under way at once; so are reads."""
    by_channel = ChannelOrders()
    first, second = publish(), publish()
    assert by_channel.enter(first)
    assert by_channel.enter(second)
    read = HistoryOrder(4, pb.HistoryRequest(channel="a"))
    other = PresenceOrder(5, pb.PresenceRequest(channel="a"))
    assert not by_channel.enter(read)
    assert not by_channel.enter(other)
    assert not by_channel.enter(last := publish())
    assert by_channel.leave(first) is None
    assert by_channel.leave(second) is read
    assert by_channel.has_beside("a")
    assert by_channel.take_beside("a") is other
    assert not by_channel.has_beside("a")
    assert by_channel.take_beside("a") is None
    assert by_channel.leave(read) is None
    assert by_channel.leave(other) is last


def test_nobody_is_overtaken_by_his_own_kind() -> None:
    """A publication behind an unsubscribe waits, though others are under way."""
    by_channel = ChannelOrders()
    assert by_channel.enter(first := publish())
    assert not by_channel.enter(leaving := unsubscribe())
    assert not by_channel.enter(late := publish())
    assert by_channel.leave(first) is leaving
    assert by_channel.take_beside("a") is None
    assert by_channel.leave(leaving) is late


def test_an_end_in_the_middle() -> None:
    """What waited is forgotten; who is still under way leaves in peace."""
    by_channel = ChannelOrders()
    order = subscribe()
    by_channel.enter(order)
    by_channel.enter(unsubscribe())
    by_channel.clear()
    assert by_channel.num_waiting == 0
    assert by_channel.leave(order) is None


def test_nothing_is_beside_where_nothing_waits() -> None:
    """Neither in a channel with one order alone, nor in one without any."""
    by_channel = ChannelOrders()
    assert not by_channel.has_beside("a")
    assert by_channel.enter(publish())
    assert not by_channel.has_beside("a")
    assert by_channel.take_beside("a") is None
