"""Sessions room: the regular upkeep of a connection's subscriptions.

It must not keep time: the session calls it at each tick.
"""

from __future__ import annotations

import structlog

from tocsin.core.client_codes import SUBSCRIPTION_EXPIRED, UNSUBSCRIBE_EXPIRED
from tocsin.core.errors import ApiError
from tocsin.sessions.connection import ClientConnection, ClientSubscription
from tocsin.telemetry.throttle import LineThrottle

lines = LineThrottle(structlog.get_logger(__name__))


def look_after(connection: ClientConnection) -> None:
    """End what has expired, check positions, and renew presence."""
    settings, now_s = connection.context.settings, connection.now_s()
    present = []
    for subscription in list(connection.subscriptions.values()):  # `_expire` removes
        expire_at = subscription.expire_at
        if expire_at and now_s > expire_at + settings.expired_sub_close_delay_s:
            _expire(connection, subscription)
            if connection.is_closed:
                return
            continue
        if subscription.is_present and subscription.is_active:
            present.append(subscription)
        delay_s = settings.channel_position_check_delay_s
        if subscription.is_positioned and delay_s > 0:
            hub = connection.context.hub
            hub.check_position(subscription.channel, older_than_s=delay_s)
    if present:
        connection.spawn(_renew_presence(connection, present))


def _expire(connection: ClientConnection, subscription: ClientSubscription) -> None:
    if subscription.is_server_side:
        connection.close(SUBSCRIPTION_EXPIRED)
    elif connection.drop_subscription(subscription.channel) is not None:
        connection.push_unsubscribe(subscription.channel, UNSUBSCRIBE_EXPIRED)
        connection.say_goodbye([subscription])


async def _renew_presence(
    connection: ClientConnection, subscriptions: list[ClientSubscription]
) -> None:
    try:
        for subscription in subscriptions:
            if subscription.is_present:  # it may have left during the writes before
                await connection.tell_presence(subscription.channel)
    except ApiError as error:
        lines.warning(
            "presence of a client not renewed",
            client=connection.client,
            reason=str(error),
        )
