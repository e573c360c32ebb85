"""Sessions room: the client's commands subscribe, unsubscribe and sub_refresh.

It must not decide what is granted: `channels` does. `establishing.py` puts a granted
subscription in place.
"""

from __future__ import annotations

from contextlib import suppress

from tocsin.core.client_codes import (
    ALREADY_SUBSCRIBED,
    BAD_REQUEST,
    LIMIT_EXCEEDED,
    PERMISSION_DENIED,
    WRONG_COMMAND,
    ClientDisconnect,
    ClientFault,
)
from tocsin.core.errors import UnknownChannel
from tocsin.protocol import client_pb2 as pb
from tocsin.sessions.connection import ClientConnection
from tocsin.sessions.establishing import (
    abandon,
    activate,
    announce,
    check_continuity,
    establish,
    release,
    reserve,
)
from tocsin.sessions.orders import ChannelQuery, ClientOrder

_FOSSIL = "fossil"


class SubscribeOrder(ClientOrder):
    """Subscribe to a channel; the reply holds what the client missed there."""

    __slots__ = ()
    name = "subscribe"

    async def answer(self, connection: ClientConnection) -> None:
        """See `ClientOrder`."""
        request: pb.SubscribeRequest = self.request
        _check_subscribable(connection, request)
        # Before the first await: a second subscribe to the channel finds it taken, and
        # the limit of channels counts it.
        subscription = reserve(connection, request.channel)
        try:
            grant = await connection.context.channels.authorizer.grant(
                request, user=connection.user, client=connection.client
            )
        except BaseException:
            release(connection, subscription)
            raise
        established = await establish(connection, subscription, grant)
        try:
            check_continuity(established)
            reply = pb.Reply(subscribe=established.result)
            connection.reply(self.id, reply, self.name)
        except BaseException:  # `ForeignData` too: the reply cannot carry the data
            abandon(connection, [established])
            raise
        activate(connection, established)
        await announce(connection, subscription)


def _check_subscribable(
    connection: ClientConnection, request: pb.SubscribeRequest
) -> None:
    """The checks that need no options of the channel.

    Raises `ClientDisconnect` (3501) or `ClientFault`.
    """
    channel = request.channel
    if not channel or request.delta not in {"", _FOSSIL}:
        raise ClientDisconnect(WRONG_COMMAND)
    context = connection.context
    if context.channels.namespaces.is_too_long(channel):
        raise ClientFault(BAD_REQUEST)
    if channel in connection.subscriptions:
        raise ClientFault(ALREADY_SUBSCRIBED)
    limit = context.settings.channel_limit
    if 0 < limit <= len(connection.subscriptions):
        raise ClientFault(LIMIT_EXCEEDED)


class UnsubscribeOrder(ClientOrder):
    """Leave a channel; it succeeds without a subscription too."""

    __slots__ = ()
    name = "unsubscribe"

    async def answer(self, connection: ClientConnection) -> None:
        """See `ClientOrder`."""
        channel = self.request.channel
        if not channel:
            raise ClientDisconnect(WRONG_COMMAND)
        subscription = connection.drop_subscription(channel)
        reply = pb.Reply(unsubscribe=pb.UnsubscribeResult())
        connection.reply(self.id, reply, self.name)
        if subscription is not None:
            await connection.finish_goodbye([subscription])


class SubRefreshOrder(ChannelQuery):
    """Take a newer subscription token."""

    __slots__ = ()
    name = "sub_refresh"

    async def ask_channel(
        self, connection: ClientConnection, request: pb.SubRefreshRequest
    ) -> pb.SubRefreshResult:
        """See `ChannelQuery`."""
        channels, channel = connection.context.channels, request.channel
        subscription = connection.subscriptions.get(channel)
        if subscription is None or not subscription.is_active:
            # 108 for a type of channel that this release does not serve, else 103.
            with suppress(UnknownChannel):
                channels.namespaces.options_of(channel)
            raise ClientFault(PERMISSION_DENIED)
        if not request.token:
            raise ClientFault(BAD_REQUEST)
        claims = await channels.authorizer.renew(
            channel, request.token, user=connection.user, client=connection.client
        )
        if claims is None:  # expired: as the published server answers
            return pb.SubRefreshResult()
        subscription.expire_at = claims.expire_at
        subscription.claims_id = (claims.token_id, claims.issued_at)
        subscription.info = claims.info or subscription.info
        if not claims.expire_at:
            return pb.SubRefreshResult()
        return pb.SubRefreshResult(expires=True, ttl=connection.ttl_s(claims.expire_at))
