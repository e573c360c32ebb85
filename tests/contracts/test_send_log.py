"""The ports of the send log, sentence by sentence, on every registry."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from tests.support.clock import MovedClock
from tests.support.jobs import make_payload, make_send_job, make_walk_job
from tests.support.registries import RegistryPlace

from tocsin.core.accounts import Account, Unit, Walk
from tocsin.core.errors import Conflict
from tocsin.core.ports.send_log import SendLog, SendQuery, SendSource
from tocsin.core.push import Job
from tocsin.core.send_log import Accepting, Progress, SendRecord, Taken

OPEN = Account("g1", 1, 3, units={"0": Unit(3)})
DONE = Account("g1", 2, 3, Counter({"delivered": 3}), ended=True)


class Rig:
    """A log, its clock, and sends for it."""

    def __init__(self, place: RegistryPlace) -> None:
        self.clock = MovedClock()
        self.log: Any = place.send_log(self.clock)
        self.keeper: SendLog = self.log
        self.source: SendSource = self.log
        self.fence = 0

    def send(
        self,
        push_id: str = "p1",
        *,
        uid: str = "",
        content: bytes | None = None,
        **more: Any,
    ) -> Accepting:
        record = SendRecord(
            push_id,
            uid or push_id,
            accepted_at_ms=self.clock.now_ms(),
            epoch="e1",
            **more,
        )
        jobs: list[Job] = [
            make_send_job(3, unit="0", push_id=push_id),
            make_walk_job(unit="1"),
        ]
        return Accepting(record, make_payload(push_id), jobs, content, 60)

    async def accept(self, push_id: str = "p1", **more: Any) -> Taken:
        taken: Taken = await self.log.accept(self.send(push_id, **more))
        return taken

    async def write(self, accounts: Mapping[str, Account], fence: int = 1) -> bool:
        return await self.keeper.write_accounts(accounts, fence=fence, epoch="e2")

    async def find(self, push_id: str = "p1") -> SendRecord:
        record = await self.source.fetch(push_id=push_id)
        assert record is not None
        return record


@pytest.fixture
def rig(registry: RegistryPlace) -> Rig:
    return Rig(registry)


async def test_a_send_is_kept_as_it_was_accepted(rig: Rig) -> None:
    """With what it takes to queue it again."""
    accepting = rig.send(due_at_ms=5, expire_at_ms=7, correlation_id="c", uid="u")
    taken = await rig.log.accept(accepting)
    assert taken == Taken("p1", True, Progress.ACCEPTED, True, "e1")
    assert await rig.find() == accepting.record
    assert await rig.source.fetch(uid="u") == accepting.record
    (kept,) = await rig.log.find_open(["p1", "unknown"])
    assert kept.record == accepting.record
    assert kept.payload == accepting.payload
    assert list(kept.jobs) == list(accepting.jobs)


async def test_many_at_once_are_all_kept(rig: Rig) -> None:
    await asyncio.gather(*(rig.accept(f"p{number}") for number in range(50)))
    assert await rig.source.count_open() == 50


async def test_a_uid_belongs_to_one_send(rig: Rig) -> None:
    """Who repeats it gets the first one's push id, and nothing is written."""
    first, second = await asyncio.gather(
        rig.accept("p1", uid="u", content=b"f"), rig.accept("p2", uid="u", content=b"f")
    )
    assert {first.is_new, second.is_new} == {True, False}
    assert first.push_id == second.push_id
    assert await rig.source.count_open() == 1
    again = await rig.accept("p3", uid="u", content=b"f")
    assert again == Taken(first.push_id, False, Progress.ACCEPTED, True, "e1")


async def test_a_uid_with_other_content_is_a_conflict(rig: Rig) -> None:
    """For its caller alone: others that are written at the same moment are kept."""
    await rig.accept("p1", uid="u", content=b"f")
    answers = await asyncio.gather(
        rig.accept("p2"),
        rig.accept("p3", uid="u", content=b"other"),
        rig.accept("p4"),
        return_exceptions=True,
    )
    assert isinstance(answers[1], Conflict)
    assert await rig.source.count_open() == 3


async def test_a_uid_may_be_taken_again_after_its_time(rig: Rig) -> None:
    await rig.accept("p1", uid="u", content=b"f")
    rig.clock.move_ms(61_000)
    assert (await rig.accept("p2", uid="u", content=b"other")).is_new
    found = await rig.source.fetch(uid="u")
    assert found is not None
    assert found.push_id == "p2"


