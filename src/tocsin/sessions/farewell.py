"""Sessions room: what others are told of one who leaves a channel.

It must not end anything: the subscription has left its channel already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from tocsin.core.errors import ApiError
from tocsin.telemetry.throttle import LineThrottle

if TYPE_CHECKING:  # a connection says goodbye itself
    from tocsin.sessions.connection import ClientSubscription, Connection

lines = LineThrottle(structlog.get_logger(__name__))


async def tell_presence(connection: Connection, channel: str) -> None:
    """Make the presence store say whether the connection is in the channel.

    It may have left, or come back, while the store was told: then it is told again.
    Raises what the store raises.
    """
    presence = connection.context.presence
    while True:
        current = _present(connection, channel)
        if current is None:
            await presence.remove(channel, connection.client, connection.user)
        else:
            await presence.add(channel, connection.client_info(current.info))
        if _present(connection, channel) is current:
            return


def _present(connection: Connection, channel: str) -> ClientSubscription | None:
    current = connection.subscriptions.get(channel)
    return current if current is not None and current.is_present else None


async def say_goodbye(connection: Connection, subscription: ClientSubscription) -> None:
    """Remove presence and publish the leave of one subscription.

    A newer one of the same connection keeps its presence.
    """
    context, options = connection.context, subscription.options
    channel = subscription.channel
    try:
        if subscription.is_present:
            subscription.is_present = False
            await tell_presence(connection, channel)
        if options.join_leave and subscription.is_active:
            info = connection.client_info(subscription.info)
            await context.broker.publish_leave(channel, info)
    except ApiError as error:
        lines.warning(
            "a client left a channel, and others were not told",
            client=connection.client,
            channel=channel,
            reason=str(error),
        )
