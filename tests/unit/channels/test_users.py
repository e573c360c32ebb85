from collections.abc import Awaitable, Callable, Sequence

import pytest
from tests.support.channels import Corridor, connection

from tocsin.api.call import ChannelServices
from tocsin.broker.users_memory import MemoryUserStatuses
from tocsin.channels.claims import ConnectionClaims, SubscriptionClaims
from tocsin.channels.users import STATUS_TTL_S, UserStatusService, token_key
from tocsin.core.client_codes import (
    DENIED,
    INTERNAL,
    INVALID_TOKEN,
    PERMISSION_DENIED,
    ClientDisconnect,
    ClientFault,
)
from tocsin.core.control import DisconnectCommand, Target, UnsubscribeCommand
from tocsin.core.errors import BadRequest, BrokerUnavailable, NotAvailable
from tocsin.core.ports.channels import DenialKind, UserStatus


async def test_a_status_is_what_was_said_and_who_is_here() -> None:
    """In the order asked for, doubled and unknown users too."""
    corridor = Corridor()
    statuses = corridor.services.statuses
    started_s = corridor.now_s
    await statuses.update(["a", "b"], "typing")
    corridor.clock.move_ms(5000)
    corridor.online = ["b", "c", ""]
    assert list(await statuses.fetch(["b", "x", "a", "b", "c"])) == [
        UserStatus("b", active=started_s, online=started_s + 5, state="typing"),
        UserStatus("x"),
        UserStatus("a", active=started_s, state="typing"),
        UserStatus("b", active=started_s, online=started_s + 5, state="typing"),
        UserStatus("c", online=started_s + 5),
    ]
    await statuses.update(["b"], "")
    (found,) = await statuses.fetch(["b"])
    assert (found.active, found.state) == (started_s + 5, "")


async def test_a_status_is_forgotten_when_asked_and_after_its_time() -> None:
    """Thirty days after the last change."""
    corridor = Corridor()
    statuses = corridor.services.statuses
    await statuses.update(["a", "b"], "s")
    await statuses.delete(["a", "unknown"])
    corridor.clock.move_ms((STATUS_TTL_S - 1) * 1000)
    gone, there = await statuses.fetch(["a", "b"])
    assert gone == UserStatus("a")
    assert there.state == "s"
    corridor.clock.move_ms(1000)
    assert await statuses.fetch(["b"]) == [UserStatus("b")]


async def test_who_came_and_went_between_two_writes_was_online() -> None:
    """The hub notes it at connect and at the end."""
    corridor = Corridor()
    statuses = corridor.services.statuses
    statuses.note_online("a")
    statuses.note_online("")
    (found,) = await statuses.fetch(["a"])
    assert found.online == corridor.now_s


class AwayStatuses(MemoryUserStatuses):
    """A store that fails until it is mended."""

    is_away = True

    async def set_online(self, users: Sequence[str], *, now_s: int, ttl_s: int) -> None:
        if self.is_away:
            raise BrokerUnavailable
        await super().set_online(users, now_s=now_s, ttl_s=ttl_s)


async def test_notes_outlive_a_store_that_is_away() -> None:
    """They are written when it is back, at the latest at the end."""
    clock = Corridor().clock
    store = AwayStatuses(clock)
    service = UserStatusService(store, clock=clock)
    service.start()
    service.note_online("a")
    with pytest.raises(BrokerUnavailable):
        await service.fetch(["a"])
    store.is_away = False
    await service.close()
    (status,) = await store.fetch(["a"])
    assert status.online == clock.now_ms() // 1000


@pytest.mark.parametrize("users", [[], [""], ["a", ""], ["a"] * 10_001])
async def test_users_that_are_refused(users: list[str]) -> None:
    """None, nobody, or too many."""
    statuses = Corridor().services.statuses
    for call in (statuses.fetch, statuses.delete):
        with pytest.raises(BadRequest, match="users"):
            await call(users)
    with pytest.raises(BadRequest, match="users"):
        await statuses.update(users, "s")


