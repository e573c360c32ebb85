"""An end of a send becomes a result in the transaction that writes it, once."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from tests.support.clock import MovedClock
from tests.support.jobs import make_payload, make_send_job
from tests.support.registries import DATABASES, RegistryPlace, registry_for

from tocsin.core.accounts import Account, Unit, expired_account
from tocsin.core.push import Job
from tocsin.core.results import ResultEvent
from tocsin.core.send_log import Accepting, Progress, SendRecord
from tocsin.storage.results import SqlResultStore
from tocsin.storage.send_log import SqlSendLog

OPEN = Account("g1", 1, 3, units={"0": Unit(3)})
DONE = Account("g1", 2, 3, Counter({"delivered": 2, "removed": 1}), ended=True)
JOBS: list[Job] = [make_send_job(3, unit="0")]


class ToldLog:
    """A send log that tells of ends."""

    def __init__(self, place: RegistryPlace) -> None:
        self.clock = MovedClock()
        self.store = SqlResultStore(place.database, clock=self.clock)
        self.log = SqlSendLog(place.database, clock=self.clock, results=self.store)
        self.wakes = 0
        self.store.listeners.append(self._wake)

    def _wake(self) -> None:
        self.wakes += 1

    async def accept(self, push_id: str, **more: object) -> None:
        at_ms = self.clock.now_ms()
        record = SendRecord(
            push_id, f"u-{push_id}", analytics_uid="a", accepted_at_ms=at_ms
        )
        record = replace(record, **more)  # type: ignore[arg-type]
        payload = make_payload(push_id)
        await self.log.accept(Accepting(record, payload, JOBS))

    async def write(self, fence: int = 1, **accounts: Account) -> bool:
        return await self.log.write_accounts(accounts, fence=fence, epoch="")

    async def told(self) -> list[ResultEvent]:
        return list((await self.store.fetch(0, limit=99)).events)


@pytest.fixture(params=DATABASES)
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[ToldLog]:
    async with registry_for(request, request.param) as place:
        yield ToldLog(place)


async def test_the_end_of_a_send_is_told_once(rig: ToldLog) -> None:
    """With its numbers; what is under way is not told, nor an end written again."""
    await rig.accept("p1")
    await rig.write(p1=OPEN)
    assert await rig.told() == []
    await rig.write(p1=DONE)
    await rig.write(p1=DONE)
    (event,) = await rig.told()
    now_ms = rig.clock.now_ms()
    assert event == ResultEvent(
        "send",
        "finished",
        "p1",
        uid="u-p1",
        analytics_uid="a",
        answered_at_ms=event.answered_at_ms,
        counts={"delivered": 2, "removed": 1, "matched": 3},
        position=1,
        recorded_at_ms=event.recorded_at_ms,
    )
    assert now_ms - 5000 < event.answered_at_ms <= now_ms
    assert rig.wakes == 1


async def test_a_send_that_goes_on_after_its_end_ends_again(rig: ToldLog) -> None:
    """As one does whose dead letters are replayed."""
    await rig.accept("p1")
    for account in (DONE, replace(OPEN, version=3), replace(DONE, version=4)):
        await rig.write(p1=account)
    assert len(await rig.told()) == 2


async def test_a_keeper_that_was_replaced_tells_nothing(rig: ToldLog) -> None:
    """Neither of the send that another one has written, nor of others."""
    await rig.accept("p1")
    await rig.accept("p2")
    assert await rig.write(2, p2=OPEN)
    assert not await rig.write(1, p1=DONE, p2=DONE)
    assert await rig.told() == []


async def test_other_ends_are_told_too(rig: ToldLog) -> None:
    """Of a send that had expired, of one that nobody knows of, of a repair."""
    expired = expired_account(JOBS)
    await rig.accept(
        "p1", progress=Progress.EXPIRED, accounts={"": expired}, ended_at_ms=5
    )
    await rig.accept("p2")
    await rig.write(p2=OPEN)
    assert await rig.log.end_unknown(["p1", "p2", "p9"], note="lost") == 1
    await rig.accept("p3")
    assert await rig.log.plan_repair(
        "p3", seen={}, accounts={"g2": replace(DONE, generation="g2")}, epoch="e"
    )
    assert [(e.push_id, e.outcome, e.counts) for e in await rig.told()] == [
        ("p1", "expired", {"expired": 3, "matched": 3}),
        ("p2", "finished", {"unconfirmed": 3, "matched": 3}),
        ("p3", "finished", {"delivered": 2, "removed": 1, "matched": 3}),
    ]
