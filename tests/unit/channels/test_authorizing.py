"""Who gets a subscription: by the options, by a token, or by the server's order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from tests.support.jobs import ManualClock

from tocsin.broker.users_memory import MemoryDenials
from tocsin.channels.authorizing import Authorizer
from tocsin.channels.claims import (
    ConnectionClaims,
    SubscriptionClaims,
    TokenExpired,
    TokenInvalid,
)
from tocsin.channels.denials import DenialCheck
from tocsin.channels.namespaces import Namespaces, NamespaceSettings
from tocsin.channels.refusing import explain
from tocsin.channels.users import token_key
from tocsin.core.channel import ChannelOptions, StreamPosition
from tocsin.core.client_codes import (
    EXPIRED,
    INVALID_TOKEN,
    NOT_AVAILABLE,
    PERMISSION_DENIED,
    UNKNOWN_CHANNEL,
    WRONG_COMMAND,
    ClientDisconnect,
    ClientFault,
)
from tocsin.core.ports.channels import DenialKind
from tocsin.protocol import client_pb2 as pb

NOW_S = ManualClock().now_ms() // 1000
OPEN = ChannelOptions(allow_subscribe_for_client=True)
UNBUILT = ChannelOptions(subscription_type="map")


class Verifier:
    """Takes a token for what it was told it holds."""

    def __init__(self) -> None:
        self.tokens: dict[str, SubscriptionClaims | Exception] = {}

    async def verify_connection(self, token: str) -> ConnectionClaims:
        raise AssertionError("no connection asks here")

    async def verify_subscription(self, token: str) -> SubscriptionClaims:
        found = self.tokens[token]
        if isinstance(found, Exception):
            raise found
        return found


class Case:
    """An authorizer of a few channels."""

    def __init__(self, options: ChannelOptions = OPEN, **settings: Any) -> None:
        rules = Namespaces(
            NamespaceSettings(options, {"map": UNBUILT, "own": OPEN}, **settings)
        )
        self.verifier = Verifier()
        self.authorizer = Authorizer(rules, self.verifier, clock=ManualClock())

    def at_connect(
        self,
        *requested: str,
        claims: ConnectionClaims | None = None,
        user: str = "ann",
    ) -> Sequence[str]:
        requests = {channel: pb.SubscribeRequest() for channel in requested}
        return list(self.authorizer.grant_at_connect(claims, requests, user=user))


CLAIMS = SubscriptionClaims("ann", "news", client="c1")


@pytest.mark.parametrize(
    "claims",
    [
        replace(CLAIMS, user="bob"),
        replace(CLAIMS, channel="other"),
        replace(CLAIMS, client="c2"),
    ],
)
async def test_a_token_of_somebody_else_renews_nothing(
    claims: SubscriptionClaims,
) -> None:
    """Of another user, channel or client: as a bad one, and the client is told why."""
    case = Case()
    case.verifier.tokens["t"] = claims
    request = pb.SubscribeRequest(channel="news", token="t")
    with pytest.raises(ClientDisconnect) as renewed:
        await case.authorizer.renew("news", "t", user="ann", client="c1")
    with pytest.raises(ClientDisconnect) as granted:
        await case.authorizer.grant(request, user="ann", client="c1")
    for refused in (renewed, granted):
        assert refused.value.disconnect.code == INVALID_TOKEN.code
        why = "it is for another channel, user or client"
        assert explain(refused.value) == why
        assert why in refused.value.disconnect.reason


@pytest.mark.parametrize("client", ["", "c1"])
async def test_a_token_of_ones_own_renews(client: str) -> None:
    """For just this client, or for any of the user's."""
    case = Case()
    case.verifier.tokens["t"] = claims = replace(CLAIMS, client=client)
    found = await case.authorizer.renew("news", "t", user="ann", client="c1")
    assert found == claims


async def test_a_token_that_renews_nothing() -> None:
    """An expired one is no offence; a bad one ends the connection."""
    case = Case()
    case.verifier.tokens |= {"old": TokenExpired(), "bad": TokenInvalid("broken")}
    assert await case.authorizer.renew("news", "old", user="ann", client="c") is None
    with pytest.raises(ClientDisconnect) as refused:
        await case.authorizer.renew("news", "bad", user="ann", client="c")
    assert refused.value.disconnect == INVALID_TOKEN
    assert explain(refused.value) == "broken"


