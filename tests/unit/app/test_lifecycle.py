"""Tasks that end before what they use."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from tocsin.app.lifecycle import Stopper, start_beside, unless_stopped


async def test_a_task_has_ended_before_what_it_uses_is_closed() -> None:
    """Its clean-up still finds everything open."""
    order: list[str] = []
    started = asyncio.Event()

    async def work() -> None:
        try:
            started.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            order.append("given back")

    async with AsyncExitStack() as stack:
        stack.callback(order.append, "closed")
        start_beside(work(), stack)
        await started.wait()
    assert order == ["given back", "closed"]


async def test_the_death_of_a_task_is_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It would otherwise be missed unnoticed."""

    async def die() -> None:
        raise RuntimeError("worn out")

    died = asyncio.Event()
    async with AsyncExitStack() as stack:
        start_beside(die(), stack, on_death=died.set)
        await asyncio.wait_for(died.wait(), timeout=10)
    said = capsys.readouterr().out
    assert "a background task died" in said
    assert "worn out" in said


async def test_a_start_is_given_up_when_a_stop_comes() -> None:
    """It gives back what it had opened; nobody waits for what does not answer."""
    order: list[str] = []
    begun = asyncio.Event()

    async def start() -> int:
        async with AsyncExitStack() as stack:
            stack.callback(order.append, "closed")
            begun.set()
            await asyncio.Event().wait()
        return 1

    stopper = Stopper()
    starting = asyncio.create_task(unless_stopped(start(), stopper))
    await begun.wait()
    stopper.stop("test")
    assert await starting is None
    assert order == ["closed"]
    assert await unless_stopped(start(), stopper) is None
    assert order == ["closed"]


async def test_a_reload_that_came_too_early_is_made_up_for() -> None:
    """And after a stop there is none."""
    stopper, reloads = Stopper(), []
    stopper.reload()
    stopper.reload()
    stopper.reload_with(lambda: reloads.append(1))
    assert len(reloads) == 1
    stopper.reload()
    stopper.stop("test")
    stopper.reload()
    assert len(reloads) == 2
