"""Sessions room: puts a granted subscription in place without losing a publication.

It must not decide what is granted: `channels` has put that into the `Grant`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from tocsin.channels.authorizing import Grant
from tocsin.core.channel import RecoveryMode, StreamPosition
from tocsin.core.client_codes import (
    INSUFFICIENT_STATE,
    SERVER_ERROR,
    UNRECOVERABLE_POSITION,
    ClientDisconnect,
    ClientFault,
)
from tocsin.core.errors import ApiError
from tocsin.hub.arrival import Arrival
from tocsin.hub.group import send_alone
from tocsin.protocol import client_pb2 as pb
from tocsin.sessions.connection import ClientConnection, ClientSubscription
from tocsin.sessions.recovery import (
    Recovery,
    read_position,
    recover,
    recovered_messages,
)
from tocsin.telemetry.throttle import LineThrottle

lines = LineThrottle(structlog.get_logger(__name__))


@dataclass(slots=True)
class Established:
    """A subscription that still collects, with the result that its client gets."""

    subscription: ClientSubscription
    recovery: Recovery
    result: pb.SubscribeResult


def reserve(connection: ClientConnection, channel: str) -> ClientSubscription:
    """Take the channel's place in the connection while it is being subscribed."""
    subscription = ClientSubscription(channel, connection)
    connection.subscriptions[channel] = subscription
    return subscription


def release(connection: ClientConnection, subscription: ClientSubscription) -> None:
    """Give the place back after a failure."""
    connection.context.hub.leave(subscription)
    if connection.subscriptions.get(subscription.channel) is subscription:
        del connection.subscriptions[subscription.channel]


def abandon(connection: ClientConnection, established: Sequence[Established]) -> None:
    """Undo subscriptions that the client was not told of yet."""
    for each in established:
        release(connection, each.subscription)
    connection.say_goodbye([each.subscription for each in established])


async def establish(
    connection: ClientConnection, subscription: ClientSubscription, grant: Grant
) -> Established:
    """Begin to listen, be present, and read what was missed.

    Raises `ClientFault` (112) or `ClientDisconnect`. On any failure nothing of the
    subscription is left behind.
    """
    _configure(subscription, grant)
    try:
        return await _establish(connection, subscription, grant)
    except ApiError as error:
        lines.warning(
            "a client could not subscribe",
            client=connection.client,
            channel=subscription.channel,
            reason=str(error),
        )
        await _undo(connection, subscription)
        raise ClientDisconnect(SERVER_ERROR) from error
    except BaseException:  # a cancelled task must leave nothing behind either
        await _undo(connection, subscription)
        raise


async def _undo(connection: ClientConnection, subscription: ClientSubscription) -> None:
    release(connection, subscription)
    await connection.finish_goodbye([subscription])


def _configure(subscription: ClientSubscription, grant: Grant) -> None:
    subscription.options = grant.options
    subscription.is_server_side = grant.is_server_side
    subscription.expire_at = grant.expire_at
    subscription.claims_id = grant.claims_id
    subscription.info = grant.info
    subscription.is_positioned = grant.is_positioned or grant.is_recoverable
    subscription.wants_joins = grant.wants_joins
    subscription.wants_delta = grant.wants_delta
    subscription.condition = grant.condition
    subscription.filter_key = grant.filter_key


async def _establish(
    connection: ClientConnection, subscription: ClientSubscription, grant: Grant
) -> Established:
    context, channel = connection.context, subscription.channel
    # Listen before the stream is read. What is published meanwhile may then be both in
    # the buffer and in what was read, and `activate` drops it; the other way round it
    # could be in neither.
    await context.hub.collect(subscription)
    if grant.options.presence:
        subscription.is_present = True  # even if adding fails half-way
        await connection.tell_presence(channel)
    recovery = Recovery(StreamPosition())
    if subscription.is_positioned:
        recovery = await _read(connection, channel, grant)
        context.hub.set_meta_ttl(channel, grant.options.history_meta_ttl)
    if recovery.was_recovering:
        context.hub.meter.recovered(recovery.recovered, bool(recovery.publications))
    if recovery.was_recovering and not recovery.recovered and grant.refuses_unrecovered:
        raise ClientFault(UNRECOVERABLE_POSITION)
    # During the awaits above the connection may have ended, or another order may have
    # taken the channel's place in it.
    if (
        connection.is_closed
        or connection.subscriptions.get(channel) is not subscription
    ):
        raise Vanished
    return Established(subscription, recovery, _result(connection, grant, recovery))


