"""The contract of `TokenStore`, held by every implementation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest
from tests.support.clock import MovedClock

from tocsin.core.clock import SystemClock
from tocsin.core.ports.providers import SharedToken, TokenStore
from tocsin.providers.process_tokens import ProcessTokenStore
from tocsin.queue.redis_connection import connect
from tocsin.queue.sql import SqlJobQueue
from tocsin.queue.tokens import RedisTokenStore, SqlTokenStore
from tocsin.storage.engine import open_postgres, open_sqlite


@dataclass(slots=True)
class Rig:
    """A store and the way to let `short_ttl_s` pass for it."""

    store: TokenStore
    short_ttl_s: float
    let_pass: Callable[[], Awaitable[None]]
    now_ms: Callable[[], int] = SystemClock().now_ms


@pytest.fixture(params=["process", "sqlite", "postgresql", "redis", "redis-cluster"])
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    clock = MovedClock()

    async def let_pass() -> None:
        clock.move_ms(61_000)

    if request.param == "process":
        yield Rig(ProcessTokenStore(clock), 60, let_pass, clock.now_ms)
    elif request.param.startswith("redis"):
        place = request.param.replace("-", "_")
        client = connect(request.getfixturevalue(f"{place}_address"))
        yield Rig(RedisTokenStore(client), 0.05, lambda: asyncio.sleep(0.1))
        await client.aclose()
    else:
        if request.param == "sqlite":
            database = open_sqlite(request.getfixturevalue("tmp_path") / "queue.db")
        else:
            database = open_postgres(request.getfixturevalue("postgres_dsn"))
        await SqlJobQueue(database.engine, owner="test").start()
        store = SqlTokenStore(database.engine, clock=clock)
        yield Rig(store, 60, let_pass, clock.now_ms)
        await database.close()


async def test_the_first_offer_stands(rig: Rig) -> None:
    """Where nothing stands the offer is taken, and later ones are told of it."""
    first, second = SharedToken("first", 1_000), SharedToken("second", 2_000)
    assert await rig.store.agree("k", first, made_after_ms=500, ttl_s=60) == first
    assert await rig.store.agree("k", second, made_after_ms=500, ttl_s=60) == first


async def test_an_old_token_gives_way(rig: Rig) -> None:
    """One that was not made after the given moment is replaced."""
    first, second = SharedToken("first", 1_000), SharedToken("second", 2_000)
    await rig.store.agree("k", first, made_after_ms=0, ttl_s=60)
    assert await rig.store.agree("k", second, made_after_ms=999, ttl_s=60) == first
    assert await rig.store.agree("k", second, made_after_ms=1_000, ttl_s=60) == second


async def test_a_token_of_a_clock_that_is_ahead_is_nobody_s(rig: Rig) -> None:
    """Its maker has it alone; it neither replaces a good one nor stands itself."""
    ahead_ms = rig.now_ms() + 7_200_000
    ahead, good = SharedToken("ahead", ahead_ms), SharedToken("good", rig.now_ms())
    after_ms = good.made_at_ms - 1
    assert await rig.store.agree("k", ahead, made_after_ms=after_ms, ttl_s=60) == ahead
    assert await rig.store.agree("k", good, made_after_ms=after_ms, ttl_s=60) == good
    made_after_ms = ahead_ms - 2_700_000
    offer = rig.store.agree("k", ahead, made_after_ms=made_after_ms, ttl_s=60)
    assert await offer == ahead
    other = SharedToken("other", good.made_at_ms + 1)
    assert await rig.store.agree("k", other, made_after_ms=after_ms, ttl_s=60) == good


async def test_names_do_not_mix(rig: Rig) -> None:
    """Each key of a push service has a token of its own."""
    first, other = SharedToken("first", 1_000), SharedToken("other", 1_000)
    await rig.store.agree("k", first, made_after_ms=0, ttl_s=60)
    assert await rig.store.agree("l", other, made_after_ms=0, ttl_s=60) == other


async def test_of_many_offers_exactly_one_wins(rig: Rig) -> None:
    """Offers at the same moment all come back as the one winner."""
    offers = [SharedToken(f"token {number}", 1_000) for number in range(12)]
    agreed = await asyncio.gather(
        *(rig.store.agree("k", offer, made_after_ms=0, ttl_s=60) for offer in offers)
    )
    assert len(set(agreed)) == 1
    assert agreed[0] in offers


async def test_over_its_ttl_a_token_is_forgotten(rig: Rig) -> None:
    """What nobody replaced in time does not stand in the way of a new one."""
    first, second = SharedToken("first", 1_000), SharedToken("second", 2_000)
    await rig.store.agree("k", first, made_after_ms=0, ttl_s=rig.short_ttl_s)
    await rig.let_pass()
    assert await rig.store.agree("k", second, made_after_ms=0, ttl_s=60) == second


def test_a_token_does_not_show_in_a_log() -> None:
    """Its text is a credential."""
    assert "secret" not in repr(SharedToken("secret", 1))
