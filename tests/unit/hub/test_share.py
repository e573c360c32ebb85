from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs
from tests.support.sessions import run_until

from tocsin.hub.share import AT_ONCE, TURN_S, TurnShare


class Client:
    """Has a number of shares to do; writes down in which turn each was done."""

    def __init__(self, name: int, shares: int, share: TurnShare, log: list[int]):
        self._name, self._left, self._share, self._log = name, shares, share, log

    def go_on(self) -> None:
        self._log.append(self._name)
        self._left -= 1
        if self._left:
            self._share.wait(self)


async def _until(log: list[int], length: int) -> None:
    await run_until(lambda: len(log) >= length)


async def test_few_go_on_in_one_turn_and_all_in_order() -> None:
    """However many wait: nobody has a second share before all have had their first."""
    share, log = TurnShare(), []  # type: tuple[TurnShare, list[int]]
    for name in range(3 * AT_ONCE):
        share.wait(Client(name, 2, share, log))
    assert log == []
    await asyncio.sleep(0)
    assert log == list(range(AT_ONCE))
    await _until(log, 6 * AT_ONCE)
    assert log == 2 * list(range(3 * AT_ONCE))


async def test_the_loop_goes_round_for_others_between() -> None:
    """Between two turns with shares are turns without, however much is left."""
    share, log = TurnShare(), []  # type: tuple[TurnShare, list[int]]
    for name in range(AT_ONCE):
        share.wait(Client(name, 20, share, log))
    turns_without, done = 0, 0
    async with asyncio.timeout(5):
        while len(log) < 20 * AT_ONCE:
            await asyncio.sleep(0)
            assert len(log) - done <= AT_ONCE
            turns_without += len(log) == done
            done = len(log)
    assert turns_without >= 19


async def test_it_is_told_when_many_had_a_share_just_now() -> None:
    """Until nobody waits any more."""
    share, log = TurnShare(), []  # type: tuple[TurnShare, list[int]]
    for name in range(AT_ONCE):
        assert not share.is_taken
        share.wait(Client(name, 1, share, log))
    assert share.is_taken
    await _until(log, AT_ONCE)
    await run_until(lambda: not share.is_taken)


async def test_who_took_long_makes_others_wait() -> None:
    """A short time does not count; after a long one the loop is for everybody else."""
    share, log = TurnShare(), []  # type: tuple[TurnShare, list[int]]
    share.spend(TURN_S)
    assert not share.is_taken
    share.spend(10 * TURN_S)
    assert share.is_taken
    share.wait(Client(1, 1, share, log))
    for _ in range(5):
        await asyncio.sleep(0)
    assert log == []
    await _until(log, 1)
    await run_until(lambda: not share.is_taken)


async def test_fewer_go_on_when_they_take_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one has its share in a later turn."""
    share, log = TurnShare(), []  # type: tuple[TurnShare, list[int]]
    monkeypatch.setattr("tocsin.hub.share.TURN_S", -1.0)
    for name in range(2):
        share.wait(Client(name, 1, share, log))
    await asyncio.sleep(0)
    assert log == [0]
    await _until(log, 2)


async def test_a_task_waits_like_the_others() -> None:
    """It goes on in its turn; one that was cancelled holds up nobody."""
    share, log = TurnShare(), []  # type: tuple[TurnShare, list[int]]
    given_up = asyncio.ensure_future(share.pause())
    task = asyncio.ensure_future(share.pause())
    await asyncio.sleep(0)
    given_up.cancel()
    share.wait(Client(7, 1, share, log))
    async with asyncio.timeout(5):
        await task
    await _until(log, 1)


async def test_what_may_take_long_has_a_turn_for_itself() -> None:
    """Nobody goes on behind it before the next."""
    share = TurnShare()
    tasks = [asyncio.ensure_future(share.pause(is_long=True)) for _ in range(3)]
    seen = [0]
    async with asyncio.timeout(5):
        while seen[-1] < 3:
            await asyncio.sleep(0)
            seen.append(sum(each.done() for each in tasks))
            assert seen[-1] - seen[-2] <= 1


async def test_a_mistake_about_one_keeps_nobody_waiting() -> None:
    """It is logged, and the next one goes on."""
    share, log = TurnShare(), []  # type: tuple[TurnShare, list[int]]

    class Broken:
        def go_on(self) -> None:
            raise RuntimeError("a bug")

    share.wait(Broken())
    share.wait(Client(1, 1, share, log))
    with capture_logs() as lines:
        await _until(log, 1)
    assert "is not read to its end" in lines[0]["event"]