async def test_a_subscription_ends_with_the_second_of_its_token() -> None:
    """What ends now has ended."""
    case = Case()
    case.verifier.tokens["ends"] = replace(CLAIMS, expire_at=NOW_S)
    case.verifier.tokens["last"] = replace(CLAIMS, expire_at=NOW_S + 1)
    request = pb.SubscribeRequest(channel="news", token="last")
    grant = await case.authorizer.grant(request, user="ann", client="c1")
    assert grant.expire_at == NOW_S + 1
    request.token = "ends"
    with pytest.raises(ClientFault) as refused:
        await case.authorizer.grant(request, user="ann", client="c1")
    assert refused.value.error == EXPIRED


def test_a_connect_gets_those_of_its_channels_that_it_may_have() -> None:
    """The others are left out, without an error."""
    case = Case(ChannelOptions(allow_user_limited_channels=True), max_length=9)
    asked = ("x#ann", "x#bob", "shut", "own:in", "own:too long", "$own:in", "own:ä")
    assert case.at_connect(*asked) == ["x#ann", "own:in"]
    assert case.at_connect(*asked, user="bob") == ["x#bob", "own:in"]
    assert case.at_connect(*asked, user="") == []


def test_a_connect_that_asks_for_what_is_not_there() -> None:
    """The reason is for the log."""
    case = Case()
    with pytest.raises(ClientDisconnect) as ended:
        case.at_connect("no:1")
    assert ended.value.disconnect == WRONG_COMMAND
    said = "a channel of the connect has a namespace that is unknown"
    assert explain(ended.value) == said
    with pytest.raises(ClientFault) as refused:
        case.at_connect("map:1")
    assert refused.value.error == NOT_AVAILABLE
    assert explain(refused.value).startswith("a channel of the connect is ")


def test_a_token_that_names_what_is_not_there() -> None:
    """As a connect that does, but for the code of the first."""
    case = Case()
    for channel, error, said in (
        ("no:1", UNKNOWN_CHANNEL, "a channel of the token has a namespace that is u"),
        ("map:1", NOT_AVAILABLE, "a channel of the token is "),
    ):
        with pytest.raises(ClientFault) as refused:
            case.at_connect(claims=ConnectionClaims("ann", channels=(channel,)))
        assert refused.value.error == error
        assert explain(refused.value).startswith(said)


def test_a_channel_of_the_server_has_what_its_token_says() -> None:
    """Rights, info and data; what says nothing gives nothing."""
    case = Case()
    sub = SubscriptionClaims(
        "", "own:1", info=b"1", data=b"2", overrides={"force_recovery": True}
    )
    claims = ConnectionClaims("ann", subs={"own:1": sub})
    requested = {"own:2": pb.SubscribeRequest(recover=True, offset=3, epoch="e")}
    given = case.authorizer.grant_at_connect(claims, requested, user="ann")
    by_token, by_wish = given["own:1"], given["own:2"]
    assert (by_token.info, by_token.data, by_token.is_recoverable) == (b"1", b"2", True)
    assert (by_wish.info, by_wish.data, by_wish.is_recoverable) == (b"", b"", False)
    assert (by_token.since, by_wish.since) == (None, StreamPosition(3, "e"))
    assert by_token.is_server_side
    assert by_wish.is_server_side


@pytest.mark.parametrize("orders", [0, 1, 7])
async def test_what_was_taken_back_opens_nothing_after_any_number_of_orders(
    orders: int,
) -> None:
    """The count of orders says only whether to ask once more."""
    denials = MemoryDenials(ManualClock())
    check = DenialCheck(blocks=denials, revocations=denials, orders=lambda: orders)
    await denials.put(DenialKind.TOKEN, "t1", 0, expire_at=0)
    await denials.put(DenialKind.USER, "bob", 0, expire_at=0)
    with pytest.raises(ClientFault) as refused:
        await check.check_subscription(replace(CLAIMS, token_id="t1"))
    assert refused.value.error == PERMISSION_DENIED
    for claims in (ConnectionClaims("ann", token_id="t1"), ConnectionClaims("bob")):
        with pytest.raises(ClientDisconnect):
            await check.check(claims)


