"""Every sentence of the `ReachedStore` port, on every store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest
from redis.asyncio import Redis
from tests.support.brokers import empty_engine
from tests.support.jobs import ManualClock
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer

from tocsin.broker.reached_memory import MemoryReached
from tocsin.broker.reached_redis import RedisReached
from tocsin.broker.redis_clients import open_clients
from tocsin.core.errors import InternalError
from tocsin.core.ports.online import ReachedStore, Stage


@dataclass(slots=True)
class Rig:
    """A store, and the way to let seconds pass for what it keeps of push `p`."""

    store: ReachedStore
    let_pass: Callable[[int], Awaitable[None]]


@pytest.fixture(params=["memory", "redis", "redis-cluster"])
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    if request.param == "memory":
        clock = ManualClock()

        async def advance(seconds: int) -> None:
            clock.advance(seconds)

        yield Rig(MemoryReached(clock), advance)
        return
    (client,) = open_clients(empty_engine(request, request.param))

    async def age(seconds: int) -> None:
        # The server's own clock cannot be moved, the end of a key can.
        left_s = await client.ttl("x.reached.p")
        if left_s > seconds:
            await client.expire("x.reached.p", left_s - seconds)
        else:
            await client.delete("x.reached.p")

    yield Rig(RedisReached([client], prefix="x"), age)
    await client.aclose()


async def stage_of(rig: Rig, push_id: str = "p", *, ttl_s: int = 60) -> Stage:
    return await rig.store.fetch_stage(push_id, ttl_s=ttl_s)


async def test_of_an_unknown_push_nothing_is_known(rig: Rig) -> None:
    """No stage, and nobody was reached; asking makes nothing of it."""
    assert await stage_of(rig) is Stage.UNKNOWN
    assert await rig.store.find("p", {"anna"}, ttl_s=60) == frozenset()
    assert await stage_of(rig) is Stage.UNKNOWN


async def test_users_and_stage_are_kept_by_push(rig: Rig) -> None:
    """Of those asked for only the reached come back, and of this push alone."""
    await rig.store.add("p", {"anna", "ben"}, Stage.PUBLISHED, ttl_s=60)
    assert await stage_of(rig) is Stage.PUBLISHED
    found = await rig.store.find("p", ["anna", "eve"], ttl_s=60)
    assert found == frozenset({"anna"})
    assert await stage_of(rig, "q") is Stage.UNKNOWN
    assert await rig.store.find("q", ["anna"], ttl_s=60) == frozenset()


async def test_nobody_and_nothing_are_fine(rig: Rig) -> None:
    """A channel may be empty, and a page without users."""
    await rig.store.add("p", (), Stage.PUBLISHED, ttl_s=60)
    assert await stage_of(rig) is Stage.PUBLISHED
    assert await rig.store.find("p", (), ttl_s=60) == frozenset()


async def test_users_come_together(rig: Rig) -> None:
    """Who was added before stays when more are added."""
    await rig.store.add("p", {"anna"}, Stage.PUBLISHED, ttl_s=60)
    await rig.store.add("p", {"ben"}, Stage.DECIDED, ttl_s=60)
    found = await rig.store.find("p", ["anna", "ben", "eve"], ttl_s=60)
    assert found == {"anna", "ben"}


async def test_a_stage_never_goes_back(rig: Rig) -> None:
    """Users of an earlier stage that comes late count all the same."""
    await rig.store.add("p", (), Stage.DECIDED, ttl_s=60)
    await rig.store.add("p", {"anna"}, Stage.PUBLISHED, ttl_s=60)
    assert await stage_of(rig) is Stage.DECIDED
    assert await rig.store.find("p", ["anna"], ttl_s=60) == {"anna"}


async def test_names_are_no_markers(rig: Rig) -> None:
    """Any text is a user, also one that looks like something of ours."""
    strange = {"s:decided", "u:anna", "published", "ünï", "a b"}
    await rig.store.add("p", strange, Stage.PUBLISHED, ttl_s=60)
    assert await stage_of(rig) is Stage.PUBLISHED
    asked = [*strange, "anna", "s:published"]
    assert await rig.store.find("p", asked, ttl_s=60) == strange


async def test_many_users_are_no_other_case(rig: Rig) -> None:
    """More than go into one command."""
    users = [f"u{number}" for number in range(2500)]
    await rig.store.add("p", users[::2], Stage.PUBLISHED, ttl_s=60)
    found = await rig.store.find("p", users, ttl_s=60)
    assert found == frozenset(users[::2])


async def test_what_is_not_used_is_forgotten(rig: Rig) -> None:
    """Users and stage end together."""
    await rig.store.add("p", {"anna"}, Stage.DECIDED, ttl_s=60)
    await rig.let_pass(61)
    assert await stage_of(rig) is Stage.UNKNOWN
    assert await rig.store.find("p", ["anna"], ttl_s=60) == frozenset()


@pytest.mark.parametrize("use", ["add", "fetch_stage", "find"])
async def test_what_is_used_is_kept(rig: Rig, use: str) -> None:
    """Each of the three counts the time anew."""
    await rig.store.add("p", {"anna"}, Stage.PUBLISHED, ttl_s=60)
    await rig.let_pass(40)
    if use == "add":
        await rig.store.add("p", (), Stage.PUBLISHED, ttl_s=60)
    elif use == "fetch_stage":
        await stage_of(rig)
    else:
        await rig.store.find("p", ["eve"], ttl_s=60)
    await rig.let_pass(40)
    assert await stage_of(rig) is Stage.PUBLISHED
    assert await rig.store.find("p", ["anna"], ttl_s=60) == {"anna"}


async def test_adding_at_once_loses_nobody(rig: Rig) -> None:
    """Nodes and workers write beside each other."""
    await asyncio.gather(
        *(
            rig.store.add("p", {f"u{number}"}, Stage.PUBLISHED, ttl_s=60)
            for number in range(20)
        )
    )
    users = [f"u{number}" for number in range(20)]
    assert await rig.store.find("p", users, ttl_s=60) == frozenset(users)


async def test_memory_is_given_back() -> None:
    """Pushes that nobody asks for any more do not stay for ever."""
    clock = ManualClock()
    store = MemoryReached(clock)
    for number in range(500):
        await store.add(f"p{number}", {"anna"}, Stage.DECIDED, ttl_s=1)
    clock.advance(2)
    for number in range(500, 1000):
        await store.add(f"p{number}", {"anna"}, Stage.DECIDED, ttl_s=60)
    assert len(store) == 500


async def test_pushes_are_spread_over_servers(
    redis_server: RedisServer, redis_address: str
) -> None:
    """Each lives on one of them, and is found there again."""
    client = Redis.from_url(f"redis://{redis_address}")
    other = Redis.from_url(f"redis://{redis_address}", db=1)
    store = RedisReached([client, other], prefix="x")
    for number in range(20):
        await store.add(f"p{number}", {"anna"}, Stage.DECIDED, ttl_s=60)
    for number in range(20):
        assert await store.find(f"p{number}", ["anna"], ttl_s=60) == {"anna"}
    sizes = [await each.dbsize() for each in (client, other)]
    assert sum(sizes) == 20
    assert all(sizes)
    await client.aclose()
    await other.aclose()


async def test_a_server_that_is_away_is_said() -> None:
    """Every method raises the error of the port."""
    client = Redis.from_url(f"redis://127.0.0.1:{free_port()}")
    store = RedisReached([client])
    with pytest.raises(InternalError):
        await store.add("p", {"anna"}, Stage.DECIDED, ttl_s=60)
    with pytest.raises(InternalError):
        await store.fetch_stage("p", ttl_s=60)
    with pytest.raises(InternalError):
        await store.find("p", ["anna"], ttl_s=60)
    await client.aclose()
