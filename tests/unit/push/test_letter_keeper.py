"""Copies of dead letters follow the queue, and bring back what it lost."""

from __future__ import annotations

from tests.support.job_queues import payload_for, receive_soon, send_job
from tests.support.memory_letter_copies import MemoryLetterCopies
from tests.support.memory_queue import MemoryJobQueue

from tocsin.push.letter_keeper import LetterKeeper


class Rig:
    """A queue, copies of its letters, and their keeper."""

    def __init__(self) -> None:
        self.queue = MemoryJobQueue()
        self.copies = MemoryLetterCopies()
        self.whole = True
        self.keeper = self.another()

    def another(self) -> LetterKeeper:
        return LetterKeeper(
            self.queue, self.queue.letters, self.copies, is_whole=self._is_whole
        )

    async def _is_whole(self) -> bool:
        return self.whole

    async def bury(self, number: int = 1) -> None:
        for _ in range(number):
            job = send_job("p1")
            await self.queue.enqueue(payload_for("p1"), [job])
            delivery = await receive_soon(self.queue)
            await self.queue.settle(delivery, dead=[(job, "why")])

    async def ids(self) -> list[str]:
        return [letter.id for letter in await self.queue.list_dead(limit=1000)]

    async def jobs(self) -> list[str]:
        return [each.job.id for each in await self.queue.list_dead(limit=1000)]


async def test_letters_are_copied_as_they_come() -> None:
    """More than a page of them, and nothing is read while nothing changes."""
    rig = Rig()
    await rig.keeper.look()
    await rig.bury(3)
    await rig.keeper.look()
    await rig.bury(150)
    await rig.keeper.look()
    assert len(rig.copies.kept) == 153
    read = rig.queue.calls["letters.fetch"]
    await rig.keeper.look()
    assert rig.queue.calls["letters.fetch"] == read


async def test_copies_of_what_is_replayed_or_purged_go() -> None:
    rig = Rig()
    await rig.bury(4)
    await rig.keeper.look()
    first, second, *_ = await rig.ids()
    await rig.queue.replay_dead([first])
    await rig.queue.purge_dead([second])
    await rig.keeper.look()
    assert len(rig.copies.kept) == 2


async def test_one_that_comes_as_another_goes_is_seen() -> None:
    """Their number is the same as before, and the last one is another."""
    rig = Rig()
    await rig.bury(2)
    await rig.keeper.look()
    await rig.queue.purge_dead((await rig.ids())[:1])
    await rig.bury(1)
    await rig.keeper.look()
    letters = await rig.queue.letters.fetch(after="", limit=9)
    assert set(rig.copies.kept) == {each.digest for each in letters}


async def test_what_the_queue_has_lost_comes_back_once() -> None:
    rig = Rig()
    await rig.bury(120)
    await rig.keeper.look()
    before = await rig.jobs()
    rig.queue.data.letters.clear()
    await rig.bury(1)
    assert await rig.keeper.restore() == 120
    assert await rig.keeper.restore() == 0
    assert sorted((await rig.jobs())[1:]) == sorted(before)
    await rig.keeper.look()
    assert len(rig.copies.kept) == 121


async def test_copies_stay_while_the_queue_may_have_lost_them() -> None:
    """The queue is empty, and that it was emptied is found out only now."""
    rig = Rig()
    await rig.bury(3)
    await rig.keeper.look()
    rig.queue.data.letters.clear()
    rig.whole = False
    await rig.keeper.look()
    assert len(rig.copies.kept) == 3
    rig.whole = True
    assert await rig.keeper.restore() == 3


async def test_a_new_keeper_compares_all() -> None:
    """Its predecessor may have died between a letter and its copy."""
    rig = Rig()
    await rig.bury(2)
    await rig.keeper.look()
    await rig.queue.purge_dead((await rig.ids())[:1])
    await rig.bury(1)
    await rig.another().look()
    letters = await rig.queue.letters.fetch(after="", limit=9)
    assert set(rig.copies.kept) == {each.digest for each in letters}
    rig.keeper.forget()
    rig.copies.kept.clear()
    await rig.keeper.look()
    assert len(rig.copies.kept) == 2