async def check(corridor: Corridor, **claims: object) -> str:
    """What a connect with these claims ends with; empty for success."""
    made = ConnectionClaims(**{"user": "u", **claims})  # type: ignore[arg-type] # given by the tests
    try:
        await corridor.denied.check(made)
    except ClientDisconnect as error:
        return f"disconnect {error.disconnect.code}"
    return ""


async def test_a_blocked_user_is_out_until_the_time_or_until_unblocked() -> None:
    """Its connections are closed at once, others stay."""
    corridor = Corridor()
    denials = corridor.services.denials
    await denials.block("u", expire_at=corridor.now_s + 10)
    assert corridor.node.commands == [DisconnectCommand(Target(user="u"), DENIED)]
    assert await check(corridor) == f"disconnect {DENIED.code}"
    assert await check(corridor, user="v") == ""
    assert await check(corridor, user="") == ""
    corridor.clock.move_ms(10_000)
    assert await check(corridor) == ""
    await denials.block("u", expire_at=0)
    corridor.clock.move_ms(10**12)
    assert await check(corridor) == f"disconnect {DENIED.code}"
    await denials.unblock("u")
    await denials.unblock("u")
    assert await check(corridor) == ""


async def test_a_revoked_token_opens_nothing_and_what_it_opened_is_closed() -> None:
    """Of all users and nodes, by its jti."""
    corridor = Corridor()
    corridor.node.connections = {
        "c1": connection("u", uid="bad"),
        "c2": connection("u", uid="good"),
        "c3": connection("v", subscription_tokens={"a": ("bad", 1), "b": ("x", 1)}),
    }
    await corridor.services.denials.revoke("bad", expire_at=0)
    assert corridor.node.commands == [
        DisconnectCommand(Target(user="u", client="c1"), INVALID_TOKEN),
        UnsubscribeCommand(Target(user="v", client="c3"), "a"),
    ]
    assert await check(corridor, token_id="bad") == f"disconnect {INVALID_TOKEN.code}"
    assert await check(corridor, token_id="good") == ""
    assert await check(corridor) == ""
    for token_id in ("bad", "good", ""):
        claims = SubscriptionClaims("u", "c", token_id=token_id)
        if token_id == "bad":
            with pytest.raises(ClientFault) as raised:
                await corridor.denied.check_subscription(claims)
            assert raised.value.error == PERMISSION_DENIED
        else:
            await corridor.denied.check_subscription(claims)


async def test_older_tokens_of_a_user_are_taken_back() -> None:
    """Those issued before the time, or before now; a token without iat is old."""
    corridor = Corridor()
    now_s = corridor.now_s
    corridor.node.connections = {
        "old": connection("u", issued_at=now_s - 1),
        "new": connection("u", issued_at=now_s),
        "other": connection("v", issued_at=1),
    }
    denials = corridor.services.denials
    await denials.invalidate("u", channel="", issued_before=0, expire_at=0)
    assert corridor.node.commands == [
        DisconnectCommand(Target(user="u", client="old"), INVALID_TOKEN)
    ]
    refused = f"disconnect {INVALID_TOKEN.code}"
    assert await check(corridor, issued_at=now_s - 1) == refused
    assert await check(corridor) == refused
    assert await check(corridor, issued_at=now_s) == ""
    assert await check(corridor, user="v") == ""
    await corridor.denied.check(ConnectionClaims("u"), has_token=False)
    await denials.invalidate("u", channel="", issued_before=5, expire_at=0)
    assert await check(corridor, issued_at=now_s - 1) == refused, "never loosened"