async def test_a_refused_send_can_be_repeated(rig: Rig) -> None:
    await rig.accept("p1", uid="u", content=b"f")
    await rig.log.refuse("p1")
    assert (await rig.find()).progress is Progress.REFUSED
    assert await rig.log.find_open(["p1"]) == []
    again = await rig.accept("p2", uid="u", content=b"f")
    assert again == Taken("p1", False, Progress.REFUSED, False, "e1")
    await rig.log.accept_again(rig.send("p1", uid="u", content=b"f"))
    assert (await rig.find()).progress is Progress.ACCEPTED
    last = await rig.accept("p2", uid="u", content=b"f")
    assert last == Taken("p1", False, Progress.ACCEPTED, True, "e1")


async def test_a_send_that_was_seen_in_the_queue_is_not_refused(rig: Rig) -> None:
    await rig.accept()
    await rig.write({"p1": OPEN})
    await rig.log.refuse("p1")
    assert (await rig.find()).progress is Progress.SENDING


async def test_a_refused_send_that_was_queued_after_all_is_open(rig: Rig) -> None:
    """Its caller was told an error, since the queue's answer came too late."""
    await rig.accept()
    await rig.log.refuse("p1")
    await rig.write({"p1": OPEN})
    assert (await rig.find()).progress is Progress.SENDING
    assert [each.record.push_id for each in await rig.log.find_open(["p1"])] == ["p1"]


async def test_accounts_are_taken_over(rig: Rig) -> None:
    await rig.accept()
    assert await rig.write({"p1": OPEN, "unknown": OPEN})
    record = await rig.find()
    assert (record.progress, record.accounts, record.epoch) == (
        Progress.SENDING,
        {"g1": OPEN},
        "e2",
    )
    rig.clock.move_ms(10)
    assert await rig.write({"p1": DONE})
    record = await rig.find()
    assert (record.progress, record.accounts) == (Progress.FINISHED, {"g1": DONE})
    assert record.ended_at_ms == rig.clock.now_ms()
    assert await rig.source.count_open() == 0


async def test_an_older_keeper_writes_nothing(rig: Rig) -> None:
    """It was away, and would undo what its successor has written."""
    await rig.accept()
    assert await rig.write({"p1": DONE}, fence=7)
    assert not await rig.write({"p1": OPEN}, fence=6)
    assert (await rig.find()).progress is Progress.FINISHED


async def test_work_that_comes_back_opens_the_send_again(rig: Rig) -> None:
    """Replayed dead letters are counted in another generation beside the first."""
    await rig.accept()
    dead = replace(DONE, parts=Counter({"delivered": 1, "dead_lettered": 2}))
    await rig.write({"p1": dead})
    again = Account("g2", 1, 0, Counter({"dead_lettered": -2}), {"0!": Unit(2)})
    await rig.write({"p1": again})
    record = await rig.find()
    assert record.progress is Progress.SENDING
    assert (record.account.matched, record.account.open) == (3, 2)
    assert record.account.find_fault() == ""


@pytest.mark.parametrize(
    ("account", "progress"),
    [
        (Account("g", 1, 3, Counter({"cancelled": 3}), ended=True), Progress.CANCELLED),
        (
            Account("g", 1, 0, walk_ends=Counter({"cancelled": 1}), ended=True),
            Progress.CANCELLED,
        ),
        (Account("g", 1, 3, Counter({"expired": 3}), ended=True), Progress.EXPIRED),
        (
            Account("g", 1, 3, Counter({"expired": 2, "delivered": 1}), ended=True),
            Progress.FINISHED,
        ),
        (Account("g", 1, 0, ended=True), Progress.FINISHED),
        (Account("g", 1, 0, walks={"0": Walk()}), Progress.SCHEDULED),
        (
            Account("g", 1, 5, Counter({"delivered": 5}), walks={"0": Walk(1, "d")}),
            Progress.SENDING,
        ),
    ],
)
async def test_the_state_follows_from_the_account(
    rig: Rig, account: Account, progress: Progress
) -> None:
    due_at_ms = rig.clock.now_ms() + 1000
    await rig.accept(due_at_ms=due_at_ms, progress=Progress.SCHEDULED)
    await rig.write({"p1": account})
    assert (await rig.find()).progress is progress


