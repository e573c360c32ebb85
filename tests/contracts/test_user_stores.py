"""`UserStatusStore` and `DenialStore`: one contract for memory and Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest
from tests.support.brokers import KINDS, empty_engine, open_redis
from tests.support.ports import free_port

from tocsin.broker.redis_clients import open_clients
from tocsin.broker.users_memory import MemoryDenials, MemoryUserStatuses
from tocsin.broker.users_redis import RedisDenials, RedisUserStatuses
from tocsin.core.clock import SystemClock
from tocsin.core.errors import BrokerUnavailable
from tocsin.core.ports.channels import (
    DenialKind,
    DenialStore,
    UserStatus,
    UserStatusStore,
)

USER, TOKEN, USER_TOKENS = DenialKind.USER, DenialKind.TOKEN, DenialKind.USER_TOKENS


@dataclass
class Stores:
    statuses: UserStatusStore
    denials: DenialStore


@pytest.fixture(params=KINDS)
async def stores(
    request: pytest.FixtureRequest,
) -> AsyncIterator[Stores]:
    async with AsyncExitStack() as stack:
        if request.param == "memory":
            clock = SystemClock()
            yield Stores(MemoryUserStatuses(clock), MemoryDenials(clock))
        else:
            clients = open_redis(empty_engine(request, request.param), stack)
            yield Stores(RedisUserStatuses(clients), RedisDenials(clients[-1]))


def now_s() -> int:
    return int(time.time())


async def test_parts_of_a_status_are_set_by_themselves(stores: Stores) -> None:
    """What one call sets the other leaves; order and doubles are kept."""
    store = stores.statuses
    now = now_s()
    users = [f"user-{number}" for number in range(20)]
    await store.set_active(users, "täglich", now_s=now, ttl_s=60)
    await store.set_online(["user-1", "other"], now_s=now + 1, ttl_s=60)
    await store.set_active(["user-2"], "", now_s=now + 2, ttl_s=60)
    asked = ["user-1", "other", "unknown", "user-2", "user-1"]
    first = UserStatus("user-1", active=now, online=now + 1, state="täglich")
    assert list(await store.fetch(asked)) == [
        first,
        UserStatus("other", online=now + 1),
        UserStatus("unknown"),
        UserStatus("user-2", active=now + 2),
        first,
    ]
    assert [each.active for each in await store.fetch(users[3:])] == [now] * 17
    await store.delete(["user-1", "unknown"])
    assert await store.fetch(["user-1"]) == [UserStatus("user-1")]


async def test_a_status_ends_and_is_renewed(stores: Stores) -> None:
    """Every change gives it its whole lifetime again."""
    store = stores.statuses
    await store.set_active(["a", "b"], "s", now_s=now_s(), ttl_s=1)
    await store.set_online(["b"], now_s=now_s(), ttl_s=60)
    deadline = time.monotonic() + 10
    while (await store.fetch(["a"]))[0] != UserStatus("a"):
        assert time.monotonic() < deadline
        await _breathe()
    assert (await store.fetch(["b"]))[0].state == "s"


async def test_no_users_are_no_question(stores: Stores) -> None:
    """An empty list is answered with one."""
    assert list(await stores.statuses.fetch([])) == []
    await stores.statuses.set_online([], now_s=1, ttl_s=1)
    await stores.statuses.delete([])


async def test_a_denial_is_one_of_its_kind_and_key(stores: Stores) -> None:
    """The same text elsewhere is something else."""
    store = stores.denials
    await store.put(USER, "a", 1, expire_at=0)
    await store.put(USER_TOKENS, "a", 1_800_000_000, expire_at=now_s() + 60)
    asked = [(USER, "a"), (TOKEN, "a"), (USER, "b"), (USER_TOKENS, "a"), (USER, "a")]
    assert list(await store.fetch(asked)) == [1, None, None, 1_800_000_000, 1]
    await store.remove(USER, "a")
    await store.remove(USER, "never")
    assert list(await store.fetch([(USER, "a")])) == [None]


async def test_a_denial_is_replaced_but_never_loosened(stores: Stores) -> None:
    """The higher value stays, the later call decides about the end."""
    store = stores.denials
    await store.put(USER_TOKENS, "a", 10, expire_at=now_s() + 1)
    await store.put(USER_TOKENS, "a", 5, expire_at=0)
    deadline = time.monotonic() + 1.5
    while time.monotonic() < deadline:
        assert list(await store.fetch([(USER_TOKENS, "a")])) == [10]
        await _breathe()


async def test_a_denial_ends(stores: Stores) -> None:
    """At the second that was given; one that is over at once denies nothing."""
    store = stores.denials
    await store.put(USER, "a", 1, expire_at=now_s() + 1)
    await store.put(USER, "b", 1, expire_at=now_s() - 5)
    assert list(await store.fetch([(USER, "b")])) == [None]
    deadline = time.monotonic() + 10
    while (await store.fetch([(USER, "a")]))[0] is not None:
        assert time.monotonic() < deadline
        await _breathe()


@pytest.mark.parametrize("expire_at", [10**12 + 1, 10**16, 10**18, 2**63 - 1])
async def test_a_denial_without_a_countable_end_is_for_ever(
    stores: Stores, expire_at: int
) -> None:
    """A store that counts in other units takes any number of seconds."""
    store = stores.denials
    await store.put(USER, "a", 1, expire_at=expire_at)
    await store.put(USER_TOKENS, "a", 2**63 - 1, expire_at=expire_at)
    assert (await store.fetch([(USER, "a")]))[0] == 1
    assert (await store.fetch([(USER_TOKENS, "a")]))[0] is not None


async def test_redis_that_is_away_is_an_error_of_ours() -> None:
    """No foreign exception leaves the room, and no address is told."""
    (client,) = open_clients([f"redis://127.0.0.1:{free_port()}"])
    statuses, denials = RedisUserStatuses([client]), RedisDenials(client)
    for call in (
        statuses.fetch(["a"]),
        statuses.set_online(["a"], now_s=1, ttl_s=1),
        statuses.delete(["a"]),
        denials.put(USER, "a", 1, expire_at=0),
        denials.remove(USER, "a"),
        denials.fetch([(USER, "a")]),
    ):
        with pytest.raises(BrokerUnavailable) as raised:
            await call
        assert raised.value.message == ("internal server error: broker is unavailable")
    await client.aclose()


async def _breathe() -> None:
    await asyncio.sleep(0.02)
