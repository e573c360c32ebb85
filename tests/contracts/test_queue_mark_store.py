"""The contract of `QueueMarkStore`, held by every implementation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tocsin.core.ports.sends import (
    LOSS_TOLD_ONCE_MS,
    Entered,
    QueueMark,
    QueueMarkStore,
)
from tocsin.push.queue_watch import ProcessQueueMarks
from tocsin.storage.engine import open_postgres, open_sqlite
from tocsin.storage.queue_marks import SqlQueueMarkStore

NOW_MS = 1_800_000_000_000


@pytest.fixture(params=["process", "sqlite", "postgresql"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[QueueMarkStore]:
    if request.param == "process":
        yield ProcessQueueMarks()
        return
    if request.param == "sqlite":
        database = open_sqlite(request.getfixturevalue("migrated_sqlite_path"))
    else:
        database = open_postgres(request.getfixturevalue("migrated_postgres_dsn"))
    yield SqlQueueMarkStore(database)
    await database.close()


async def enter(
    store: QueueMarkStore, epoch: str, place: str = "here", **more: Any
) -> Entered:
    return await store.enter(epoch, place, **{"lost": "gone", "now_ms": NOW_MS, **more})


async def test_the_first_data_is_nothing_special(store: QueueMarkStore) -> None:
    """Nothing is lost and nothing moved, however often it is entered."""
    assert await store.fetch("a") is None
    for _ in range(2):
        entered = await enter(store, "a")
        assert entered == Entered(QueueMark("a"), is_loss=False, is_moved=False)
    assert await store.fetch("a") == QueueMark("a")
    assert not await store.is_replaced("a")


async def test_a_mark_only_rises(store: QueueMarkStore) -> None:
    """Processes that know less do not lower it."""
    await enter(store, "a")
    for accepted in (5, 9, 7):
        await store.advance("a", accepted, now_ms=NOW_MS)
    assert await store.fetch("a") == QueueMark("a", 9)
    assert (await enter(store, "a")).mark == QueueMark("a", 9)


@pytest.mark.parametrize("known_by", ["mark", "caller"])
async def test_data_that_had_work_is_lost_when_replaced(
    store: QueueMarkStore, known_by: str
) -> None:
    """One caller is told; the note stands in the new mark, for all."""
    await enter(store, "a")
    if known_by == "mark":
        await store.advance("a", 3, now_ms=NOW_MS)
    had_work = known_by == "caller"
    callers = [enter(store, "b", before="a", had_work=had_work) for _ in range(5)]
    entered = await asyncio.gather(*callers)
    assert sorted(each.is_loss for each in entered) == [False] * 4 + [True]
    assert await store.fetch("b") == QueueMark("b", 0, NOW_MS, "gone")
    assert await store.is_replaced("a")
    assert not await store.is_replaced("b")


async def test_data_without_work_is_no_loss(store: QueueMarkStore) -> None:
    """It is replaced all the same."""
    await enter(store, "a")
    entered = await enter(store, "b")
    assert not entered.is_loss
    assert entered.mark == QueueMark("b")
    assert await store.is_replaced("a")


async def test_data_that_came_back_is_not_replaced(store: QueueMarkStore) -> None:
    """What replaced it is, and what that held is lost."""
    await enter(store, "a")
    await enter(store, "b")
    await store.advance("b", 4, now_ms=NOW_MS)
    entered = await enter(store, "a")
    assert entered.is_loss
    assert not await store.is_replaced("a")
    assert await store.is_replaced("b")


async def test_a_loss_lowers_the_mark_and_is_told_once(store: QueueMarkStore) -> None:
    """Again only after a while: then it is another one."""
    await enter(store, "a")
    await store.advance("a", 100, now_ms=NOW_MS)
    later_ms = NOW_MS + 1 + LOSS_TOLD_ONCE_MS
    for reached, now_ms, told, mark in (
        (90, NOW_MS, True, QueueMark("a", 90, NOW_MS, "90")),
        (95, NOW_MS + 9, False, QueueMark("a", 90, NOW_MS, "90")),
        (85, NOW_MS - 9, False, QueueMark("a", 85, NOW_MS + 1, "90")),
        (80, later_ms, True, QueueMark("a", 80, later_ms, "80")),
    ):
        answer = await store.report_loss(
            "a", reached=reached, lost=f"{reached}", now_ms=now_ms
        )
        assert (answer, await store.fetch("a")) == (told, mark)
    expected = mark
    await store.report_loss("a", reached=999, lost="", now_ms=NOW_MS)
    assert await store.fetch("a") == expected


@pytest.fixture(params=["sqlite", "postgresql"])
async def lasting(request: pytest.FixtureRequest) -> AsyncIterator[QueueMarkStore]:
    if request.param == "sqlite":
        database = open_sqlite(request.getfixturevalue("migrated_sqlite_path"))
    else:
        database = open_postgres(request.getfixturevalue("migrated_postgres_dsn"))
    yield SqlQueueMarkStore(database)
    await database.close()


async def test_a_queue_at_another_place_is_a_move(lasting: QueueMarkStore) -> None:
    """The old one is there still: nothing is lost, also where both are at work."""
    await enter(lasting, "a", "old")
    await lasting.advance("a", 5, now_ms=NOW_MS)
    entered = await enter(lasting, "b", "new")
    assert (entered.is_loss, entered.is_moved) == (False, True)
    assert not (await enter(lasting, "b", "new")).is_moved
    assert not (await enter(lasting, "a", "old")).is_loss
    assert not await lasting.is_replaced("a")
    assert not await lasting.is_replaced("unknown")


async def test_a_place_that_was_left_is_not_missed(lasting: QueueMarkStore) -> None:
    """Emptied after the move, and gone back to: nothing of use was there any more."""
    await enter(lasting, "a", "old")
    await lasting.advance("a", 5, now_ms=NOW_MS)
    await enter(lasting, "b", "new", now_ms=NOW_MS + 1000)
    entered = await enter(lasting, "c", "old", now_ms=NOW_MS + 2000)
    assert (entered.is_loss, entered.is_moved) == (False, True)
    assert not await lasting.is_replaced("a")


async def test_what_a_process_saw_go_is_missed(lasting: QueueMarkStore) -> None:
    """Also while another queue of this registry is at work elsewhere."""
    await enter(lasting, "a", "one")
    await lasting.advance("a", 5, now_ms=NOW_MS)
    await enter(lasting, "b", "other", now_ms=NOW_MS + 1000)
    entered = await enter(lasting, "c", "one", before="a", had_work=True)
    assert entered.is_loss
    assert await lasting.is_replaced("a")
    assert not await lasting.is_replaced("b")
