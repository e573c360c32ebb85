"""Sessions room: turns a client's command into the order that carries it out.

It must not carry anything out itself.
"""

from __future__ import annotations

from tocsin.protocol import client_pb2 as pb
from tocsin.sessions.connecting import ConnectOrder, RefreshOrder
from tocsin.sessions.orders import ClientOrder, UnknownOrder
from tocsin.sessions.queries import (
    HistoryOrder,
    PresenceOrder,
    PresenceStatsOrder,
    PublishOrder,
    RpcOrder,
    SendOrder,
)
from tocsin.sessions.subscribing import (
    SubRefreshOrder,
    SubscribeOrder,
    UnsubscribeOrder,
)

# A command should hold one request. Where it holds several, the first one in this
# list counts.
_FIRST_OF: dict[str, type[ClientOrder]] = {
    each.name: each
    for each in (
        ConnectOrder,
        SubscribeOrder,
        UnsubscribeOrder,
        PublishOrder,
        PresenceOrder,
        PresenceStatsOrder,
        HistoryOrder,
        RpcOrder,
        SendOrder,
        RefreshOrder,
        SubRefreshOrder,
    )
}


def read_command(message: pb.Command) -> ClientOrder:
    """The order that a command holds."""
    for name, order in _FIRST_OF.items():
        if message.HasField(name):
            return order(message.id, getattr(message, name))
    return UnknownOrder(message.id, None)
