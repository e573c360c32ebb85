"""Reading results: pages, streams, positions that are not kept, and how many wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from tests.support.jobs import ManualClock
from tests.support.memory_results import MemoryResults

from tocsin.admin import results
from tocsin.admin.results import ResultService
from tocsin.core.errors import BadRequest, NotAvailable
from tocsin.core.ports.results import ResultPage
from tocsin.core.results import ResultEvent, ResultFilter

ALL = ResultFilter()


def event(uid: str, outcome: str = "delivered") -> ResultEvent:
    return ResultEvent("recipient", outcome, "push", uid=uid, provider="fcm")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(clock: ManualClock) -> MemoryResults:
    return MemoryResults(clock)


@pytest.fixture
async def service(store: MemoryResults) -> AsyncIterator[ResultService]:
    service = ResultService(store)
    yield service
    service.close()


def uids(page: ResultPage) -> list[str]:
    return [each.uid for each in page.events]


async def test_pages_go_on_by_position(
    service: ResultService, store: MemoryResults
) -> None:
    """Also past what does not fit."""
    await store.add([event("a"), event("b"), event("a"), event("b")])
    first = await service.page(ALL, limit=3)
    assert (uids(first), first.position) == (["a", "b", "a"], 3)
    rest = await service.page(ResultFilter(uids=["a"]), position=3)
    assert (uids(rest), rest.position) == ([], 4)


async def test_a_page_waits_for_what_is_asked(
    service: ResultService, store: MemoryResults
) -> None:
    """Events that do not fit do not end the wait."""
    wanted = ResultFilter(uids=["b"])
    waiting = asyncio.create_task(service.page(wanted, from_now=True, wait_s=5))
    await asyncio.sleep(0.05)
    await store.add([event("a")])
    await asyncio.sleep(0.15)
    assert not waiting.done()
    await store.add([event("b")])
    async with asyncio.timeout(2):
        assert uids(await waiting) == ["b"]


async def test_a_wait_ends_with_its_time_or_the_server(service: ResultService) -> None:
    """With an empty page."""
    assert not (await service.page(ALL, wait_s=0.02)).events
    waiting = asyncio.create_task(service.page(ALL, wait_s=30))
    await asyncio.sleep(0.02)
    service.close()
    async with asyncio.timeout(2):
        assert not (await waiting).events


async def test_a_stream_has_what_is_kept_and_then_what_comes(
    service: ResultService, store: MemoryResults
) -> None:
    """It begins at once, also where nothing is there."""
    async with asyncio.timeout(5), aclosing(service.watch(ALL)) as pages:  # type: ignore[type-var] # a generator
        assert (await anext(pages)).position == 0
        await store.add([event("a"), event("b")])
        page = await anext(pages)
        assert (uids(page), page.position) == (["a", "b"], 2)
        await store.add([event("c")])
        assert uids(await anext(pages)) == ["c"]
        service.close()
        with pytest.raises(StopAsyncIteration):
            await anext(pages)


async def test_a_stream_shows_life_while_nothing_fits(
    service: ResultService, store: MemoryResults, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its position moves on meanwhile."""
    monkeypatch.setattr(results, "SIGN_OF_LIFE_S", 0.02)
    chosen = ResultFilter(outcomes=["removed"])
    async with asyncio.timeout(5), aclosing(service.watch(chosen)) as pages:  # type: ignore[type-var] # a generator
        await anext(pages)
        await store.add([event("a")])
        position = 0
        while position < 1:
            page = await anext(pages)
            assert not page.events
            position = page.position


async def test_many_who_keep_up_cost_one_query(
    service: ResultService, store: MemoryResults
) -> None:
    """They are served from memory."""

    async def read() -> list[str]:
        found: list[str] = []
        async with aclosing(service.watch(ALL, from_now=True)) as pages:  # type: ignore[type-var] # a generator
            async for page in pages:
                found += uids(page)
                if len(found) == 30:
                    break
        return found

    async with asyncio.timeout(10):
        readers = [asyncio.create_task(read()) for _ in range(50)]
        await asyncio.sleep(0.3)
        before = store.fetches
        for number in range(30):
            await store.add([event(str(number))])
        assert service.feed is not None
        service.feed.wake()
        for reader in readers:
            assert await reader == [str(number) for number in range(30)]
    assert store.fetches - before < 30


async def test_a_position_that_is_not_kept_names_the_oldest(
    service: ResultService, store: MemoryResults, clock: ManualClock
) -> None:
    """0 is the oldest that there is, whatever was forgotten."""
    await store.add([event("a"), event("b"), event("c")])
    await store.forget(before_ms=clock.now_ms() + 1, limit=2)
    with pytest.raises(BadRequest, match="position: results up to 2 are not kept"):
        await service.page(ALL, position=1)
    assert uids(await service.page(ALL, position=2)) == ["c"]
    assert uids(await service.page(ALL)) == ["c"]


async def test_a_position_from_elsewhere_is_refused(
    service: ResultService, store: MemoryResults
) -> None:
    """It would else wait for ever, and then skip."""
    await store.add([event("a")])
    with pytest.raises(BadRequest, match="position: is after the newest result, 1"):
        await service.page(ALL, position=2)
    with pytest.raises(BadRequest, match="position: is after the newest result, 1"):
        await anext(service.watch(ALL, position=2))


@pytest.mark.parametrize(
    ("chosen", "more", "field"),
    [
        (ResultFilter(outcomes=["lost"]), {}, "filter.outcomes"),
        (ResultFilter(providers=["telex"]), {}, "filter.providers"),
        (ResultFilter(details=["all"]), {}, "filter.details"),
        (ResultFilter(uids=[""]), {}, "filter.uids"),
        (ResultFilter(uids=["u"] * 1001), {}, "filter.uids"),
        (ResultFilter(details=["send"] * 1001), {}, "filter.details"),
        (ALL, {"position": -1}, "position"),
        (ALL, {"limit": -1}, "limit"),
        (ALL, {"wait_s": -1.0}, "wait_s"),
        (ALL, {"wait_s": 31.0}, "wait_s"),
        (ALL, {"wait_s": float("nan")}, "wait_s"),
    ],
)
async def test_what_cannot_be_names_its_field(
    service: ResultService, chosen: ResultFilter, more: dict[str, float], field: str
) -> None:
    """Instead of finding nothing for ever."""
    with pytest.raises(BadRequest) as caught:
        await service.page(chosen, **more)  # type: ignore[arg-type]
    assert caught.value.field.startswith(field)


async def test_streams_of_a_server_are_bounded(
    service: ResultService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that ends makes room."""
    monkeypatch.setattr(results, "MAX_STREAMS", 1)
    async with aclosing(service.watch(ALL)) as pages:  # type: ignore[type-var] # a generator
        await anext(pages)
        with pytest.raises(NotAvailable, match="1 streams of results are open"):
            await anext(service.watch(ALL))
    await anext(service.watch(ALL))


async def test_where_none_are_kept_the_key_is_named() -> None:
    """So that whoever asks knows what to set."""
    with pytest.raises(NotAvailable, match=r"push_notifications\.results\.detail"):
        await ResultService(None).page(ALL)
