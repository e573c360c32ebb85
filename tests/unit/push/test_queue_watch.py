"""A queue that lost data is named, and one that was moved is not."""

from __future__ import annotations

from collections import Counter

import pytest
from structlog.testing import capture_logs
from tests.support.jobs import ManualClock
from tests.support.memory_queue import MemoryJobQueue

from tocsin.core.errors import InternalError, QueueUnavailable
from tocsin.core.ports.queue import QueuePosition
from tocsin.core.ports.sends import QueueMark
from tocsin.push.queue_watch import NAMED_FOR_MS, ProcessQueueMarks, QueueWatch


class Place(MemoryJobQueue):
    """A queue that says of its data what a test wants."""

    def __init__(self) -> None:
        super().__init__()
        self.now = QueuePosition("a", 0)

    async def position(self) -> QueuePosition:
        await super().position()
        return self.now


class Bench:
    """Watches of several processes, over what they share."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.place = Place()
        self.marks = ProcessQueueMarks()
        self.losses: Counter[str] = Counter()

    def watch(self) -> QueueWatch:
        def count(kind: str) -> None:
            self.losses[kind] += 1

        return QueueWatch(
            self.place,
            self.marks,
            place="here",
            clock=self.clock,
            on_loss=count,
        )


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_a_queue_at_work_lost_nothing(bench: Bench) -> None:
    """Its number rises, by whomever; nothing is said."""
    watch = bench.watch()
    with capture_logs() as logs:
        for reached in (0, 3, 3, 90):
            bench.place.now = QueuePosition("a", reached, certain=reached)
            await watch.check()
    assert (logs, watch.notices(), watch.lost_at_ms) == ([], {}, 0)


@pytest.mark.parametrize("accepted", [0, 5])
async def test_other_data_at_its_place_is_a_loss(bench: Bench, accepted: int) -> None:
    """Unless nothing had been accepted: then there was nothing to lose."""
    watch = bench.watch()
    bench.place.now = QueuePosition("a", accepted, certain=accepted)
    await watch.check()
    bench.place.now = QueuePosition("b", 0, missing=accepted)
    with capture_logs() as logs:
        for _ in range(3):
            await watch.check()
    assert bench.losses == ({"replaced": 1} if accepted else {})
    assert [line["log_level"] for line in logs] == (["error"] if accepted else [])
    assert list(watch.notices()) == (["queue"] if accepted else [])
    assert watch.epoch == "b"
    assert await watch.is_lost("a")
    assert not await watch.is_lost("b")


async def test_what_a_worker_saw_is_missed_too(bench: Bench) -> None:
    """It accepts nothing itself, yet it knows that there was something."""
    worker = bench.watch()
    bench.place.now = QueuePosition("a", 7)
    await worker.check()
    bench.place.now = QueuePosition("b", 0)
    await worker.check()
    assert bench.losses == {"replaced": 1}


async def test_the_end_cut_off_is_a_loss(bench: Bench) -> None:
    """Same data, but not as far as before: it says how many are missing."""
    watch = bench.watch()
    bench.place.now = QueuePosition("a", 100, certain=100)
    await watch.check()
    bench.place.now = QueuePosition("a", 90, certain=90, missing=10)
    with capture_logs() as logs:
        await watch.check()
        await watch.check()
    assert [line["missing"] for line in logs] == [10]
    assert "10 accepted sends ago" in watch.notices()["queue"]
    assert bench.losses == {"went_back": 1}


async def test_a_loss_that_was_overtaken_is_a_loss(bench: Bench) -> None:
    """Accepting went on so fast that the number is beyond what it was."""
    watch = bench.watch()
    bench.place.now = QueuePosition("a", 100, certain=100)
    await watch.check()
    bench.place.now = QueuePosition("a", 150, certain=150, missing=10)
    await watch.check()
    assert bench.losses == {"went_back": 1}


async def test_what_was_lost_while_nobody_ran_is_found_at_the_start(
    bench: Bench,
) -> None:
    """The mark outlives the process, where it is kept apart."""
    bench.place.now = QueuePosition("a", 100, certain=100)
    before = bench.watch()
    await before.check()
    await before.check()
    bench.place.now = QueuePosition("a", 90)
    after = bench.watch()
    await after.check()
    assert bench.losses == {"went_back": 1}
    assert "queue" in after.notices()


async def test_many_processes_tell_one_loss_once(bench: Bench) -> None:
    """Each of them shows it to whoever asks, one writes and counts it."""
    bench.place.now = QueuePosition("a", 100, certain=100)
    watches = [bench.watch() for _ in range(4)]
    for watch in watches:
        await watch.check()
    bench.place.now = QueuePosition("a", 90, certain=90, missing=10)
    with capture_logs() as logs:
        for watch in watches * 2:
            await watch.check()
            bench.clock.advance(1)
    assert [line["log_level"] for line in logs] == ["error"]
    assert bench.losses == {"went_back": 1}
    assert all("queue" in watch.notices() for watch in watches)


async def test_processes_that_find_a_loss_in_turn_blame_no_registry(
    bench: Bench,
) -> None:
    """One of them lowers a mark that another has raised again meanwhile."""
    bench.place.now = QueuePosition("a", 100, certain=100)
    one, other = bench.watch(), bench.watch()
    for watch in (one, other):
        await watch.check()
    bench.place.now = QueuePosition("a", 90, certain=90, missing=10)
    await one.check()
    bench.place.now = QueuePosition("a", 95, certain=95, missing=10)
    await one.check()
    bench.place.now = QueuePosition("a", 93, certain=93, missing=10)  # read earlier
    await other.check()
    bench.place.now = QueuePosition("a", 96, certain=96, missing=10)
    for watch in (one, other, one, other):
        await watch.check()
    assert bench.losses == {"went_back": 1}


async def test_a_loss_is_named_for_a_day(bench: Bench) -> None:
    """Whoever comes in the morning finds it; then it ends."""
    watch = bench.watch()
    bench.place.now = QueuePosition("a", 5, certain=5)
    await watch.check()
    bench.place.now = QueuePosition("b", 0)
    await watch.check()
    bench.clock.advance(NAMED_FOR_MS / 1000 - 1)
    assert watch.notices()
    bench.clock.advance(2)
    assert watch.notices() == {}


async def test_a_queue_that_is_away_lost_nothing(bench: Bench) -> None:
    """What cannot be asked is compared when it is back."""
    watch = bench.watch()
    bench.place.now = QueuePosition("a", 5, certain=5)
    await watch.check()
    bench.place.failure = QueueUnavailable()
    with pytest.raises(QueueUnavailable):
        await watch.check()
    bench.place.failure = None
    await watch.check()
    assert bench.losses == {}
    bench.place.now = QueuePosition("b", 0)
    await watch.check()
    assert bench.losses == {"replaced": 1}


async def test_what_others_accept_meanwhile_is_no_loss(bench: Bench) -> None:
    """The mark may pass a position that was read a moment earlier."""
    bench.place.now = QueuePosition("a", 5, certain=5)
    watch = bench.watch()
    await watch.check()
    original = bench.place.position

    async def position() -> QueuePosition:
        found = await original()
        await bench.marks.advance("a", 50, now_ms=0)
        return found

    bench.place.position = position  # type: ignore[method-assign]
    await watch.check()
    assert bench.losses == {}


class ForgetfulMarks(ProcessQueueMarks):
    """A registry that can be put back to an older backup."""

    def put_back(self, *, keep: bool) -> None:
        self._marks = {"a": QueueMark("a", 3)} if keep else {}


@pytest.mark.parametrize("keep", [True, False])
async def test_a_registry_that_went_back_is_named(bench: Bench, *, keep: bool) -> None:
    """An older backup beside today's queue: uids of the time between are unknown."""
    marks = bench.marks = ForgetfulMarks()
    watch = bench.watch()
    bench.place.now = QueuePosition("a", 100, certain=100)
    await watch.check()
    await watch.check()
    marks.put_back(keep=keep)
    for _ in range(3):
        await watch.check()
    assert bench.losses == {"registry_went_back": 1}
    assert list(watch.notices()) == ["database"]