@pytest.mark.parametrize("wish", ["positioned", "recoverable", "join_leave"])
@pytest.mark.parametrize("user", ["ann", ""])
async def test_who_may_read_what_lies_behind_a_wish_gets_it(
    wish: str, user: str
) -> None:
    """Subscribers who may read history may recover, and presence, hear of joins."""
    open_to_all = replace(OPEN, allow_subscribe_for_anonymous=True, join_leave=True)
    for_subscribers = replace(
        open_to_all,
        allow_history_for_subscriber=True,
        allow_presence_for_subscriber=True,
    )
    for_anybody = replace(
        for_subscribers,
        allow_history_for_anonymous=True,
        allow_presence_for_anonymous=True,
    )
    request = pb.SubscribeRequest(channel="news")
    setattr(request, wish, True)
    for options, gets_it in (
        (open_to_all, False),
        (for_subscribers, bool(user)),
        (for_anybody, True),
    ):
        grant = await Case(options).authorizer.grant(request, user=user, client="c")
        given = (grant.is_positioned, grant.is_recoverable, grant.wants_joins)
        asked = (request.positioned, request.recoverable, request.join_leave)
        assert given == (asked if gets_it else (False,) * 3)


async def test_joins_are_for_those_who_ask_in_a_channel_that_has_them() -> None:
    """The right to read presence alone brings none."""
    options = replace(OPEN, allow_presence_for_subscriber=True)
    asked = pb.SubscribeRequest(channel="news", join_leave=True)
    grant = await Case(options).authorizer.grant(asked, user="ann", client="c")
    assert not grant.wants_joins
    options = replace(options, join_leave=True)
    silent = pb.SubscribeRequest(channel="news")
    grant = await Case(options).authorizer.grant(silent, user="ann", client="c")
    assert not grant.wants_joins


@pytest.mark.parametrize(("flag", "refuses"), [(0, False), (1, False), (2, True)])
async def test_one_bit_of_the_flags_refuses_what_is_not_recovered(
    flag: int, refuses: bool
) -> None:
    """The others mean nothing here."""
    request = pb.SubscribeRequest(channel="news", flag=flag)
    grant = await Case().authorizer.grant(request, user="ann", client="c")
    assert grant.refuses_unrecovered is refuses


async def test_a_filter_is_told_from_others_by_its_key() -> None:
    """Subscribers with the same filter share their bytes; those without have none."""
    case = Case(replace(OPEN, allow_tags_filter=True))

    async def key(wanted: str) -> bytes:
        request = pb.SubscribeRequest(channel="news")
        if wanted:
            request.tf.CopyFrom(pb.FilterNode(cmp="eq", key="a", val=wanted))
        grant = await case.authorizer.grant(request, user="ann", client="c")
        assert (grant.condition is None) is not bool(wanted)
        return grant.filter_key

    keys = [await key("1"), await key("2"), await key("")]
    assert len(set(keys)) == 3
    assert keys[2] == b""
    assert await key("1") == keys[0]


async def test_a_token_may_give_a_subscriber_more_than_the_channel() -> None:
    """Its overrides hold for this client."""
    case = Case()
    claims = replace(CLAIMS, overrides={"force_positioning": True})
    case.verifier.tokens["t"] = claims
    request = pb.SubscribeRequest(channel="news", token="t")
    grant = await case.authorizer.grant(request, user="ann", client="c1")
    assert grant.is_positioned
    request.token = ""
    grant = await case.authorizer.grant(request, user="ann", client="c1")
    assert not grant.is_positioned


async def test_a_token_that_was_taken_back_welcomes_nobody() -> None:
    """Unless there is none: a user whom the network vouches for shows no token."""
    denials = MemoryDenials(ManualClock())
    await denials.put(DenialKind.USER_TOKENS, token_key("ann", ""), NOW_S, expire_at=0)
    check = DenialCheck(invalidations=denials)
    authorizer = Authorizer(
        Namespaces(NamespaceSettings()), Verifier(), clock=ManualClock(), denials=check
    )
    with pytest.raises(ClientDisconnect):
        await authorizer.check_welcome(ConnectionClaims("ann"))
    with pytest.raises(ClientDisconnect):
        await authorizer.check_welcome(ConnectionClaims("ann"), has_token=True)
    await authorizer.check_welcome(ConnectionClaims("ann"), has_token=False)


def test_a_refusal_without_a_reason_explains_nothing() -> None:
    """Nor does one that came of another fault."""
    assert explain(ClientFault(PERMISSION_DENIED)) == ""
    fault = ClientFault(PERMISSION_DENIED)
    fault.__cause__ = ValueError("of the program")
    assert explain(fault) == ""