async def test_one_keeper_at_a_time(rig: Rig) -> None:
    """Its number rises with each call, so that what an older one does is known."""
    first = await rig.keeper.hold("a", ttl_s=10)
    assert first is not None
    assert await rig.keeper.hold("b", ttl_s=10) is None
    second = await rig.keeper.hold("a", ttl_s=10)
    assert second is not None
    assert second > first
    rig.clock.move_ms(11_000)
    third = await rig.keeper.hold("b", ttl_s=10)
    assert third is not None
    assert third > second
    await rig.keeper.raise_fence(third + 100)
    await rig.keeper.raise_fence(1)
    assert await rig.keeper.hold("b", ttl_s=10) == third + 101


async def test_unseen_sends_are_found(rig: Rig) -> None:
    """Those of which the queue has never told, the oldest first."""
    await rig.accept("p1")
    rig.clock.move_ms(10)
    await rig.accept("p2")
    await rig.accept("p3")
    await rig.write({"p2": replace(OPEN, generation="g")})
    now_ms = rig.clock.now_ms()
    unseen = rig.keeper.fetch_unseen
    assert await unseen(before_ms=now_ms - 1, limit=9) == ["p1"]
    assert await unseen(before_ms=now_ms, limit=9) == ["p1", "p3"]
    assert await unseen(before_ms=now_ms, limit=1) == ["p1"]


async def test_open_sends_are_paged(rig: Rig) -> None:
    for number in range(5):
        await rig.accept(f"p{number}")
    await rig.write({"p1": DONE})
    assert await rig.keeper.fetch_open(after="", limit=2) == ["p0", "p2"]
    assert await rig.keeper.fetch_open(after="p2", limit=9) == ["p3", "p4"]


async def test_a_repair_is_planned_once(rig: Rig) -> None:
    """By the state that it was made from: a rival has changed that."""
    await rig.accept()
    await rig.write({"p1": OPEN})
    plan = {"g2": replace(OPEN, generation="g2", version=0)}
    seen = {"g1": OPEN.version}
    kept = {"seen": seen, "accounts": plan, "epoch": "e3"}
    assert await rig.log.plan_repair("p1", **kept)
    assert not await rig.log.plan_repair("p1", **kept)
    record = await rig.find()
    assert (record.accounts, record.epoch, record.repairs) == (plan, "e3", 1)
    # Until the queue tells of it again, it is looked for.
    now_ms = rig.clock.now_ms()
    assert await rig.keeper.fetch_unseen(before_ms=now_ms, limit=9) == ["p1"]


async def test_what_was_read_before_a_repair_is_not_written_over_it(rig: Rig) -> None:
    """Not before the keeper has held the log again, and so reads anew."""
    fence = await rig.keeper.hold("a", ttl_s=10)
    assert fence is not None
    await rig.accept()
    assert await rig.write({"p1": OPEN}, fence=fence)
    plan = {"g2": replace(OPEN, generation="g2", version=0)}
    await rig.log.plan_repair(
        "p1", seen={"g1": OPEN.version}, accounts=plan, epoch="e3"
    )
    assert not await rig.write({"p1": OPEN}, fence=fence)
    assert (await rig.find()).accounts == plan
    fence = await rig.keeper.hold("a", ttl_s=10)
    assert fence is not None
    told = replace(OPEN, generation="g2", version=3)
    assert await rig.write({"p1": told}, fence=fence)
    assert (await rig.find()).accounts == {"g2": told}


async def test_a_plan_goes_when_the_queue_tells_of_other_work(rig: Rig) -> None:
    """It has one account of a send, so it has not taken the plan."""
    await rig.accept()
    closed = replace(DONE, generation="g0")
    plan = {"g0": closed, "g1": replace(OPEN, version=0)}
    await rig.log.plan_repair("p1", seen={}, accounts=plan, epoch="e3")
    first = replace(OPEN, generation="first")
    assert await rig.write({"p1": first}, fence=9)
    assert (await rig.find()).accounts == {"g0": closed, "first": first}


async def test_a_plan_that_is_made_again_counts_once(rig: Rig) -> None:
    """It could not be queued the first time."""
    await rig.accept()
    plan = {"g1": replace(OPEN, version=0)}
    for seen in ({}, {"g1": 0}):
        assert await rig.log.plan_repair("p1", seen=seen, accounts=plan, epoch="e3")
    assert (await rig.find()).repairs == 1


