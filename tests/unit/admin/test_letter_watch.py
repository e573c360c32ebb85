from __future__ import annotations

from collections.abc import Mapping

import pytest
from structlog.testing import capture_logs
from tests.support.admin import bury
from tests.support.jobs import ManualClock, make_send_job
from tests.support.memory_queue import MemoryJobQueue

from tocsin.admin import letter_watch
from tocsin.admin.letter_watch import Kind, LetterLimits, LetterWatch
from tocsin.core.errors import QueueUnavailable

NOW_MS = 1_800_000_000_000
INTERNAL = ("fcm", "internal")


class Seen:
    """A `LetterObserver` that keeps the last it heard, and all that was pruned."""

    def __init__(self) -> None:
        self.kept: dict[Kind, int] = {}
        self.oldest_s = -1.0
        self.pruned: list[tuple[Kind, int]] = []

    def observe_letters(self, kept: Mapping[Kind, int], oldest_s: float) -> None:
        self.kept, self.oldest_s = dict(kept), oldest_s

    def observe_pruned(self, kind: Kind, count: int) -> None:
        self.pruned.append((kind, count))


class Watched:
    """A watch over a queue in memory, with a clock that a test moves."""

    def __init__(self, limits: LetterLimits | None = None) -> None:
        self.clock = ManualClock(NOW_MS)
        self.queue = MemoryJobQueue(self.clock)
        self.seen = Seen()
        self.watch = LetterWatch(
            self.queue,
            self.seen,
            clock=self.clock,
            limits=limits or LetterLimits(),
            elapsed=lambda: self.clock.now_ms() / 1000,
        )

    def bury(self, *reasons: str, age_s: int = 0) -> None:
        for reason in reasons:
            bury(self.queue, reason, at_ms=NOW_MS - age_s * 1000)

    async def look(self) -> dict[Kind, int]:
        await self.watch.look()
        return self.seen.kept

    @property
    def reads(self) -> int:
        return self.queue.calls["scan_dead"]


async def test_letters_are_counted_by_kind() -> None:
    """And the age of the oldest is told; none of it without letters."""
    watched = Watched()
    assert (await watched.look(), watched.seen.oldest_s) == ({}, 0.0)
    watched.bury("invalid_argument: a", "invalid_argument: b", age_s=60)
    bury(watched.queue, "internal", make_send_job(provider="apns"), at_ms=NOW_MS)
    assert await watched.look() == {
        ("fcm", "invalid_argument"): 2,
        ("apns", "internal"): 1,
    }
    assert watched.seen.oldest_s == 60.0


async def test_what_was_counted_is_not_read_again() -> None:
    """Only what was added is; nothing at all while nothing changes."""
    watched = Watched()
    watched.bury(*["internal"] * 450)
    assert await watched.look() == {INTERNAL: 450}
    before = watched.reads
    assert await watched.look() == {INTERNAL: 450}
    assert watched.reads == before
    watched.bury("internal")
    assert await watched.look() == {INTERNAL: 451}
    assert watched.reads == before + 1


@pytest.mark.parametrize("gone", [["1"], ["2"], ["3"], ["1", "2", "3"]])
async def test_letters_that_go_are_counted_no_more(gone: list[str]) -> None:
    """Wherever they were, also where as many come."""
    watched = Watched()
    watched.bury("a", "b", "c")
    await watched.look()
    await watched.queue.purge_dead(gone)
    left = [reason for id, reason in enumerate("abc", 1) if str(id) not in gone]
    kept = {("fcm", reason): 1 for reason in left}
    assert await watched.look() == kept
    watched.bury(*["d"] * len(gone))
    assert await watched.look() == kept | {("fcm", "d"): len(gone)}


async def test_many_letters_are_not_counted_again_at_each_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While somebody replays them, once a minute is enough."""
    monkeypatch.setattr(letter_watch, "MANY", 3)
    watched = Watched()
    watched.bury(*["internal"] * 6)
    await watched.look()
    await watched.queue.purge_dead(["2"])
    assert await watched.look() == {INTERNAL: 6}
    watched.clock.advance(letter_watch.RECOUNT_S)
    assert await watched.look() == {INTERNAL: 5}


async def test_by_default_letters_are_kept_for_ever() -> None:
    """However old and however many."""
    watched = Watched()
    watched.bury(*["internal"] * 500, age_s=10 * 365 * 86_400)
    assert await watched.look() == {INTERNAL: 500}
    assert watched.seen.pruned == []


async def test_the_oldest_go_where_there_are_too_many() -> None:
    """Counted by kind and logged, since nobody can replay them any more."""
    watched = Watched(LetterLimits(most=3))
    watched.bury(*["a"] * 300, "b", "b", "c", "c")
    with capture_logs() as lines:
        assert await watched.look() == {("fcm", "b"): 1, ("fcm", "c"): 2}
    assert watched.seen.pruned == [(("fcm", "a"), 300), (("fcm", "b"), 1)]
    assert [(line["reason"], line["letters"], line["why"]) for line in lines] == [
        ("a", 300, "more than 3 were kept"),
        ("b", 1, "more than 3 were kept"),
    ]
    assert await watched.look() == {("fcm", "b"): 1, ("fcm", "c"): 2}
    assert len(watched.seen.pruned) == 2


async def test_letters_go_when_they_are_too_old() -> None:
    """All of them, over any number of pages; a younger one stays."""
    watched = Watched(LetterLimits(max_age_s=3600))
    watched.bury(*["a"] * 450, age_s=3601)
    watched.bury("a", age_s=3599)
    assert await watched.look() == {("fcm", "a"): 1}
    assert watched.seen.pruned == [(("fcm", "a"), 450)]
    watched.clock.advance(2)
    assert await watched.look() == {}
    assert watched.seen.pruned[1:] == [(("fcm", "a"), 1)]


async def test_two_servers_together_forget_no_more_than_is_too_much() -> None:
    """Each counts what it did itself, however their steps mix."""
    watched = Watched(LetterLimits(most=2))
    watched.bury(*["a"] * 5)
    other = MemoryJobQueue(watched.clock, data=watched.queue.data)
    scan = watched.queue.scan_dead

    async def scan_late(**given: int | str) -> object:
        heads = await scan(**given)  # type: ignore[arg-type]
        await other.purge_dead(["1", "2"])
        return heads

    watched.queue.scan_dead = scan_late  # type: ignore[method-assign,assignment]
    await watched.look()
    assert sum(count for _, count in watched.seen.pruned) == 0
    watched.queue.scan_dead = scan  # type: ignore[method-assign]
    await watched.look()
    assert watched.seen.pruned == [(("fcm", "a"), 1)]
    assert list(watched.queue.data.letters) == [4, 5]


async def test_what_is_forgotten_is_told_where_the_queue_goes_away() -> None:
    """Half of a look is not silent either."""
    watched = Watched(LetterLimits(most=1))
    watched.bury("a", "b", "c")
    watched.queue.faults["purge_dead"] = [None, QueueUnavailable()]
    with pytest.raises(QueueUnavailable), capture_logs() as lines:
        await watched.look()
    assert watched.seen.pruned == [(("fcm", "a"), 1)]
    assert [line["reason"] for line in lines] == ["a"]
