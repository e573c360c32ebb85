"""The contract of `BreakerStore`, held by every implementation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.support.clock import MovedClock
from tests.support.registries import DATABASES, registry_for

from tocsin.core.ports.breakers import BreakerStore
from tocsin.delivery.breakers import LocalBreakerStore
from tocsin.queue.breakers import RedisBreakerStore
from tocsin.queue.redis_connection import connect
from tocsin.storage.breakers import SqlBreakerStore

NAME = "credential|fcm|shop|0123456789abcdef"


@pytest.fixture(params=["local", *DATABASES, "redis", "redis-cluster"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[BreakerStore]:
    if request.param == "local":
        yield LocalBreakerStore()
    elif request.param.startswith("redis"):
        place = request.param.replace("-", "_")
        client = connect(request.getfixturevalue(f"{place}_address"))
        yield RedisBreakerStore(client)
        await client.aclose()
    else:
        async with registry_for(request, request.param) as place:
            yield SqlBreakerStore(place.database, clock=MovedClock())


async def test_nothing_stands_at_first(store: BreakerStore) -> None:
    """And taking away what does not stand is no change."""
    assert await store.fetch() == {}
    assert await store.swap(NAME, None, None)
    assert not await store.swap(NAME, "{}", None)
    assert await store.fetch() == {}


async def test_a_text_is_replaced_by_comparison(store: BreakerStore) -> None:
    """Whoever knows an older one changes nothing."""
    assert await store.swap(NAME, None, '{"code":"ä"}')
    assert not await store.swap(NAME, None, "late")
    assert await store.swap(NAME, '{"code":"ä"}', "second")
    assert not await store.swap(NAME, '{"code":"ä"}', "late")
    assert not await store.swap(NAME, '{"code":"ä"}', None)
    assert await store.fetch() == {NAME: "second"}
    assert await store.swap(NAME, "second", None)
    assert await store.fetch() == {}
    assert await store.swap(NAME, None, "again")


async def test_names_are_told_apart(store: BreakerStore) -> None:
    """Each stands for itself."""
    assert await store.swap("a", None, "1")
    assert await store.swap("b", None, "2")
    assert await store.swap("a", "1", None)
    assert await store.fetch() == {"b": "2"}


@pytest.mark.parametrize("before", [None, "open"])
async def test_of_many_at_once_one_wins(
    store: BreakerStore, before: str | None
) -> None:
    """So one worker probes, and one says that a breaker has opened."""
    if before is not None:
        assert await store.swap(NAME, None, before)
    texts = [f"worker-{n}" for n in range(10)]
    won = await asyncio.gather(*(store.swap(NAME, before, text) for text in texts))
    assert won.count(True) == 1
    assert await store.fetch() == {NAME: texts[won.index(True)]}
