"""Sessions room: subscriptions that the server makes, at connect or later.

It must not ask for the client's permission; only its limits hold.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tocsin.channels.claims import ConnectionClaims, SubscriptionClaims
from tocsin.core.channel import ChannelOptions, StreamPosition
from tocsin.core.client_codes import (
    CHANNEL_LIMIT,
    UNKNOWN_CHANNEL,
    UNSUBSCRIBE_SERVER,
    WRONG_COMMAND,
    ClientDisconnect,
    ClientFault,
)
from tocsin.core.control import SubscribeCommand
from tocsin.hub.group import send_alone
from tocsin.protocol import client_pb2 as pb
from tocsin.sessions.connection import ClientSubscription, Connection
from tocsin.sessions.establishing import (
    Established,
    Plan,
    activate,
    announce,
    apply_overrides,
    check_continuity,
    establish,
    missed_arrivals,
    release,
    reserve,
)
from tocsin.sessions.farewell import tell_presence
from tocsin.sessions.refusals import Because

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A channel that the connection gets at connect."""

    options: ChannelOptions
    claims: SubscriptionClaims | None = None


def plan_at_connect(
    connection: Connection,
    claims: ConnectionClaims | None,
    requested: Mapping[str, pb.SubscribeRequest],
) -> dict[str, Plan]:
    """The channels of the token, the personal one, and those asked for and allowed.

    Raises `ClientFault` (102) or `ClientDisconnect` (3501, 3505).
    """
    wanted = _wanted_by_server(connection, claims)
    for channel in requested:
        if channel not in wanted:
            _add_requested(connection, wanted, channel)
    limit = connection.context.settings.channel_limit
    if 0 < limit < len(wanted):
        why = Because("client.channel_limit is exceeded")
        raise ClientDisconnect(CHANNEL_LIMIT) from why
    return {
        channel: _plan(each, requested.get(channel)) for channel, each in wanted.items()
    }


def _wanted_by_server(
    connection: Connection, claims: ConnectionClaims | None
) -> dict[str, _Wanted]:
    rules = connection.context.rules
    subs: dict[str, SubscriptionClaims | None] = {}
    if claims is not None:
        subs.update(claims.subs or dict.fromkeys(claims.channels))
    personal = rules.personal_channel(connection.user)
    if personal is not None:
        subs.setdefault(personal, None)
    wanted = {}
    for channel, granted in subs.items():
        options = rules.find(channel)
        if options is None:
            why = Because("a channel of the token has a namespace that is unknown")
            raise ClientFault(UNKNOWN_CHANNEL) from why
        overrides = granted.overrides if granted is not None else {}
        wanted[channel] = _Wanted(apply_overrides(options, overrides), granted)
    return wanted


def _add_requested(
    connection: Connection, wanted: dict[str, _Wanted], channel: str
) -> None:
    context = connection.context
    options = context.rules.find(channel)
    if options is None:
        why = Because("a channel of the connect has a namespace that is unknown")
        raise ClientDisconnect(WRONG_COMMAND) from why
    if (
        not context.rules.is_private(channel)
        and context.rules.is_name_allowed(channel, options)
        and not context.rules.is_too_long(channel)
        and context.rules.may_subscribe(
            channel,
            options,
            user=connection.user,
            insecure=context.settings.insecure,
        )
    ):
        wanted[channel] = _Wanted(options)


def _plan(wanted: _Wanted, request: pb.SubscribeRequest | None) -> Plan:
    options, claims = wanted.options, wanted.claims
    since = None
    if request is not None and request.recover:
        since = StreamPosition(request.offset, request.epoch)
    return Plan(
        options=options,
        is_server_side=True,
        is_positioned=options.force_positioning,
        is_recoverable=options.force_recovery,
        wants_joins=options.force_push_join_leave,
        since=since,
        info=claims.info if claims is not None else b"",
        data=claims.data if claims is not None else b"",
    )


async def establish_all(
    connection: Connection, plans: Mapping[str, Plan]
) -> list[Established]:
    """Put all of them in place; when one fails, none is left and it is raised."""
    reserved = {channel: reserve(connection, channel) for channel in plans}
    if len(plans) == 1:
        ((channel, plan),) = plans.items()
        return [await establish(connection, reserved[channel], plan)]
    outcomes = await asyncio.gather(
        *(
            establish(connection, reserved[channel], plan)
            for channel, plan in plans.items()
        ),
        return_exceptions=True,
    )
    done = [each for each in outcomes if isinstance(each, Established)]
    failures = [each for each in outcomes if isinstance(each, BaseException)]
    if failures:
        abandon(connection, done)
        raise failures[0]
    return done


def abandon(connection: Connection, established: Sequence[Established]) -> None:
    """Give up what was put in place and not told to the client yet."""
    for each in established:
        release(connection, each.subscription)
    connection.say_goodbye([each.subscription for each in established])


async def subscribe_by_command(
    connection: Connection, command: SubscribeCommand
) -> None:
    """Carry out a subscribe command of the server API."""
    channel = command.channel
    options = connection.context.rules.find(channel)
    if options is None:
        log.warning("subscribe to %s: its namespace is not configured here", channel)
        return
    if command.expire_at and command.expire_at <= connection.now_s():
        log.warning("subscribe to %s: expire_at is in the past", channel)
        return
    old = connection.subscriptions.get(channel)
    limit = connection.context.settings.channel_limit
    if old is None and 0 < limit <= len(connection.subscriptions):
        connection.close(CHANNEL_LIMIT, why="client.channel_limit is exceeded")
        return
    if old is not None:
        connection.drop_subscription(channel)
    plan = _plan_of(command, apply_overrides(options, command.overrides))
    subscription = reserve(connection, channel)
    try:
        established = await establish(connection, subscription, plan)
        check_continuity(established)
    except BaseException:
        if old is not None:
            connection.say_goodbye([old])
        raise
    connection.push(pb.Push(channel=channel, subscribe=_push_of(established)))
    for arrival in missed_arrivals(established):
        send_alone(subscription, arrival, connection.context.hub.meter)
    activate(connection, established)
    await _introduce(connection, subscription, old)


async def _introduce(
    connection: Connection,
    subscription: ClientSubscription,
    old: ClientSubscription | None,
) -> None:
    """Tell of a subscription, or let it take the place of the one before silently."""
    if old is None or not old.is_active:
        await announce(connection, subscription)
    elif old.is_present and not subscription.is_present:
        old.is_present = False
        await tell_presence(connection, subscription.channel)


def _plan_of(command: SubscribeCommand, options: ChannelOptions) -> Plan:
    return Plan(
        options=options,
        is_server_side=True,
        is_positioned=options.force_positioning,
        is_recoverable=options.force_recovery,
        wants_joins=options.force_push_join_leave,
        since=command.recover_since,
        info=command.info,
        data=command.data,
        expire_at=command.expire_at,
    )


def _push_of(established: Established) -> pb.Subscribe:
    result = established.result
    return pb.Subscribe(
        recoverable=result.recoverable,
        positioned=result.positioned,
        epoch=result.epoch,
        offset=result.offset,
        data=result.data,
    )


async def unsubscribe_by_command(connection: Connection, channel: str) -> None:
    """Carry out an unsubscribe of the server API: the push comes in any case."""
    subscription = connection.drop_subscription(channel)
    connection.push_unsubscribe(channel, UNSUBSCRIBE_SERVER)
    if subscription is not None and subscription.is_active:
        # Waited for, so that a subscribe right behind it comes after.
        await connection.finish_goodbye([subscription])
