from __future__ import annotations

import asyncio

import pytest

from tocsin.api import pace
from tocsin.api.grpc_streams import Drain
from tocsin.api.pace import AnswerPace

FOR_EVER_S = 3_600.0


async def _is_held(kept: AnswerPace, caller: str) -> bool:
    """Whether a call of this caller waits; it is given up then."""
    task = asyncio.create_task(kept.keep(caller))
    for _ in range(5):
        await asyncio.sleep(0)
    if task.done():
        return False
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return True


async def test_a_caller_has_so_many_calls_in_a_window_and_others_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is beyond waits; the next window lets the same caller through again."""
    monkeypatch.setattr(pace, "WINDOW_S", FOR_EVER_S)
    kept = AnswerPace(Drain(), at_once=3, hold_s=FOR_EVER_S)
    assert [await _is_held(kept, "a") for _ in range(5)] == [False] * 3 + [True] * 2
    assert not await _is_held(kept, "b")
    monkeypatch.setattr(pace, "WINDOW_S", 0.0)
    renewed = AnswerPace(Drain(), at_once=3, hold_s=FOR_EVER_S)
    assert not any([await _is_held(renewed, "a") for _ in range(20)])


async def test_a_held_call_is_let_go_after_its_time() -> None:
    kept = AnswerPace(Drain(), at_once=0, hold_s=0.01)
    async with asyncio.timeout(30):
        await kept.keep("a")


async def test_a_shutdown_lets_all_go() -> None:
    """A refused caller never holds up a drain."""
    drain = Drain()
    kept = AnswerPace(drain, at_once=0, hold_s=FOR_EVER_S)
    waiting = [asyncio.create_task(kept.keep("a")) for _ in range(3)]
    await asyncio.sleep(0)
    drain.begin()
    async with asyncio.timeout(30):
        await asyncio.gather(*waiting)


async def test_memory_is_bounded_by_callers_and_by_calls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A caller too many waits from its first call; a call too many does not wait."""
    monkeypatch.setattr(pace, "WINDOW_S", FOR_EVER_S)
    monkeypatch.setattr(pace, "_MOST_CALLERS", 2)
    monkeypatch.setattr(pace, "MOST_HELD", 1)
    kept = AnswerPace(Drain(), at_once=1, hold_s=FOR_EVER_S)
    assert [await _is_held(kept, name) for name in "abca"] == [
        False,
        False,
        True,
        True,
    ]
    holding = asyncio.create_task(kept.keep("a"))
    await asyncio.sleep(0)
    assert not await _is_held(kept, "a")
    holding.cancel()
    await asyncio.gather(holding, return_exceptions=True)
    assert await _is_held(kept, "a")