class AwayMarks(ProcessQueueMarks):
    """A registry that can be away."""

    is_away = False

    async def fetch(self, epoch: str) -> QueueMark | None:
        if self.is_away:
            raise InternalError("away")
        return await super().fetch(epoch)


@pytest.mark.parametrize("epoch", ["a", "b"])
async def test_a_loss_is_named_while_the_registry_is_away(
    bench: Bench, epoch: str
) -> None:
    """By whoever has seen what was there; once, also when the registry is back."""
    marks = bench.marks = AwayMarks()
    watch = bench.watch()
    bench.place.now = QueuePosition("a", 9, certain=9)
    await watch.check()
    marks.is_away = True
    bench.place.now = QueuePosition(epoch, 2, certain=2, missing=7)
    for _ in range(2):
        with pytest.raises(InternalError):
            await watch.check()
    assert "queue" in watch.notices()
    marks.is_away = False
    await watch.check()
    assert "queue" in watch.notices()
    assert bench.losses == {"went_back" if epoch == "a" else "replaced": 1}


async def test_the_epoch_is_looked_up_where_it_is_not_known(bench: Bench) -> None:
    """Until then nobody may guess it."""
    watch = bench.watch()
    bench.place.failure = InternalError("away")
    with pytest.raises(InternalError):
        await watch.find_epoch()
    bench.place.failure = None
    assert (watch.epoch, await watch.find_epoch()) == ("", "a")
