"""Sessions room: which order a client's command is.

It must not carry anything out.
"""

from __future__ import annotations

from tocsin.protocol import client_pb2 as pb
from tocsin.sessions.connecting import Connect, Refresh
from tocsin.sessions.orders import ClientOrder, UnknownCommand
from tocsin.sessions.queries import (
    History,
    Presence,
    PresenceStats,
    Publish,
    Rpc,
    Send,
)
from tocsin.sessions.subscribing import RefreshSubscription, Subscribe, Unsubscribe

# Of several requests in one command, the first of these counts.
_FIRST_OF: dict[str, type[ClientOrder]] = {
    each.name: each
    for each in (
        Connect,
        Subscribe,
        Unsubscribe,
        Publish,
        Presence,
        PresenceStats,
        History,
        Rpc,
        Send,
        Refresh,
        RefreshSubscription,
    )
}


def read_command(message: pb.Command) -> ClientOrder:
    """The order that a command holds."""
    for name, order in _FIRST_OF.items():
        if message.HasField(name):
            return order(message.id, getattr(message, name))
    return UnknownCommand(message.id, None)
