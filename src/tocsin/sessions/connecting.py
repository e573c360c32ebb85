"""Sessions room: who connects, and with what.

It must not verify signatures itself, nor decide about channels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tocsin.channels.claims import ConnectionClaims, TokenExpired, TokenInvalid
from tocsin.channels.refusing import Because, explain, invalid_by
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
from tocsin.sessions.connection import ClientConnection, State
from tocsin.sessions.establishing import (
    Established,
    Vanished,
    abandon,
    activate,
    announce,
    check_continuity,
)
from tocsin.sessions.orders import ClientOrder, Order, Query
from tocsin.sessions.server_side import establish_all, grant_at_connect

# One-way clients get no error reply: the protocol maps the codes of a refused connect
# to codes of a disconnect, and all others to 3004.
_UNI_DISCONNECTS = {
    TOKEN_EXPIRED.code: CONNECTION_EXPIRED,
    EXPIRED.code: CONNECTION_EXPIRED,
    TOO_MANY_REQUESTS.code: TOO_MANY_COMMANDS,
    PERMISSION_DENIED.code: DENIED,
}


class ConnectOrder(ClientOrder):
    """The connect of a client; a second one on the same connection is an error."""

    __slots__ = ()
    name = "connect"
    outlives_bugs = False

    async def run(self, connection: ClientConnection) -> None:
        """See `Order`."""
        if not self.id or connection.state is State.CONNECTED:
            raise ClientDisconnect(WRONG_COMMAND)
        await self.answer(connection)

    async def answer(self, connection: ClientConnection) -> None:
        """See `ClientOrder`."""

        def tell(result: pb.ConnectResult) -> None:
            connection.reply(self.id, pb.Reply(connect=result), self.name)

        await _come_in(connection, self.request, tell)

    def refuse(self, connection: ClientConnection, fault: ClientFault) -> None:
        """See `Order`."""
        if connection.state is not State.NEW:
            super().refuse(connection, fault)
            return
        connection.reply_error(self.id, fault.error, self.name)
        _tell_refused(connection, fault)
        connection.refuse_more()


class OneWayConnectOrder(Order):
    """The connect of a one-way client; the result goes out as a push."""

    __slots__ = ("_request",)

    def __init__(self, request: pb.ConnectRequest) -> None:
        self._request = request

    async def run(self, connection: ClientConnection) -> None:
        """See `Order`."""

        def tell(result: pb.ConnectResult) -> None:
            connection.push(pb.Push(connect=connect_push(result)))

        await _come_in(connection, self._request, tell)

    def refuse(self, connection: ClientConnection, fault: ClientFault) -> None:
        """See `Order`."""
        _tell_refused(connection, fault)
        connection.state = State.REFUSED
        connection.close(uni_disconnect(connection, fault.error))


def _tell_refused(connection: ClientConnection, fault: ClientFault) -> None:
    error = fault.error
    refusals = connection.context.refusals
    refusals.end(connection, error.code, error.message, explain(fault))


async def _come_in(
    connection: ClientConnection,
    request: pb.ConnectRequest,
    tell: Callable[[pb.ConnectResult], None],
) -> None:
    if connection.context.hub.is_closing:
        raise ClientDisconnect(SHUTDOWN)
    established = await _connect(connection, request)
    if connection.is_closed:
        return
    # From here to the last `activate` nothing is awaited: the result goes out first,
    # then what was published meanwhile, and no publication comes between them.
    connection.state = State.CONNECTED
    meter = connection.context.hub.meter
    meter.connected(connection.traits.name, connection.app_name, connection.app_version)
    tell(_result(connection, established))
    for each in established:
        activate(connection, each)
    if not connection.is_closed:
        connection.begin()
    for each in established:
        await announce(connection, each.subscription)


async def _connect(
    connection: ClientConnection, request: pb.ConnectRequest
) -> list[Established]:
    """Authenticate, register, and put the server-side subscriptions in place.

    Raises `ClientFault` or `ClientDisconnect`, and `Vanished` when the connection
    ended meanwhile.
    """
    claims = await _authenticate(connection, request)
    # Looking up keys and denials takes time: the connection may have ended, or the
    # hub may have told all its connections to end.
    if connection.is_closed:
        raise Vanished
    if connection.context.hub.is_closing:
        raise ClientDisconnect(SHUTDOWN)
    # No await between the check of denials and `hub.add`: a disconnect for this user
    # in between would not find the connection, and two connects of a user at once
    # would both pass the limit.
    _take_identity(connection, claims, request)
    _check_limits(connection, claims)
    grants = grant_at_connect(connection, claims, request.subs)
    connection.context.hub.add(connection)
    established = []
    if grants:
        established = await establish_all(connection, grants)
    try:
        if connection.context.settings.single_connection and connection.user:
            await _close_others(connection)
        # After the last await: the buffers hold all that came during the waits.
        for each in established:
            check_continuity(each)
    except BaseException:
        abandon(connection, established)
        raise
    connection.connected_at_ms = connection.context.clock.now_ms()
    return established


async def _authenticate(
    connection: ClientConnection, request: pb.ConnectRequest
) -> ConnectionClaims | None:
    settings = connection.context.settings
    authorizer = connection.context.channels.authorizer
    if request.token:
        claims = await _verify(connection, request.token)
        if not claims.user and settings.disallow_anonymous_connection_tokens:
            setting = "client.disallow_anonymous_connection_tokens"
            raise ClientDisconnect(DENIED) from Because(f"{setting} is set")
        await authorizer.check_welcome(claims)
        return claims
    if settings.insecure or settings.allow_anonymous_connect_without_token:
        return None
    if connection.header_user:
        if not _is_text(connection.header_user):
            raise ClientDisconnect(WRONG_COMMAND)
        claims = ConnectionClaims(connection.header_user)
        await authorizer.check_welcome(claims, has_token=False)
        return claims
    raise ClientDisconnect(WRONG_COMMAND) from Because("the connect has no token")


def _is_text(header: str) -> bool:
    """Whether a header held UTF-8; the server decodes other bytes to surrogates."""
    try:
        header.encode()
    except UnicodeEncodeError:
        return False
    return True


async def _verify(connection: ClientConnection, token: str) -> ConnectionClaims:
    verifier = connection.context.channels.authorizer.verifier
    try:
        return await verifier.verify_connection(token)
    except TokenExpired as why:
        raise ClientFault(TOKEN_EXPIRED) from why
    except TokenInvalid as why:
        raise invalid_by(why) from why


def _take_identity(
    connection: ClientConnection,
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


def _check_limits(
    connection: ClientConnection, claims: ConnectionClaims | None
) -> None:
    context = connection.context
    limit = context.settings.user_connection_limit
    user = claims.user if claims is not None else ""
    if user and 0 < limit <= context.hub.count_user(user):
        why = Because("client.user_connection_limit is reached")
        raise ClientDisconnect(CONNECTION_LIMIT) from why
    if connection.expire_at and connection.expire_at <= connection.now_s():
        raise ClientFault(EXPIRED)


async def _close_others(connection: ClientConnection) -> None:
    command = DisconnectCommand(
        Target(user=connection.user), CONNECTION_LIMIT, (connection.client,)
    )
    control = connection.context.control
    if control is None:
        connection.context.hub.run(command)
    else:
        await control.broadcast(command)


def _result(
    connection: ClientConnection, established: list[Established]
) -> pb.ConnectResult:
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
    """The result as one-way clients get it.

    `Connect` has the fields of `ConnectResult` under other Protobuf numbers.
    """
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


def uni_disconnect(connection: ClientConnection, error: ClientError) -> Disconnect:
    """The disconnect of a one-way connection whose connect was refused."""
    if connection.traits.keeps_error_codes:
        return Disconnect(error.code, error.message)
    custom = connection.context.settings.uni_disconnects.get(error.code)
    return custom or _UNI_DISCONNECTS.get(error.code, SERVER_ERROR)


class RefreshOrder(Query):
    """Take a newer connection token."""

    __slots__ = ()
    name = "refresh"

    async def ask(self, connection: ClientConnection) -> Any:
        """See `Query`."""
        if not self.request.token:
            raise ClientDisconnect(WRONG_COMMAND)
        claims = await self._read(connection, self.request.token)
        if claims.expire_at and claims.expire_at <= connection.now_s():
            raise ClientDisconnect(CONNECTION_EXPIRED)
        # The channels of a token are subscribed at connect alone: for others the
        # client has to connect again, which 3010 makes it do.
        if _channels_of(claims) != connection.token_channels:
            raise ClientDisconnect(INSUFFICIENT_STATE)
        if not connection.context.settings.insecure:
            connection.expire_at = claims.expire_at
        connection.info, connection.meta = claims.info, claims.meta
        connection.claims_id = (claims.token_id, claims.issued_at)
        connection.reschedule()
        if not connection.expire_at:
            return pb.RefreshResult()
        return pb.RefreshResult(
            expires=True, ttl=connection.ttl_s(connection.expire_at)
        )

    async def _read(self, connection: ClientConnection, token: str) -> ConnectionClaims:
        authorizer = connection.context.channels.authorizer
        try:
            claims = await authorizer.verifier.verify_connection(token)
        except TokenExpired:
            raise ClientDisconnect(CONNECTION_EXPIRED) from None
        except TokenInvalid as why:
            raise invalid_by(why) from why
        if claims.user != connection.user:
            other = Because("it is another user's")
            raise invalid_by(other) from other
        await authorizer.check_welcome(claims)
        return claims


class ServerRefreshOrder(Order):
    """A refresh of the server API: a new expiry, or the end of the connection."""

    __slots__ = ("_command",)

    def __init__(self, command: RefreshCommand) -> None:
        self._command = command

    async def run(self, connection: ClientConnection) -> None:
        """See `Order`."""
        command = self._command
        if connection.state is not State.CONNECTED:
            return
        is_past = command.expire_at != 0 and command.expire_at <= connection.now_s()
        if command.expired or is_past:
            connection.close(CONNECTION_EXPIRED)
            return
        connection.expire_at = command.expire_at
        connection.reschedule()
        if not command.expire_at:
            connection.push(pb.Push(refresh=pb.Refresh()))
            return
        if command.info:
            connection.info = command.info
        ttl = connection.ttl_s(command.expire_at)
        connection.push(pb.Push(refresh=pb.Refresh(expires=True, ttl=ttl)))