class Vanished(Exception):
    """The connection ended, or left the channel, before the subscribe was done."""


async def _read(connection: ClientConnection, channel: str, grant: Grant) -> Recovery:
    context = connection.context
    options, since = grant.options, grant.since
    is_cache = options.force_recovery_mode == RecoveryMode.CACHE
    if since is None and is_cache and options.auto_cache_recover:
        since = StreamPosition()
    if since is None or not grant.is_recoverable:
        return await read_position(context.broker, channel, options)
    limit = context.settings.recovery_max_publication_limit
    return await recover(context.broker, channel, options, since, limit=limit)


def _result(
    connection: ClientConnection, grant: Grant, recovery: Recovery
) -> pb.SubscribeResult:
    positioned = grant.is_positioned or grant.is_recoverable
    offset = recovery.top.offset
    if recovery.recovered and grant.since is not None:
        # SDKs count on from this offset with each recovered publication.
        offset = grant.since.offset
    return pb.SubscribeResult(
        expires=bool(grant.expire_at),
        ttl=connection.ttl_s(grant.expire_at) if grant.expire_at else 0,
        recoverable=grant.is_recoverable,
        positioned=positioned,
        epoch=recovery.top.epoch if positioned else "",
        offset=offset if positioned else 0,
        publications=recovered_messages(
            connection.traits.form,
            recovery,
            condition=grant.condition,
            wants_delta=grant.wants_delta,
        ),
        recovered=recovery.recovered,
        was_recovering=recovery.was_recovering,
        data=grant.data,
        delta=grant.wants_delta,
    )


def check_continuity(established: Established) -> None:
    """Raise `ClientDisconnect` (3010) when a publication in between was lost.

    What the buffer holds must follow on what was read from the stream.
    """
    subscription = established.subscription
    if not subscription.is_positioned:
        return
    top = established.recovery.top
    offset = top.offset
    for _, position in subscription.buffer or ():
        if not position.offset:  # published without history: not in the stream
            continue
        if position.epoch != top.epoch or position.offset > offset + 1:
            raise ClientDisconnect(INSUFFICIENT_STATE)
        offset = max(offset, position.offset)


def activate(connection: ClientConnection, established: Established) -> None:
    """Send what was collected, then let the subscription join its channel.

    To be called right after the client was told, with no await in between: else a
    publication could go out before the result, or be collected and never sent.
    """
    subscription = established.subscription
    position = established.recovery.top
    # What was recovered ends at the top: a delta may follow on the last publication.
    base = position.offset if established.recovery.publications else 0
    for arrival, at in subscription.buffer or ():
        if _is_new(subscription, position, at):
            send_alone(subscription, arrival, connection.context.hub.meter)
            if at.offset:
                position, base = at, at.offset
    if connection.is_closed:  # by `send_alone`: its encoding cannot carry the data
        return
    subscription.is_active = True
    connection.context.hub.meter.subscribed(connection.app_name)
    connection.context.hub.join(subscription, position, base=base)


def _is_new(
    subscription: ClientSubscription, position: StreamPosition, at: StreamPosition
) -> bool:
    if not subscription.is_positioned or not at.offset:
        return True
    return at.offset > position.offset


async def announce(
    connection: ClientConnection, subscription: ClientSubscription
) -> None:
    """Publish the join; the subscriber gets its own join too."""
    if not subscription.options.join_leave or not subscription.is_active:
        return
    info = connection.client_info(subscription.info)
    try:
        await connection.context.broker.publish_join(subscription.channel, info)
    except ApiError as error:
        lines.warning(
            "a client joined a channel, and others were not told",
            client=connection.client,
            channel=subscription.channel,
            reason=str(error),
        )


def missed_arrivals(established: Established) -> list[Arrival]:
    """The recovered publications, for a client that takes them as pushes."""
    recovery = established.recovery
    return [
        Arrival(established.subscription.channel, publication, recovery.top.epoch, None)
        for publication in recovery.publications
    ]
