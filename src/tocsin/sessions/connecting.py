"""Sessions room: who connects, and with what.

It must not verify signatures itself, and it writes nothing: `session.py` replies.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tocsin.channels.claims import ConnectionClaims, TokenExpired, TokenInvalid
from tocsin.core.client_codes import (
    CONNECTION_EXPIRED,
    CONNECTION_LIMIT,
    DENIED,
    EXPIRED,
    INSUFFICIENT_STATE,
    PERMISSION_DENIED,
    SERVER_ERROR,
    SHUTDOWN,
    TOKEN_EXPIRED,
    TOO_MANY_COMMANDS,
    TOO_MANY_REQUESTS,
    WRONG_COMMAND,
    ClientDisconnect,
    ClientError,
    ClientFault,
    Disconnect,
)
from tocsin.core.control import DisconnectCommand, RefreshCommand, Target
from tocsin.protocol import client_pb2 as pb
from tocsin.sessions.connection import Connection, State
from tocsin.sessions.establishing import Established, Vanished, check_continuity
from tocsin.sessions.gate import check_connection
from tocsin.sessions.refusals import Because, invalid_by
from tocsin.sessions.server_side import abandon, establish_all, plan_at_connect

_UNI_DISCONNECTS = {
    TOKEN_EXPIRED.code: CONNECTION_EXPIRED,
    EXPIRED.code: CONNECTION_EXPIRED,
    TOO_MANY_REQUESTS.code: TOO_MANY_COMMANDS,
    PERMISSION_DENIED.code: DENIED,
}


@dataclass(slots=True)
class Connected:
    """A connection that is ready but for its reply."""

    result: pb.ConnectResult
    established: list[Established] = field(default_factory=list)


async def connect(connection: Connection, request: pb.ConnectRequest) -> Connected:
    """Authenticate, register, and put the server-side subscriptions in place.

    Raises `ClientFault` or `ClientDisconnect`; the caller closes or refuses. Raises
    `Vanished` when the connection ended meanwhile.
    """
    claims = await _authenticate(connection, request)
    # Asking for keys and denials takes time: nobody registers who has gone, nor
    # after everybody was told to go.
    if connection.is_closed:
        raise Vanished
    if connection.context.hub.is_closing:
        raise ClientDisconnect(SHUTDOWN)
    _take_identity(connection, claims, request)
    _check_limits(connection, claims)
    plans = plan_at_connect(connection, claims, request.subs)
    connection.context.hub.add(connection)
    established = []
    if plans:
        established = await establish_all(connection, plans)
    try:
        if connection.context.settings.single_connection and connection.user:
            await _close_others(connection)
        for each in established:
            check_continuity(each)
    except BaseException:
        abandon(connection, established)
        raise
    connection.connected_at_ms = connection.context.clock.now_ms()
    return Connected(_result(connection, established), established)


async def _authenticate(
    connection: Connection, request: pb.ConnectRequest
) -> ConnectionClaims | None:
    context = connection.context
    settings = context.settings
    if request.token:
        claims = await _verify(connection, request.token)
        if not claims.user and settings.disallow_anonymous_connection_tokens:
            setting = "client.disallow_anonymous_connection_tokens"
            raise ClientDisconnect(DENIED) from Because(f"{setting} is set")
        await check_connection(context, claims)
        return claims
    if settings.insecure or settings.allow_anonymous_connect_without_token:
        return None
    if connection.header_user:
        if not _is_text(connection.header_user):
            raise ClientDisconnect(WRONG_COMMAND)
        claims = ConnectionClaims(connection.header_user)
        await check_connection(context, claims, has_token=False)
        return claims
    raise ClientDisconnect(WRONG_COMMAND) from Because("the connect has no token")


def _is_text(header: str) -> bool:
    """Whether a header held UTF-8: other bytes come as halves of surrogate pairs."""
    try:
        header.encode()
    except UnicodeEncodeError:
        return False
    return True


async def _verify(connection: Connection, token: str) -> ConnectionClaims:
    try:
        return await connection.context.verifier.verify_connection(token)
    except TokenExpired as why:
        raise ClientFault(TOKEN_EXPIRED) from why
    except TokenInvalid as why:
        raise invalid_by(why) from why


def _take_identity(
    connection: Connection,
    claims: ConnectionClaims | None,
    request: pb.ConnectRequest,
) -> None:
    connection.app_name, connection.app_version = request.name, request.version
    if claims is None:
        return
    connection.user = claims.user
    connection.info, connection.meta = claims.info, claims.meta
    connection.labels = claims.labels
    if request.token:
        connection.claims_id = (claims.token_id, claims.issued_at)
    connection.token_channels = _channels_of(claims)
    if not connection.context.settings.insecure:
        connection.expire_at = max(0, claims.expire_at)


def _channels_of(claims: ConnectionClaims) -> frozenset[str]:
    return frozenset(claims.subs or claims.channels)


def _check_limits(connection: Connection, claims: ConnectionClaims | None) -> None:
    context = connection.context
    limit = context.settings.user_connection_limit
    user = claims.user if claims is not None else ""
    if user and 0 < limit <= context.hub.count_user(user):
        why = Because("client.user_connection_limit is reached")
        raise ClientDisconnect(CONNECTION_LIMIT) from why
    if connection.expire_at and connection.expire_at <= connection.now_s():
        raise ClientFault(EXPIRED)


async def _close_others(connection: Connection) -> None:
    command = DisconnectCommand(
        Target(user=connection.user), CONNECTION_LIMIT, (connection.client,)
    )
    control = connection.context.control
    if control is None:
        connection.context.hub.run(command)
    else:
        await control.broadcast(command)


def _result(connection: Connection, established: list[Established]) -> pb.ConnectResult:
    context, traits = connection.context, connection.traits
    settings = context.settings
    pings = traits.pings and settings.ping_interval_s > 0
    takes_pongs = not traits.form.unidirectional and settings.pong_timeout_s > 0
    result = pb.ConnectResult(
        client=connection.client,
        version=context.version,
        expires=bool(connection.expire_at),
        ttl=connection.ttl_s(connection.expire_at) if connection.expire_at else 0,
        ping=max(1, int(settings.ping_interval_s)) if pings else 0,
        pong=pings and takes_pongs,
        session=connection.session,
        node=context.hub.uid if traits.emulated else "",
        time=context.clock.now_ms() if settings.connect_include_server_time else 0,
    )
    for each in established:
        result.subs[each.subscription.channel].CopyFrom(each.result)
    return result


def connect_push(result: pb.ConnectResult) -> pb.Connect:
    """The result as one-way clients get it: same names, other numbers."""
    push = pb.Connect(
        client=result.client,
        version=result.version,
        data=result.data,
        expires=result.expires,
        ttl=result.ttl,
        ping=result.ping,
        pong=result.pong,
        session=result.session,
        node=result.node,
        time=result.time,
    )
    for channel, subscribed in result.subs.items():
        push.subs[channel].CopyFrom(subscribed)
    return push


def uni_disconnect(connection: Connection, error: ClientError) -> Disconnect:
    """How a one-way connection ends whose connect was refused."""
    if connection.traits.keeps_error_codes:
        return Disconnect(error.code, error.message)
    custom = connection.context.settings.uni_disconnects.get(error.code)
    return custom or _UNI_DISCONNECTS.get(error.code, SERVER_ERROR)


async def refresh(
    connection: Connection, request: pb.RefreshRequest
) -> pb.RefreshResult:
    """Take a newer connection token; raises `ClientDisconnect`."""
    if not request.token:
        raise ClientDisconnect(WRONG_COMMAND)
    try:
        claims = await connection.context.verifier.verify_connection(request.token)
    except TokenExpired:
        raise ClientDisconnect(CONNECTION_EXPIRED) from None
    except TokenInvalid as why:
        raise invalid_by(why) from why
    if claims.user != connection.user:
        other = Because("it is another user's")
        raise invalid_by(other) from other
    await check_connection(connection.context, claims)
    if claims.expire_at and claims.expire_at <= connection.now_s():
        raise ClientDisconnect(CONNECTION_EXPIRED)
    if _channels_of(claims) != connection.token_channels:
        raise ClientDisconnect(INSUFFICIENT_STATE)
    if not connection.context.settings.insecure:
        connection.expire_at = claims.expire_at
    connection.info, connection.meta = claims.info, claims.meta
    connection.claims_id = (claims.token_id, claims.issued_at)
    if not connection.expire_at:
        return pb.RefreshResult()
    return pb.RefreshResult(expires=True, ttl=connection.ttl_s(connection.expire_at))


def refresh_by_command(connection: Connection, command: RefreshCommand) -> None:
    """Carry out a refresh of the server API."""
    if connection.state is not State.CONNECTED:
        return
    is_past = command.expire_at != 0 and command.expire_at <= connection.now_s()
    if command.expired or is_past:
        connection.close(CONNECTION_EXPIRED)
        return
    connection.expire_at = command.expire_at
    if not command.expire_at:
        connection.push(pb.Push(refresh=pb.Refresh()))
        return
    if command.info:
        connection.info = command.info
    ttl = connection.ttl_s(command.expire_at)
    connection.push(pb.Push(refresh=pb.Refresh(expires=True, ttl=ttl)))
