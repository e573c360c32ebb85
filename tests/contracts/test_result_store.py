"""The contract of `ResultStore`, held by every implementation."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tests.support.jobs import ManualClock
from tests.support.registries import RegistryPlace

from tocsin.core.ports.results import ResultPage, ResultStore
from tocsin.core.results import ResultEvent, ResultFilter

WHOLE = ResultEvent(
    "recipient",
    "removed",
    "push-1",
    uid="u'; \u00fc",
    analytics_uid="a",
    provider="apns",
    integration="apns-2",
    device_id="d",
    user="42",
    target_sha256="ab",
    code="unregistered",
    provider_code="Unregistered",
    message_id="m",
    unique_id="n",
    attempt=2,
    accepted_at_ms=5,
    answered_at_ms=6,
    counts={"delivered": 3},
)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(registry: RegistryPlace, clock: ManualClock) -> ResultStore:
    return registry.results(clock)


def event(uid: str, outcome: str = "delivered", provider: str = "fcm") -> ResultEvent:
    return ResultEvent("recipient", outcome, "push", uid=uid, provider=provider)


def uids(page: ResultPage) -> list[str]:
    return [each.uid for each in page.events]


async def test_an_event_comes_back_whole(
    store: ResultStore, clock: ManualClock
) -> None:
    """With its position, and when it was kept."""
    await store.add([WHOLE])
    page = await store.fetch(0, limit=5)
    kept = replace(WHOLE, position=1, recorded_at_ms=clock.now_ms())
    assert list(page.events) == [kept]
    assert (page.position, page.last, page.forgotten) == (1, 1, 0)


async def test_an_empty_store_has_position_0(store: ResultStore) -> None:
    """So a reader begins there."""
    await store.add([])
    assert await store.fetch(0, limit=5) == ResultPage([], 0)


async def test_pages_go_on_after_a_position(store: ResultStore) -> None:
    """Each event is in one page."""
    await store.add([event(str(number)) for number in range(5)])
    first = await store.fetch(0, limit=2)
    assert (uids(first), first.position, first.last) == (["0", "1"], 2, 5)
    rest = await store.fetch(first.position, limit=9)
    assert (uids(rest), rest.position) == (["2", "3", "4"], 5)
    assert uids(await store.fetch(5, limit=9)) == []


async def test_a_filter_moves_past_what_does_not_fit(store: ResultStore) -> None:
    """Values of a list are alternatives; all lists must fit."""
    await store.add(
        [
            event("a"),
            event("b", "removed"),
            event("a", "removed", "apns"),
            event("c"),
            ResultEvent("send", "finished", "push", uid="a"),
        ]
    )

    async def positions(chosen: ResultFilter) -> list[int]:
        page = await store.fetch(0, limit=9, chosen=chosen)
        assert page.position == 5
        return [each.position for each in page.events]

    assert await positions(ResultFilter(uids=["a"])) == [1, 3, 5]
    assert await positions(ResultFilter(uids=["a", "c"], providers=["fcm"])) == [1, 4]
    assert await positions(ResultFilter(outcomes=["removed"])) == [2, 3]
    assert await positions(ResultFilter(details=["send"])) == [5]
    assert await positions(ResultFilter(uids=["nobody"])) == []


async def test_many_writers_leave_no_gap(store: ResultStore) -> None:
    """And a reader that follows them misses nothing."""
    seen: list[int] = []

    async def follow() -> None:
        position = 0
        while len(seen) < 60:
            page = await store.fetch(position, limit=7)
            seen.extend(each.position for each in page.events)
            position = page.position
            await asyncio.sleep(0)

    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        group.create_task(follow())
        for number in range(20):
            group.create_task(store.add([event(f"{number}-{i}") for i in range(3)]))
    assert seen == list(range(1, 61))


async def test_what_is_old_is_forgotten_from_the_oldest_on(
    store: ResultStore, clock: ManualClock
) -> None:
    """And the store knows up to where, even when nothing is left."""
    await store.add([event("a"), event("b"), event("c")])
    clock.advance(10)
    await store.add([event("d")])
    assert await store.forget(before_ms=clock.now_ms() - 10_000, limit=9) == 0
    assert await store.forget(before_ms=clock.now_ms(), limit=2) == 2
    page = await store.fetch(0, limit=9)
    assert (uids(page), page.forgotten) == (["c", "d"], 2)
    assert await store.forget(before_ms=clock.now_ms() + 1, limit=9) == 2
    page = await store.fetch(0, limit=9)
    assert (uids(page), page.last, page.forgotten) == ([], 4, 4)
    await store.add([event("e")])
    assert (await store.fetch(4, limit=9)).events[0].position == 5
