from __future__ import annotations

import asyncio

import pytest

from tocsin.core.lanes import Priority
from tocsin.providers.slots import Slots

BULK, TRANSACTIONAL = Priority.BULK, Priority.TRANSACTIONAL


async def settle() -> None:
    """Let every task go on as far as it can."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_free_slot_goes_to_the_most_urgent() -> None:
    """Who came last is first, if it is more urgent; each gives its slot on."""
    slots, order = Slots(1), []

    async def use(name: str, priority: Priority) -> None:
        async with slots.held(priority):
            order.append(name)
            await asyncio.sleep(0)

    await slots.acquire(BULK)
    tasks = [asyncio.create_task(use(f"b{number}", BULK)) for number in range(3)]
    await settle()
    tasks.append(asyncio.create_task(use("t", TRANSACTIONAL)))
    await settle()
    assert order == []
    slots.release()
    await asyncio.gather(*tasks)
    assert order == ["t", "b0", "b1", "b2"]


async def test_no_more_than_so_many_are_taken() -> None:
    """And nobody passes those who wait."""
    slots = Slots(2)
    await slots.acquire(BULK)
    await slots.acquire(BULK)
    third = asyncio.create_task(slots.acquire(BULK))
    await settle()
    assert not third.done()
    slots.release()
    await third
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await slots.acquire(TRANSACTIONAL)
    slots.release()
    await slots.acquire(TRANSACTIONAL)


@pytest.mark.parametrize("is_late", [False, True])
async def test_who_gives_up_takes_no_slot_along(is_late: bool) -> None:
    """Neither one that waits, nor one whose turn had just come."""
    slots = Slots(1)
    await slots.acquire(BULK)
    waiting = asyncio.create_task(slots.acquire(TRANSACTIONAL))
    await settle()
    if is_late:
        slots.release()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    if not is_late:
        slots.release()
    async with asyncio.timeout(5):
        await slots.acquire(BULK)
