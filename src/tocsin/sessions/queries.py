"""Sessions room: the client's commands that leave the state of its session as it is.

They decide nothing about a channel: the services of `channels` do.
"""

from __future__ import annotations

from typing import Any

from tocsin.core.channel import HistoryFilter, StreamPosition
from tocsin.core.client_codes import (
    METHOD_NOT_FOUND,
    NOT_AVAILABLE,
    UNAVAILABLE,
    WRONG_COMMAND,
    ClientDisconnect,
    ClientFault,
)
from tocsin.protocol import client_pb2 as pb
from tocsin.protocol.frames import info_message, publication_message
from tocsin.sessions.connection import ClientConnection, State
from tocsin.sessions.orders import ChannelQuery, ClientOrder, Query


class PublishOrder(ChannelQuery):
    """Publish with the client's own info, under the namespace's options.

    Several publishes of one client may run at once: every broker takes them in the
    order in which they were begun.
    """

    __slots__ = ()
    name = "publish"
    together = "publish"

    async def ask_channel(
        self, connection: ClientConnection, request: pb.PublishRequest
    ) -> pb.PublishResult:
        """See `ChannelQuery`."""
        context, channel = connection.context, request.channel
        subscription = connection.subscriptions.get(channel)
        await context.channels.publisher.publish_from_client(
            channel,
            request.data,
            connection.client_info(subscription.info if subscription else b""),
            subscribed=connection.is_subscribed(channel),
        )
        if subscription is not None:
            # A client that is subscribed gets its own publication before the reply,
            # as from the published server. Over Redis it may come after: this node
            # does not have it back yet.
            context.hub.flush(channel)
        return pb.PublishResult()


class HistoryOrder(ChannelQuery):
    """A page of history, `history_max_publication_limit` items at most."""

    __slots__ = ()
    name = "history"
    together = "read"

    async def ask_channel(
        self, connection: ClientConnection, request: pb.HistoryRequest
    ) -> pb.HistoryResult:
        """See `ChannelQuery`."""
        context = connection.context
        most = context.settings.history_max_publication_limit
        limit = request.limit
        if most > 0 and not 0 <= limit <= most:  # a negative limit asks for all
            limit = most
        since = None
        if request.HasField("since"):
            since = StreamPosition(request.since.offset, request.since.epoch)
        history = await context.channels.history.fetch_for_client(
            request.channel,
            HistoryFilter(limit, since, request.reverse),
            user=connection.user,
            subscribed=connection.is_subscribed(request.channel),
        )
        epoch = history.top.epoch
        return pb.HistoryResult(
            publications=[publication_message(p, epoch) for p in history.publications],
            epoch=epoch,
            offset=history.top.offset,
        )


class PresenceOrder(ChannelQuery):
    """Who is in the channel."""

    __slots__ = ()
    name = "presence"
    together = "read"

    async def ask_channel(
        self, connection: ClientConnection, request: pb.PresenceRequest
    ) -> pb.PresenceResult:
        """See `ChannelQuery`."""
        found = await connection.context.channels.presence.fetch_for_client(
            request.channel,
            user=connection.user,
            subscribed=connection.is_subscribed(request.channel),
        )
        return pb.PresenceResult(
            presence={client: info_message(info) for client, info in found.items()}
        )


class PresenceStatsOrder(ChannelQuery):
    """How many are in the channel."""

    __slots__ = ()
    name = "presence_stats"
    together = "read"

    async def ask_channel(
        self, connection: ClientConnection, request: pb.PresenceStatsRequest
    ) -> pb.PresenceStatsResult:
        """See `ChannelQuery`."""
        stats = await connection.context.channels.presence.fetch_stats_for_client(
            request.channel,
            user=connection.user,
            subscribed=connection.is_subscribed(request.channel),
        )
        return pb.PresenceStatsResult(
            num_clients=stats.num_clients, num_users=stats.num_users
        )


class RpcOrder(Query):
    """Run an RPC method, if this server has any."""

    __slots__ = ()
    name = "rpc"

    async def ask(self, connection: ClientConnection) -> Any:
        """See `Query`."""
        handlers = connection.context.rpc
        if not handlers:
            raise ClientFault(NOT_AVAILABLE)
        handler = handlers.get(self.request.method)
        if handler is None:
            raise ClientFault(METHOD_NOT_FOUND)
        return pb.RPCResult(data=await handler(connection.user, self.request.data))


class SendOrder(ClientOrder):
    """A message to the back end, which this server cannot pass on. It needs no id."""

    __slots__ = ()
    name = "send"

    async def run(self, connection: ClientConnection) -> None:
        """See `Order`."""
        if connection.state is not State.CONNECTED:
            raise ClientDisconnect(WRONG_COMMAND)
        await self.answer(connection)

    async def answer(self, connection: ClientConnection) -> None:  # noqa: ARG002 - as the others
        """See `ClientOrder`."""
        raise ClientDisconnect(UNAVAILABLE)