async def test_a_send_of_which_nothing_is_left_to_do_ends(rig: Rig) -> None:
    await rig.accept()
    await rig.write({"p1": OPEN})
    over = {"g1": replace(OPEN, units={}, ended=True, parts=Counter({"expired": 3}))}
    seen = {"g1": OPEN.version}
    await rig.log.plan_repair("p1", seen=seen, accounts=over, epoch="e3", note="why")
    record = await rig.find()
    assert (record.progress, record.note) == (Progress.EXPIRED, "why")
    assert (record.ended_at_ms, record.repairs) == (rig.clock.now_ms(), 0)
    assert await rig.source.count_open() == 0


async def test_what_is_over_is_not_repaired(rig: Rig) -> None:
    await rig.accept()
    await rig.write({"p1": DONE})
    kept = {"seen": {"g1": DONE.version}, "accounts": {}, "epoch": "e3"}
    assert not await rig.log.plan_repair("p1", **kept)
    assert not await rig.log.plan_repair("unknown", **kept)


async def test_what_cannot_be_known_counts_as_unconfirmed(rig: Rig) -> None:
    await rig.accept("p1")
    await rig.accept("p2")
    await rig.write({"p1": OPEN, "p2": DONE})
    assert await rig.keeper.end_unknown(["p1", "p2", "p9"], note="why") == 1
    record = await rig.find("p1")
    assert (record.progress, record.note) == (Progress.FINISHED, "why")
    assert record.account.parts == {"unconfirmed": 3}
    assert record.account.find_fault() == ""
    assert await rig.keeper.end_unknown([], note="why") == 0


async def test_sends_that_are_over_are_purged(rig: Rig) -> None:
    # Ids of a time before: the log is purged in their order.
    for push_id in ("000", "001", "002"):
        await rig.accept(push_id)
    await rig.write({"000": DONE, "001": DONE})
    now_ms = rig.clock.now_ms()
    assert await rig.keeper.purge(before_ms=now_ms - 1, limit=9) == 0
    assert await rig.keeper.purge(before_ms=now_ms, limit=1) == 1
    assert await rig.keeper.purge(before_ms=now_ms, limit=9) == 1
    assert await rig.source.count_open() == 1


async def test_sends_are_listed_newest_first(rig: Rig) -> None:
    for number in range(4):
        rig.clock.move_ms(10)
        await rig.accept(f"p{number}", uid=f"u{number % 2}")
    await rig.write({"p1": DONE})

    async def ids(**query: Any) -> list[str]:
        return [
            each.push_id for each in await rig.source.list_sends(SendQuery(**query))
        ]

    assert await ids() == ["p3", "p2", "p1", "p0"]
    assert await ids(limit=2) == ["p3", "p2"]
    assert await ids(before="p2") == ["p1", "p0"]
    assert await ids(uid="u1") == ["p3", "p1"]
    assert await ids(progress=(Progress.FINISHED,)) == ["p1"]
    now_ms = rig.clock.now_ms()
    assert await ids(since_ms=now_ms) == ["p3"]
    assert await ids(until_ms=now_ms) == ["p2", "p1", "p0"]


async def test_sends_of_one_moment_are_paged_too(rig: Rig) -> None:
    for number in range(5):
        await rig.accept(f"p{number}")
    found: list[str] = []
    while page := await rig.source.list_sends(
        SendQuery(before=found[-1] if found else "", limit=2)
    ):
        found += [each.push_id for each in page]
    assert found == ["p4", "p3", "p2", "p1", "p0"]


async def test_work_that_is_due_later_waits(rig: Rig) -> None:
    """Its first account is written beside that of one that is due."""
    due_at_ms = rig.clock.now_ms() + 1000
    await rig.accept("p1", due_at_ms=due_at_ms, progress=Progress.SCHEDULED)
    await rig.accept("p2")
    waiting = Account("g1", 1, 0, walks={"0": Walk()})
    assert await rig.write({"p1": waiting, "p2": waiting, "p3": waiting})
    assert (await rig.find("p1")).progress is Progress.SCHEDULED
    assert (await rig.find("p2")).progress is Progress.SENDING


async def test_an_unknown_send_is_none(rig: Rig) -> None:
    assert await rig.source.fetch(uid="unknown") is None
    assert await rig.source.fetch(push_id="unknown") is None
