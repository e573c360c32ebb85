"""Joining of concurrent calls into transactions."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

import pytest

from tocsin.storage.group_commit import GroupCommit


class Refused(Exception):
    """Concerns one item."""


class Unreachable(Exception):
    """Concerns everybody."""


class Transactions:
    """Records each group, and holds it back until the test opens the gate."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.down = False
        self.tasks: list[asyncio.Task[None]] = []
        self.starts: asyncio.Queue[None] = asyncio.Queue()

    async def apply(self, items: Sequence[str]) -> list[str | None]:
        self.groups.append(list(items))
        self.starts.put_nowait(None)
        await self.gate.wait()
        if self.down:
            raise Unreachable
        if "bad" in items:
            raise Refused
        # An item is put off while an equal one stands before it.
        return [
            None if item in items[:n] else item.upper() for n, item in enumerate(items)
        ]

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.create_task(work))

    def join(self, limit: int = 100) -> GroupCommit[str, str]:
        return GroupCommit(
            self.apply,
            spawn=self.spawn,
            hits_all=lambda error: isinstance(error, Unreachable),
            limit=limit,
        )

    async def started(self, count: int) -> None:
        async with asyncio.timeout(5):
            for _ in range(count):
                await self.starts.get()


@pytest.fixture
async def transactions() -> Transactions:
    return Transactions()


async def test_calls_at_once_share_a_transaction(transactions: Transactions) -> None:
    """What is there when the transaction starts goes into it, in order."""
    group = transactions.join()
    results = await asyncio.gather(*(group.submit(c) for c in "abc"))
    assert results == ["A", "B", "C"]
    assert transactions.groups == [["a", "b", "c"]]


async def test_calls_during_a_transaction_share_the_next(
    transactions: Transactions,
) -> None:
    """While one runs, the others gather for the one after it."""
    group = transactions.join()
    transactions.gate.clear()
    first = asyncio.create_task(group.submit("a"))
    await transactions.started(1)
    later = [asyncio.create_task(group.submit(c)) for c in "bcd"]
    await asyncio.sleep(0)
    transactions.gate.set()
    assert await asyncio.gather(first, *later) == ["A", "B", "C", "D"]
    assert transactions.groups == [["a"], ["b", "c", "d"]]


async def test_groups_are_bounded(transactions: Transactions) -> None:
    """More than the limit makes several transactions."""
    group = transactions.join(limit=2)
    await asyncio.gather(*(group.submit(c) for c in "abcde"))
    assert transactions.groups == [["a", "b"], ["c", "d"], ["e"]]


async def test_bad_item_fails_alone(transactions: Transactions) -> None:
    """After a failed transaction each item gets its own."""
    group = transactions.join()
    results = await asyncio.gather(
        *(group.submit(c) for c in ("a", "bad", "b")), return_exceptions=True
    )
    assert (results[0], results[2]) == ("A", "B")
    assert isinstance(results[1], Refused)
    assert transactions.groups == [["a", "bad", "b"], ["a"], ["bad"], ["b"]]


async def test_fault_that_hits_all_is_tried_once(transactions: Transactions) -> None:
    """With the database away nobody waits for everybody else's timeout."""
    group = transactions.join()
    transactions.down = True
    results = await asyncio.gather(
        *(group.submit(c) for c in "abc"), return_exceptions=True
    )
    assert [type(result) for result in results] == [Unreachable] * 3
    assert len(transactions.groups) == 1
    transactions.down = False
    assert await group.submit("d") == "D"


async def test_item_put_off_goes_into_the_next_transaction(
    transactions: Transactions,
) -> None:
    """An item that must see another's result keeps its turn and its caller."""
    group = transactions.join()
    results = await asyncio.gather(*(group.submit(c) for c in ("a", "a", "a", "b")))
    assert results == ["A", "A", "A", "B"]
    assert transactions.groups == [["a", "a", "a", "b"], ["a", "a"], ["a"]]


async def test_cancelled_caller_leaves_the_others_alone(
    transactions: Transactions,
) -> None:
    """One under way is completed, one that still waits is dropped."""
    group = transactions.join()
    transactions.gate.clear()
    running = [asyncio.create_task(group.submit(c)) for c in "ab"]
    await transactions.started(1)
    waiting = [asyncio.create_task(group.submit(c)) for c in "cd"]
    await asyncio.sleep(0)
    for task in (running[0], waiting[0]):
        task.cancel()
    transactions.gate.set()
    results = await asyncio.gather(*running, *waiting, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert isinstance(results[2], asyncio.CancelledError)
    assert (results[1], results[3]) == ("B", "D")
    assert transactions.groups == [["a", "b"], ["d"]]


async def test_nobody_waits_for_ever_when_the_task_is_ended(
    transactions: Transactions,
) -> None:
    """Ending the writing task ends its callers, and the next call starts anew."""
    group = transactions.join()
    transactions.gate.clear()
    callers = [asyncio.create_task(group.submit("a"))]
    await transactions.started(1)
    callers.append(asyncio.create_task(group.submit("b")))
    await asyncio.sleep(0)
    transactions.tasks[0].cancel()
    results = await asyncio.gather(*callers, return_exceptions=True)
    assert [type(result) for result in results] == [asyncio.CancelledError] * 2
    transactions.gate.set()
    assert await group.submit("c") == "C"