async def test_subscription_tokens_can_be_taken_back_by_channel() -> None:
    """The connection itself, and other channels, stay."""
    corridor = Corridor()
    now_s = corridor.now_s
    corridor.node.connections = {
        "c1": connection(
            "u",
            issued_at=1,
            subscription_tokens={"a": ("", now_s - 1), "b": ("", now_s - 1)},
        ),
        "c2": connection("u", subscription_tokens={"a": ("", now_s)}),
    }
    denials = corridor.services.denials
    await denials.invalidate("u", channel="a", issued_before=now_s, expire_at=0)
    assert corridor.node.commands == [
        UnsubscribeCommand(Target(user="u", client="c1"), "a")
    ]
    assert await check(corridor, issued_at=1) == ""
    denied = corridor.denied
    old = SubscriptionClaims("u", "a", issued_at=now_s - 1)
    with pytest.raises(ClientFault) as raised:
        await denied.check_subscription(old)
    assert raised.value.error == PERMISSION_DENIED
    await denied.check_subscription(SubscriptionClaims("u", "a", issued_at=now_s))
    await denied.check_subscription(SubscriptionClaims("u", "b", issued_at=1))


def test_keys_of_users_and_channels_cannot_be_confused() -> None:
    """A user named like another with a channel is somebody else."""
    keys = [
        token_key(user, channel)
        for user, channel in (("a", "b:c"), ("a:b", "c"), ("a", ""), ("a:", ""))
    ]
    assert len(set(keys)) == len(keys)


async def test_while_the_store_is_away_nobody_is_let_in() -> None:
    """Clients get a temporary error and come again."""

    class Away:
        async def put(
            self, kind: DenialKind, key: str, value: int, *, expire_at: int
        ) -> None:
            raise BrokerUnavailable

        async def remove(self, kind: DenialKind, key: str) -> None:
            raise BrokerUnavailable

        async def fetch(
            self, keys: Sequence[tuple[DenialKind, str]]
        ) -> Sequence[int | None]:
            raise BrokerUnavailable

    from tocsin.channels.denials import DenialCheck

    denied = DenialCheck(blocks=Away(), revocations=Away(), invalidations=Away())
    with pytest.raises(ClientFault) as raised:
        await denied.check(ConnectionClaims("u"))
    assert raised.value.error == INTERNAL
    with pytest.raises(ClientFault):
        await denied.check_subscription(SubscriptionClaims("u", "c", token_id="t"))


Call = Callable[[ChannelServices], Awaitable[object]]
CALLS: dict[str, Call] = {
    "user_status": lambda s: s.statuses.fetch(["u"]),
    "user_block": lambda s: s.denials.block("u", expire_at=0),
    "user_block.unblock": lambda s: s.denials.unblock("u"),
    "token_revoke": lambda s: s.denials.revoke("t", expire_at=0),
    "user_tokens_invalidate": lambda s: s.denials.invalidate(
        "u", channel="", issued_before=0, expire_at=0
    ),
}


@pytest.mark.parametrize("name", list(CALLS))
async def test_what_is_off_says_so(name: str) -> None:
    """108 with the key that turns it on; everybody is let in."""
    corridor = Corridor(statuses=False, denials=False)
    section = name.partition(".")[0]
    with pytest.raises(NotAvailable, match=rf"{section}\.enabled is false"):
        await CALLS[name](corridor.services)
    assert await check(corridor, token_id="t") == ""
    assert corridor.node.commands == []


BAD: dict[str, Call] = {
    "user": lambda s: s.denials.block("", expire_at=0),
    "user ": lambda s: s.denials.unblock(""),
    "uid": lambda s: s.denials.revoke("", expire_at=0),
    "user  ": lambda s: s.denials.invalidate(
        "", channel="", issued_before=0, expire_at=0
    ),
    "issued_before": lambda s: s.denials.invalidate(
        "u", channel="", issued_before=-1, expire_at=0
    ),
    "expire_at": lambda s: s.denials.block("u", expire_at=5),
    "expire_at ": lambda s: s.denials.revoke("u", expire_at=-1),
}


@pytest.mark.parametrize("field", list(BAD))
async def test_denials_that_are_refused(field: str) -> None:
    """Nobody, and times that are over."""
    corridor = Corridor()
    with pytest.raises(BadRequest, match=f"^bad request: {field.strip()}: must"):
        await BAD[field](corridor.services)
    assert corridor.node.commands == []
