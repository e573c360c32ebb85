"""Sessions room: subscriptions that the server makes, at connect or later.

It must not ask for the client's permission; only its limits hold.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import structlog

from tocsin.channels.authorizing import Grant
from tocsin.channels.claims import ConnectionClaims
from tocsin.channels.refusing import Because
from tocsin.core.client_codes import (
    CHANNEL_LIMIT,
    UNSUBSCRIBE_SERVER,
    ClientDisconnect,
)
from tocsin.core.control import SubscribeCommand
from tocsin.core.errors import NotAvailable, UnknownChannel
from tocsin.hub.group import send_alone
from tocsin.protocol import client_pb2 as pb
from tocsin.sessions.connection import ClientConnection, ClientSubscription
from tocsin.sessions.establishing import (
    Established,
    abandon,
    activate,
    announce,
    check_continuity,
    establish,
    missed_arrivals,
    reserve,
)
from tocsin.sessions.orders import Order

log = structlog.get_logger(__name__)


def grant_at_connect(
    connection: ClientConnection,
    claims: ConnectionClaims | None,
    requested: Mapping[str, pb.SubscribeRequest],
) -> dict[str, Grant]:
    """The channels that the connection gets at connect, within its limit.

    Raises as `Authorizer.grant_at_connect`, and `ClientDisconnect` (3505).
    """
    context = connection.context
    grants = context.channels.authorizer.grant_at_connect(
        claims, requested, user=connection.user
    )
    limit = context.settings.channel_limit
    if 0 < limit < len(grants):
        why = Because("client.channel_limit is exceeded")
        raise ClientDisconnect(CHANNEL_LIMIT) from why
    return grants


async def establish_all(
    connection: ClientConnection, grants: Mapping[str, Grant]
) -> list[Established]:
    """Put all of them in place; when one fails, none is left and its error is raised.

    Raises as `establish`.
    """
    reserved = {channel: reserve(connection, channel) for channel in grants}
    if len(grants) == 1:
        ((channel, grant),) = grants.items()
        return [await establish(connection, reserved[channel], grant)]
    outcomes = await asyncio.gather(
        *(
            establish(connection, reserved[channel], grant)
            for channel, grant in grants.items()
        ),
        return_exceptions=True,  # all are waited for, so that all can be undone
    )
    done = [each for each in outcomes if isinstance(each, Established)]
    failures = [each for each in outcomes if isinstance(each, BaseException)]
    if failures:
        abandon(connection, done)
        raise failures[0]
    return done


class ServerSubscribeOrder(Order):
    """A subscribe of the server API; it replaces a subscription that is there."""

    __slots__ = ("_command",)

    def __init__(self, command: SubscribeCommand) -> None:
        self._command = command

    @property
    def channel(self) -> str:
        """See `Order`."""
        return self._command.channel

    async def run(self, connection: ClientConnection) -> None:
        """See `Order`."""
        channel = self._command.channel
        grant = self._find_grant(connection)
        if grant is None:
            return
        old = connection.subscriptions.get(channel)
        limit = connection.context.settings.channel_limit
        if old is None and 0 < limit <= len(connection.subscriptions):
            connection.close(CHANNEL_LIMIT, why="client.channel_limit is exceeded")
            return
        if old is not None:
            connection.drop_subscription(channel)
        subscription = reserve(connection, channel)
        try:
            established = await establish(connection, subscription, grant)
            check_continuity(established)
        except BaseException:
            # The old one was dropped without a goodbye, since the new one was to
            # take over its presence.
            if old is not None:
                connection.say_goodbye([old])
            raise
        connection.push(pb.Push(channel=channel, subscribe=_push_of(established)))
        for arrival in missed_arrivals(established):
            send_alone(subscription, arrival, connection.context.hub.meter)
        activate(connection, established)
        await _introduce(connection, subscription, old)

    def _find_grant(self, connection: ClientConnection) -> Grant | None:
        command, channel = self._command, self._command.channel
        try:
            grant = connection.context.channels.authorizer.grant_by_command(command)
        except (UnknownChannel, NotAvailable) as error:
            log.warning(
                "a subscribe of the server API is for a channel that this node does"
                " not have",
                channel=channel,
                reason=error.message,
            )
            return None
        if command.expire_at and command.expire_at <= connection.now_s():
            log.warning(
                "a subscribe of the server API comes after its expire_at",
                channel=channel,
            )
            return None
        return grant


async def _introduce(
    connection: ClientConnection,
    subscription: ClientSubscription,
    old: ClientSubscription | None,
) -> None:
    """Publish the join, unless the subscription replaces an active one.

    Then others see no join and no leave. Both had one entry in the presence store; it
    goes if only the old one was to be seen there.
    """
    if old is None or not old.is_active:
        await announce(connection, subscription)
    elif old.is_present and not subscription.is_present:
        old.is_present = False
        await connection.tell_presence(subscription.channel)


def _push_of(established: Established) -> pb.Subscribe:
    result = established.result
    return pb.Subscribe(
        recoverable=result.recoverable,
        positioned=result.positioned,
        epoch=result.epoch,
        offset=result.offset,
        data=result.data,
    )


class ServerUnsubscribeOrder(Order):
    """An unsubscribe of the server API; the push goes out in any case."""

    __slots__ = ("_channel",)

    def __init__(self, channel: str) -> None:
        self._channel = channel

    @property
    def channel(self) -> str:
        """See `Order`."""
        return self._channel

    async def run(self, connection: ClientConnection) -> None:
        """See `Order`."""
        subscription = connection.drop_subscription(self._channel)
        connection.push_unsubscribe(self._channel, UNSUBSCRIBE_SERVER)
        if subscription is not None and subscription.is_active:
            # Waited for, so that the join of a subscribe right behind comes after.
            await connection.finish_goodbye([subscription])
