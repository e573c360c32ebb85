"""Channels room: decides whether a client gets a subscription, and with which options.

It must not touch streams or connections: a decision is a `Grant`, and the session acts
on it. The checks come in the order of the published server, so that a request with two
faults gets the same error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast

from tocsin.channels.claims import (
    ConnectionClaims,
    SubscriptionClaims,
    TokenExpired,
    TokenInvalid,
)
from tocsin.channels.denials import DenialCheck
from tocsin.channels.namespaces import Namespaces
from tocsin.channels.refusing import Because, invalid_by
from tocsin.core.channel import ChannelOptions, StreamPosition
from tocsin.core.client_codes import (
    BAD_REQUEST,
    EXPIRED,
    NOT_AVAILABLE,
    PERMISSION_DENIED,
    TOKEN_EXPIRED,
    UNKNOWN_CHANNEL,
    WRONG_COMMAND,
    ClientDisconnect,
    ClientFault,
)
from tocsin.core.control import SubscribeCommand
from tocsin.core.errors import NotAvailable, UnknownChannel
from tocsin.core.ports.clock import Clock
from tocsin.protocol import client_pb2 as pb
from tocsin.protocol.tags_filter import BadFilter, Condition, compile_filter

_REFUSE_UNRECOVERED = 2  # a bit of a subscribe's `flag`


class Verifier(Protocol):
    """Reads tokens; raises `TokenExpired`, `TokenInvalid` or `ClientFault`."""

    async def verify_connection(self, token: str) -> ConnectionClaims:
        """The claims of a connection token."""
        ...

    async def verify_subscription(self, token: str) -> SubscriptionClaims:
        """The claims of a subscription token."""
        ...


@dataclass(slots=True)
class Grant:
    """A subscription as it was granted.

    `since` is set where the client asks for recovery. `expire_at` is Unix seconds, 0
    for never. `claims_id` is `jti` and `iat` of the token that grants it.
    """

    options: ChannelOptions
    is_server_side: bool = False
    is_positioned: bool = False
    is_recoverable: bool = False
    wants_joins: bool = False
    wants_delta: bool = False
    condition: Condition | None = None
    filter_key: bytes = b""
    since: StreamPosition | None = None
    refuses_unrecovered: bool = False
    info: bytes = b""
    data: bytes = b""
    expire_at: int = 0
    claims_id: tuple[str, int] | None = None


@dataclass(slots=True)
class _Given:
    """The options of a channel for one client, and the claims that set some of them."""

    options: ChannelOptions
    claims: SubscriptionClaims | None = None


class Authorizer:
    """Grants subscriptions: to clients that ask, by tokens, and by the server's order.

    `denials` is `None` where blocking users and taking tokens back are both off.
    """

    def __init__(
        self,
        namespaces: Namespaces,
        verifier: Verifier,
        *,
        clock: Clock,
        denials: DenialCheck | None = None,
    ) -> None:
        self.verifier = verifier
        self._namespaces = namespaces
        self._clock = clock
        self._denials = denials

    async def check_welcome(
        self, claims: ConnectionClaims, *, has_token: bool = True
    ) -> None:
        """Raise as `DenialCheck.check` for a blocked user or a token taken back."""
        if self._denials is not None:
            await self._denials.check(claims, has_token=has_token)

    # --- by the client's own wish ---

    async def grant(
        self, request: pb.SubscribeRequest, *, user: str, client: str
    ) -> Grant:
        """What a subscribe command gets; raises `ClientFault`, `ClientDisconnect`.

        Raises as `Namespaces.options_for_client` too.
        """
        options = self._namespaces.options_for_client(request.channel)
        if request.type:  # 0 is a stream, the only type that this server has
            raise ClientFault(PERMISSION_DENIED)
        given = await self._give(request, options, user, client)
        claims, options = given.claims, given.options
        condition, filter_key = _filter(request, options)
        expire_at = claims.expire_at if claims is not None else 0
        if expire_at and expire_at <= self._now_s():
            raise ClientFault(EXPIRED)
        # Who may read history may also recover from it, and who may read presence may
        # also get joins and leaves.
        rules = self._namespaces
        to_history = (request.positioned or request.recoverable) and (
            rules.may_read_history(options, user=user, subscribed=True)
        )
        to_presence = request.join_leave and (
            rules.may_read_presence(options, user=user, subscribed=True)
        )
        return Grant(
            options=options,
            is_positioned=options.force_positioning
            or (request.positioned and (options.allow_positioning or to_history)),
            is_recoverable=options.force_recovery
            or (request.recoverable and (options.allow_recovery or to_history)),
            wants_joins=options.force_push_join_leave
            or (request.join_leave and options.join_leave and to_presence),
            # Not with a filter: the SDKs forbid to combine them.
            wants_delta=request.delta in options.allowed_delta_types
            and condition is None,
            condition=condition,
            filter_key=filter_key,
            since=_since(request),
            refuses_unrecovered=bool(request.flag & _REFUSE_UNRECOVERED),
            info=claims.info if claims is not None else b"",
            data=claims.data if claims is not None else b"",
            expire_at=expire_at,
            claims_id=(claims.token_id, claims.issued_at) if claims else None,
        )

    async def _give(
        self,
        request: pb.SubscribeRequest,
        options: ChannelOptions,
        user: str,
        client: str,
    ) -> _Given:
        channel = request.channel
        if request.token:
            try:
                claims = await self.verifier.verify_subscription(request.token)
            except TokenExpired as why:
                raise ClientFault(TOKEN_EXPIRED) from why
            except TokenInvalid as why:
                raise ClientFault(PERMISSION_DENIED) from why
            await self._check_own(claims, channel, user, client)
            return _Given(_overridden(options, claims.overrides), claims)
        if not self._namespaces.may_subscribe(channel, options, user):
            raise ClientFault(PERMISSION_DENIED)
        return _Given(options)

    async def renew(
        self, channel: str, token: str, *, user: str, client: str
    ) -> SubscriptionClaims | None:
        """The claims of a newer subscription token, `None` for one that has expired.

        Raises `ClientDisconnect` (3500) for a bad token or one of another channel, user
        or client; `ClientFault` for one that was taken back.
        """
        try:
            claims = await self.verifier.verify_subscription(token)
        except TokenExpired:
            return None
        except TokenInvalid as why:
            raise invalid_by(why) from why
        await self._check_own(claims, channel, user, client)
        return claims

    async def _check_own(
        self, claims: SubscriptionClaims, channel: str, user: str, client: str
    ) -> None:
        if (
            claims.channel != channel
            or claims.user != user
            or (claims.client and claims.client != client)
        ):
            why = Because("it is for another channel, user or client")
            raise invalid_by(why) from why
        if self._denials is not None:
            await self._denials.check_subscription(claims)

    # --- by the server's ---

    def grant_at_connect(
        self,
        claims: ConnectionClaims | None,
        requested: Mapping[str, pb.SubscribeRequest],
        *,
        user: str,
    ) -> dict[str, Grant]:
        """The channels of the token, the personal one, and those the client asks for.

        A channel that it asks for and may not have is left out. Raises `ClientFault`
        (102, 108), or `ClientDisconnect` (3501).
        """
        given = self._give_at_connect(claims, user)
        for channel in requested:
            if channel not in given:
                options = self._options_at_connect(channel, by_token=False)
                if self._may_have(channel, options, user):
                    given[channel] = _Given(options)
        return {
            channel: _granted_by_server(
                each.options,
                each.claims,
                since=_since(requested[channel]) if channel in requested else None,
            )
            for channel, each in given.items()
        }

    def _give_at_connect(
        self, claims: ConnectionClaims | None, user: str
    ) -> dict[str, _Given]:
        subs: dict[str, SubscriptionClaims | None] = {}
        if claims is not None:
            subs.update(claims.subs or dict.fromkeys(claims.channels))
        personal = self._namespaces.personal_channel(user)
        if personal is not None:
            subs.setdefault(personal, None)  # the token may set options for it
        given = {}
        for channel, granted in subs.items():
            options = self._options_at_connect(channel, by_token=True)
            overrides = granted.overrides if granted is not None else {}
            given[channel] = _Given(_overridden(options, overrides), granted)
        return given

    def _options_at_connect(self, channel: str, *, by_token: bool) -> ChannelOptions:
        named = f"a channel of the {'token' if by_token else 'connect'}"
        try:
            return self._namespaces.options_of(channel)
        except UnknownChannel:
            why = Because(f"{named} has a namespace that is unknown")
            if by_token:
                raise ClientFault(UNKNOWN_CHANNEL) from why
            raise ClientDisconnect(WRONG_COMMAND) from why
        except NotAvailable as error:
            why = Because(f"{named} is {error.message}")
            raise ClientFault(NOT_AVAILABLE) from why

    def _may_have(self, channel: str, options: ChannelOptions, user: str) -> bool:
        rules = self._namespaces
        return (
            rules.is_name_allowed(channel, options)
            and not rules.is_too_long(channel)
            and rules.may_subscribe(channel, options, user)
        )

    def grant_by_command(self, command: SubscribeCommand) -> Grant:
        """What a subscribe of the server API gives.

        Raises `UnknownChannel`, `NotAvailable`: the command may come from a node with
        another configuration.
        """
        options = _overridden(
            self._namespaces.options_of(command.channel), command.overrides
        )
        grant = _granted_by_server(options, None, since=command.recover_since)
        grant.info, grant.data = command.info, command.data
        grant.expire_at = command.expire_at
        return grant

    def _now_s(self) -> int:
        return self._clock.now_ms() // 1000


def _granted_by_server(
    options: ChannelOptions,
    claims: SubscriptionClaims | None,
    *,
    since: StreamPosition | None,
) -> Grant:
    return Grant(
        options=options,
        is_server_side=True,
        is_positioned=options.force_positioning,
        is_recoverable=options.force_recovery,
        wants_joins=options.force_push_join_leave,
        since=since,
        info=claims.info if claims is not None else b"",
        data=claims.data if claims is not None else b"",
    )


def _overridden(
    options: ChannelOptions, overrides: Mapping[str, bool]
) -> ChannelOptions:
    """The options with what a token or a command sets differently."""
    if not overrides:
        return options
    return replace(options, **cast("dict[str, Any]", dict(overrides)))


def _since(request: pb.SubscribeRequest) -> StreamPosition | None:
    if not request.recover:
        return None
    return StreamPosition(request.offset, request.epoch)


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
