"""Sessions room: the client's commands besides connect and subscribe.

It must not write: each function returns what the reply holds, or raises.
"""

from __future__ import annotations

import structlog

from tocsin.channels.claims import TokenExpired, TokenInvalid
from tocsin.core.channel import (
    ChannelOptions,
    HistoryFilter,
    PublishOptions,
    StreamPosition,
)
from tocsin.core.client_codes import (
    BAD_REQUEST,
    INTERNAL,
    METHOD_NOT_FOUND,
    NOT_AVAILABLE,
    PERMISSION_DENIED,
    UNKNOWN_CHANNEL,
    UNRECOVERABLE_POSITION,
    WRONG_COMMAND,
    ClientDisconnect,
    ClientFault,
)
from tocsin.core.errors import ApiError, BadRequest, UnrecoverablePosition
from tocsin.protocol import client_pb2 as pb
from tocsin.protocol.frames import info_message, is_json, publication_message
from tocsin.sessions.connection import Connection
from tocsin.sessions.gate import check_subscription
from tocsin.sessions.refusals import invalid_by
from tocsin.sessions.subscribing import check_owner
from tocsin.telemetry.throttle import LineThrottle

lines = LineThrottle(structlog.get_logger(__name__))


def _find(connection: Connection, channel: str) -> ChannelOptions:
    if not channel:
        raise ClientDisconnect(WRONG_COMMAND)
    rules = connection.context.rules
    options = rules.find(channel)
    if options is None:
        raise ClientFault(UNKNOWN_CHANNEL)
    if not rules.is_name_allowed(channel, options):
        raise ClientFault(BAD_REQUEST)
    return options


def _is_data_allowed(data: bytes, format: str) -> bool:
    if format == "binary":
        return True
    if format == "json_object":
        return data.lstrip(b" \t\r\n")[:1] == b"{" and is_json(data)
    return is_json(data) if format == "json" else bool(data)


async def publish(
    connection: Connection, request: pb.PublishRequest
) -> pb.PublishResult:
    """Publish with the client's own info, under the namespace's options."""
    channel = request.channel
    options = _find(connection, channel)
    if not _is_data_allowed(request.data, options.publication_data_format):
        raise ClientFault(BAD_REQUEST)
    context = connection.context
    if not context.rules.may_publish(
        channel,
        options,
        user=connection.user,
        subscribed=connection.is_subscribed(channel),
        insecure=context.settings.insecure,
    ):
        raise ClientFault(PERMISSION_DENIED)
    subscription = connection.subscriptions.get(channel)
    chan_info = subscription.info if subscription is not None else b""
    await context.broker.publish(
        channel,
        request.data,
        PublishOptions(
            history_size=options.history_size,
            history_ttl_s=options.history_ttl,
            history_meta_ttl_s=options.history_meta_ttl,
            delta=options.delta_publish,
            info=connection.client_info(chan_info),
        ),
    )
    if subscription is not None:
        # One's own publication comes before the reply, as from the published server
        # (where this node has it by then: over Redis it comes when it comes).
        context.hub.flush(channel)
    return pb.PublishResult()


async def read_history(
    connection: Connection, request: pb.HistoryRequest
) -> pb.HistoryResult:
    """A page of history, `history_max_publication_limit` items at most."""
    channel = request.channel
    options = _find(connection, channel)
    if not options.keeps_history:
        raise ClientFault(NOT_AVAILABLE)
    context = connection.context
    if not context.rules.may_read_history(
        channel,
        options,
        user=connection.user,
        subscribed=connection.is_subscribed(channel),
        insecure=context.settings.insecure,
    ):
        raise ClientFault(PERMISSION_DENIED)
    most = context.settings.history_max_publication_limit
    limit = request.limit
    if most > 0 and not 0 <= limit <= most:
        limit = most
    since = None
    if request.HasField("since"):
        since = StreamPosition(request.since.offset, request.since.epoch)
    try:
        history = await context.broker.fetch_history(
            channel,
            HistoryFilter(limit, since, request.reverse),
            meta_ttl_s=options.history_meta_ttl,
        )
    except UnrecoverablePosition:
        raise ClientFault(UNRECOVERABLE_POSITION) from None
    except BadRequest:
        raise ClientFault(BAD_REQUEST) from None
    epoch = history.top.epoch
    return pb.HistoryResult(
        publications=[publication_message(p, epoch) for p in history.publications],
        epoch=epoch,
        offset=history.top.offset,
    )


def _check_presence(connection: Connection, channel: str) -> None:
    options = _find(connection, channel)
    if not options.presence:
        raise ClientFault(NOT_AVAILABLE)
    context = connection.context
    if not context.rules.may_read_presence(
        channel,
        options,
        user=connection.user,
        subscribed=connection.is_subscribed(channel),
        insecure=context.settings.insecure,
    ):
        raise ClientFault(PERMISSION_DENIED)


async def read_presence(
    connection: Connection, request: pb.PresenceRequest
) -> pb.PresenceResult:
    """Who is in the channel."""
    _check_presence(connection, request.channel)
    found = await connection.context.presence.fetch(request.channel)
    return pb.PresenceResult(
        presence={client: info_message(info) for client, info in found.items()}
    )


async def read_presence_stats(
    connection: Connection, request: pb.PresenceStatsRequest
) -> pb.PresenceStatsResult:
    """How many are in the channel."""
    _check_presence(connection, request.channel)
    stats = await connection.context.presence.fetch_stats(request.channel)
    return pb.PresenceStatsResult(
        num_clients=stats.num_clients, num_users=stats.num_users
    )


async def call(connection: Connection, request: pb.RPCRequest) -> pb.RPCResult:
    """Run an RPC method, if this server has any."""
    handlers = connection.context.rpc
    if not handlers:
        raise ClientFault(NOT_AVAILABLE)
    handler = handlers.get(request.method)
    if handler is None:
        raise ClientFault(METHOD_NOT_FOUND)
    return pb.RPCResult(data=await handler(connection.user, request.data))


async def refresh_subscription(
    connection: Connection, request: pb.SubRefreshRequest
) -> pb.SubRefreshResult:
    """Take a newer subscription token."""
    channel = request.channel
    if not channel:
        raise ClientDisconnect(WRONG_COMMAND)
    subscription = connection.subscriptions.get(channel)
    if subscription is None or not subscription.is_active:
        raise ClientFault(PERMISSION_DENIED)
    if not request.token:
        raise ClientFault(BAD_REQUEST)
    try:
        claims = await connection.context.verifier.verify_subscription(request.token)
    except TokenExpired:
        return pb.SubRefreshResult()  # as the published server answers
    except TokenInvalid as why:
        raise invalid_by(why) from why
    check_owner(connection, channel, claims)
    await check_subscription(connection.context, claims)
    subscription.expire_at = claims.expire_at
    subscription.claims_id = (claims.token_id, claims.issued_at)
    subscription.info = claims.info or subscription.info
    if not claims.expire_at:
        return pb.SubRefreshResult()
    return pb.SubRefreshResult(expires=True, ttl=connection.ttl_s(claims.expire_at))


def fault_of(connection: Connection, error: ApiError) -> ClientFault:
    """The error reply for a failure of the broker or the presence store."""
    lines.warning(
        "a command of a client failed", client=connection.client, reason=str(error)
    )
    return ClientFault(INTERNAL)
