"""Sessions room: may this client subscribe, and to what exactly.

It must not touch streams: decisions become a `Plan`, `establishing.py` acts on it.
The order of the checks is the published one.
"""

from __future__ import annotations

from dataclasses import dataclass

from tocsin.channels.claims import SubscriptionClaims, TokenExpired, TokenInvalid
from tocsin.core.channel import ChannelOptions, StreamPosition
from tocsin.core.client_codes import (
    ALREADY_SUBSCRIBED,
    BAD_REQUEST,
    EXPIRED,
    LIMIT_EXCEEDED,
    PERMISSION_DENIED,
    TOKEN_EXPIRED,
    UNKNOWN_CHANNEL,
    WRONG_COMMAND,
    ClientDisconnect,
    ClientFault,
)
from tocsin.protocol import client_pb2 as pb
from tocsin.protocol.tags_filter import BadFilter, Condition, compile_filter
from tocsin.sessions.connection import ClientSubscription, Connection
from tocsin.sessions.establishing import (
    Plan,
    activate,
    announce,
    apply_overrides,
    check_continuity,
    establish,
    release,
    reserve,
)
from tocsin.sessions.gate import check_subscription
from tocsin.sessions.refusals import Because, invalid_by

_FOSSIL = "fossil"
_REFUSE_UNRECOVERED = 2
_STREAM_TYPES = frozenset({"", "stream"})


async def subscribe(
    connection: Connection, command_id: int, request: pb.SubscribeRequest
) -> None:
    """Carry out a subscribe command and reply to it."""
    check_subscribable(connection, request)
    subscription = reserve(connection, request.channel)
    try:
        plan = await decide(connection, request)
    except BaseException:
        release(connection, subscription)
        raise
    established = await establish(connection, subscription, plan)
    try:
        check_continuity(established)
        reply = pb.Reply(subscribe=established.result)
        connection.reply(command_id, reply, "subscribe")
    except BaseException:
        _abandon(connection, subscription)
        raise
    activate(connection, established)
    await announce(connection, subscription)


def _abandon(connection: Connection, subscription: ClientSubscription) -> None:
    release(connection, subscription)
    connection.say_goodbye([subscription])


def check_subscribable(connection: Connection, request: pb.SubscribeRequest) -> None:
    """What can be said before any option is known."""
    channel = request.channel
    if not channel or request.delta not in {"", _FOSSIL}:
        raise ClientDisconnect(WRONG_COMMAND)
    context = connection.context
    if context.rules.is_too_long(channel):
        raise ClientFault(BAD_REQUEST)
    if channel in connection.subscriptions:
        raise ClientFault(ALREADY_SUBSCRIBED)
    limit = context.settings.channel_limit
    if 0 < limit <= len(connection.subscriptions):
        raise ClientFault(LIMIT_EXCEEDED)


async def decide(connection: Connection, request: pb.SubscribeRequest) -> Plan:
    """What the client is granted; raises `ClientFault` or `ClientDisconnect`."""
    channel, rules = request.channel, connection.context.rules
    options = rules.find(channel)
    if options is None:
        raise ClientFault(UNKNOWN_CHANNEL)
    if not rules.is_name_allowed(channel, options):
        raise ClientFault(BAD_REQUEST)
    if request.type or options.subscription_type not in _STREAM_TYPES:
        raise ClientFault(PERMISSION_DENIED)
    grant = await _grant(connection, request, options)
    condition, filter_key = _filter(request, options)
    if grant.expire_at and grant.expire_at <= connection.now_s():
        raise ClientFault(EXPIRED)
    options = grant.options
    access = _Access(connection, channel, options)
    return Plan(
        options=options,
        is_positioned=options.force_positioning
        or (request.positioned and (options.allow_positioning or access.to_history)),
        is_recoverable=options.force_recovery
        or (request.recoverable and (options.allow_recovery or access.to_history)),
        wants_joins=options.force_push_join_leave
        or (request.join_leave and options.join_leave and access.to_presence),
        wants_delta=request.delta in options.allowed_delta_types and condition is None,
        condition=condition,
        filter_key=filter_key,
        since=StreamPosition(request.offset, request.epoch)
        if request.recover
        else None,
        refuses_unrecovered=bool(request.flag & _REFUSE_UNRECOVERED),
        info=grant.info,
        data=grant.data,
        expire_at=grant.expire_at,
        claims_id=grant.claims_id,
    )


@dataclass(slots=True)
class _Grant:
    """What a token, or the namespace without one, gives."""

    options: ChannelOptions
    info: bytes = b""
    data: bytes = b""
    expire_at: int = 0
    claims_id: tuple[str, int] | None = None


async def _grant(
    connection: Connection, request: pb.SubscribeRequest, options: ChannelOptions
) -> _Grant:
    if request.token:
        claims = await verify_for(connection, request.channel, request.token)
        return _Grant(
            apply_overrides(options, claims.overrides),
            claims.info,
            claims.data,
            claims.expire_at,
            (claims.token_id, claims.issued_at),
        )
    context = connection.context
    if context.rules.is_private(request.channel) or not context.rules.may_subscribe(
        request.channel,
        options,
        user=connection.user,
        insecure=context.settings.insecure,
    ):
        raise ClientFault(PERMISSION_DENIED)
    return _Grant(options)


async def verify_for(
    connection: Connection, channel: str, token: str
) -> SubscriptionClaims:
    """The claims of a subscription token that is for this client and channel."""
    try:
        claims = await connection.context.verifier.verify_subscription(token)
    except TokenExpired as why:
        raise ClientFault(TOKEN_EXPIRED) from why
    except TokenInvalid as why:
        raise ClientFault(PERMISSION_DENIED) from why
    check_owner(connection, channel, claims)
    await check_subscription(connection.context, claims)
    return claims


def check_owner(
    connection: Connection, channel: str, claims: SubscriptionClaims
) -> None:
    """Raises `ClientDisconnect` (3500) for somebody else's token."""
    if (
        claims.channel != channel
        or claims.user != connection.user
        or (claims.client and claims.client != connection.client)
    ):
        why = Because("it is for another channel, user or client")
        raise invalid_by(why) from why


def _filter(
    request: pb.SubscribeRequest, options: ChannelOptions
) -> tuple[Condition | None, bytes]:
    if not request.HasField("tf"):
        return None, b""
    if not options.allow_tags_filter:
        raise ClientFault(BAD_REQUEST)
    try:
        condition = compile_filter(request.tf)
    except BadFilter:
        raise ClientFault(BAD_REQUEST) from None
    return condition, request.tf.SerializeToString(deterministic=True)


class _Access:
    """What the subscriber-to-be may read, asked only where it matters."""

    def __init__(
        self, connection: Connection, channel: str, options: ChannelOptions
    ) -> None:
        self._connection = connection
        self._channel = channel
        self._options = options

    @property
    def to_history(self) -> bool:
        context = self._connection.context
        return context.rules.may_read_history(
            self._channel,
            self._options,
            user=self._connection.user,
            subscribed=True,
            insecure=context.settings.insecure,
        )

    @property
    def to_presence(self) -> bool:
        context = self._connection.context
        return context.rules.may_read_presence(
            self._channel,
            self._options,
            user=self._connection.user,
            subscribed=True,
            insecure=context.settings.insecure,
        )
