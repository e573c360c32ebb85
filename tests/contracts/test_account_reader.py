"""The port `AccountReader`, and the accounts that a queue keeps, on every engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.job_queues import (
    QueueBackend,
    backend_for,
    expand_job,
    payload_for,
    places,
    receive_soon,
    send_job,
)

from tocsin.core.accounts import (
    Account,
    Part,
    Unit,
    Walk,
    WalkPage,
    cancelled_account,
)
from tocsin.core.clock import SystemClock
from tocsin.core.device import DeviceFilter
from tocsin.core.ports.queue import Delivery, JobQueue
from tocsin.core.push import Expand, ExpandJob, Job, Recipients, Send, SendJob

FILTER = DeviceFilter(topics=("news",))


@pytest.fixture(params=places())
async def backend(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[QueueBackend]:
    """One engine without any data, or the queue of unit tests."""
    async for backend in backend_for(request, request.param, tmp_path):
        yield backend


async def read(queue: JobQueue, push_id: str = "p1") -> Account | None:
    return (await queue.accounts.find([push_id])).get(push_id)


async def account_of(queue: JobQueue, push_id: str = "p1") -> Account:
    account = await read(queue, push_id)
    assert account is not None
    assert account.find_fault() == ""
    return account


async def next_of(queue: JobQueue, kind: type[Job]) -> Delivery:
    stage = "expand" if kind is ExpandJob else "send"
    (delivery,) = await queue.receive([f"{stage}:fcm"], limit=1, wait_s=5)
    return delivery


def part(job: Job, *indexes: int) -> Job:
    assert isinstance(job, SendJob)
    return job.part(indexes, id=f"{job.id}~1")


async def test_a_send_has_an_account_from_the_start(backend: QueueBackend) -> None:
    """Raw recipients are matched at once, those of a walk are not known yet."""
    queue = await backend.open()
    jobs = [send_job("p1", unit="0"), expand_job("p1", unit="1")]
    await queue.enqueue(payload_for("p1"), jobs)
    account = await account_of(queue)
    assert (account.matched, account.open, account.ended) == (3, 3, False)
    assert account.units == {"0": Unit(3)}
    assert account.walks == {"1": Walk()}
    assert account.generation


async def test_an_account_without_jobs_has_ended(backend: QueueBackend) -> None:
    """It stands for work that was taken back unqueued: nobody can queue that now."""
    queue = await backend.open()
    jobs = [send_job("p1", unit="0"), expand_job("p1", unit="1")]
    taken_back = cancelled_account(jobs, "g1")
    assert await queue.enqueue(payload_for("p1"), [], account=taken_back)
    assert not await queue.enqueue(payload_for("p1"), jobs)
    assert await queue.fetch_payload("p1") is None
    told = await queue.accounts.changed(limit=10)
    assert told == {"p1": taken_back}
    assert told["p1"].parts == {Part.CANCELLED: 3}
    assert (told["p1"].ended, told["p1"].find_fault()) == (True, "")
    await queue.accounts.acknowledge(told, forget=True)
    assert await read(queue) is None
    assert await queue.enqueue(payload_for("p1"), jobs)


async def test_of_an_account_without_jobs_and_the_work_one_is_kept(
    backend: QueueBackend,
) -> None:
    """Who takes back what another process is about to queue may be the second."""
    queue, other = await backend.open("one"), await backend.open("two")
    jobs = [send_job("p1", unit="0")]
    answers = await asyncio.gather(
        queue.enqueue(payload_for("p1"), jobs),
        other.enqueue(
            payload_for("p1"),
            [],
            once_ttl_s=60,
            account=cancelled_account(jobs, "g1"),
        ),
    )
    assert sorted(answers) == [False, True]
    assert (await account_of(queue)).ended is answers[1]


async def test_jobs_without_a_unit_have_none(backend: QueueBackend) -> None:
    """So are those that an older release accepted."""
    queue = await backend.open()
    await queue.enqueue(payload_for("p1"), [send_job("p1")])
    assert await queue.settle(await receive_soon(queue), ended={Part.DELIVERED: 3})
    assert await read(queue) is None
    assert await queue.accounts.changed(limit=10) == {}


async def test_a_settlement_counts_what_ended(backend: QueueBackend) -> None:
    queue = await backend.open()
    job = send_job("p1", unit="0")
    await queue.enqueue(payload_for("p1"), [job])
    delivery = await receive_soon(queue)
    await queue.settle(delivery, follow=[(part(job, 2), 0)], ended={Part.DELIVERED: 2})
    account = await account_of(queue)
    assert account.units["0"].open == 1
    assert account.units["0"].parts == {"delivered": 2}
    await queue.settle(
        await receive_soon(queue), dead=[(part(job, 2), "why")], ended={Part.DEAD: 1}
    )
    account = await account_of(queue)
    assert account.ended
    assert account.units == {}
    assert account.parts == {"delivered": 2, "dead_lettered": 1}


async def test_who_settles_second_counts_nothing(backend: QueueBackend) -> None:
    queue = await backend.open()
    await queue.enqueue(payload_for("p1"), [send_job("p1", unit="0")])
    delivery = await receive_soon(queue)
    assert await queue.settle(delivery, ended={Part.DELIVERED: 3})
    assert not await queue.settle(delivery, ended={Part.DELIVERED: 3})
    assert (await account_of(queue)).parts == {"delivered": 3}


async def test_a_page_opens_a_unit(backend: QueueBackend) -> None:
    """With where it began and ended, so that it can be read again."""
    queue = await backend.open()
    walk = expand_job("p1", unit="0")
    await queue.enqueue(payload_for("p1"), [walk])
    delivery = await next_of(queue, ExpandJob)
    assert isinstance(walk, ExpandJob)
    batch = walk.batch(_three(), id="b")
    rest = replace(walk, work=Expand(FILTER, "id-c", 1), id="x1")
    page = WalkPage("0:0", 5, "", "id-c", left=True)
    ended = {Part.ONLINE: 1, Part.DROPPED: 1}
    await queue.settle(delivery, follow=[(batch, 0), (rest, 0)], ended=ended, page=page)
    account = await account_of(queue)
    assert batch.unit == "0:0"
    assert account.walks == {"0": Walk(1, "id-c", "")}
    unit = account.units["0:0"]
    assert (unit.open, unit.start, unit.until) == (3, "", "id-c")
    assert unit.parts == {"online": 1, "dropped": 1}
    last = WalkPage("0:1", 0, "id-c", "", left=False)
    await queue.settle(await next_of(queue, ExpandJob), page=last)
    await queue.settle(await next_of(queue, SendJob), ended={Part.DELIVERED: 3})
    account = await account_of(queue)
    assert (account.matched, account.walks, account.ended) == (5, {}, True)


async def test_a_walk_that_is_put_off_goes_on(backend: QueueBackend) -> None:
    queue = await backend.open()
    walk = expand_job("p1", unit="0", work=Expand(FILTER, "id-c", 1, until="id-z"))
    await queue.enqueue(payload_for("p1"), [walk])
    delivery = await next_of(queue, ExpandJob)
    assert delivery.job == walk
    await queue.settle(delivery, follow=[(walk, 0)])
    account = await account_of(queue)
    assert account.walks == {"0": Walk(1, "id-c", "id-z")}
    await queue.settle(await next_of(queue, ExpandJob), dead=[(walk, "why")])
    account = await account_of(queue)
    assert (account.walks, account.walk_ends) == ({}, {"dead_lettered": 1})
    assert account.ended


async def test_what_is_cancelled_is_counted(backend: QueueBackend) -> None:
    queue = await backend.open()
    due_ms = SystemClock().now_ms() + 60_000
    jobs = [send_job("p1", unit="0"), expand_job("p1", unit="1")]
    await queue.enqueue(payload_for("p1"), jobs, due_ms=due_ms)
    assert len(await queue.cancel("uid-1")) == 2
    account = await account_of(queue)
    assert (account.parts, account.walk_ends) == ({"cancelled": 3}, {"cancelled": 1})
    assert account.ended


async def test_a_second_cancel_counts_nothing(backend: QueueBackend) -> None:
    queue = await backend.open()
    due_ms = SystemClock().now_ms() + 60_000
    await queue.enqueue(payload_for("p1"), [send_job("p1", unit="0")], due_ms=due_ms)
    await asyncio.gather(queue.cancel("uid-1"), queue.cancel("uid-1"))
    assert (await account_of(queue)).parts == {"cancelled": 3}


async def test_a_replayed_letter_is_open_again(backend: QueueBackend) -> None:
    queue = await backend.open()
    job = send_job("p1", unit="0")
    await queue.enqueue(payload_for("p1"), [job])
    await queue.settle(
        await receive_soon(queue), dead=[(job, "why")], ended={Part.DEAD: 3}
    )
    (letter,) = await queue.list_dead(limit=10)
    assert await queue.replay_dead([letter.id]) == 1
    account = await account_of(queue)
    assert (account.open, account.parts["dead_lettered"], account.ended) == (
        3,
        0,
        False,
    )
    await queue.settle(await receive_soon(queue), ended={Part.DELIVERED: 3})
    assert (await account_of(queue)).parts["delivered"] == 3


async def test_a_letter_of_a_closed_account_gets_a_new_one(
    backend: QueueBackend,
) -> None:
    """The old numbers are elsewhere: the new ones are what is added to them."""
    queue = await backend.open()
    job = send_job("p1", unit="0")
    await queue.enqueue(payload_for("p1"), [job])
    await queue.settle(
        await receive_soon(queue), dead=[(job, "why")], ended={Part.DEAD: 3}
    )
    changed = await queue.accounts.changed(limit=10)
    await queue.accounts.acknowledge(changed, forget=True)
    assert await read(queue) is None
    (letter,) = await queue.list_dead(limit=10)
    await queue.replay_dead([letter.id])
    account = await read(queue)
    assert account is not None
    assert account.generation not in ("", changed["p1"].generation)
    assert (account.matched, account.parts, account.open) == (
        0,
        {"dead_lettered": -3},
        3,
    )
    await queue.settle(await receive_soon(queue), ended={Part.DELIVERED: 3})
    account = await read(queue)
    assert account is not None
    assert account.parts == {"dead_lettered": -3, "delivered": 3}
    assert account.ended


async def test_a_send_with_an_account_is_queued_once(backend: QueueBackend) -> None:
    """Whoever queues lost work again need not know whether another was faster."""
    queue = await backend.open()
    job = send_job("p1", unit="0")
    again = Account("g2", 1, 3, units={"0": Unit(3)})
    stored = await asyncio.gather(
        queue.enqueue(payload_for("p1"), [job], account=again),
        queue.enqueue(payload_for("p1"), [job], account=again),
    )
    assert sorted(stored) == [False, True]
    assert (await account_of(queue)).generation == "g2"
    assert (await queue.waiting(["send:fcm"]))["send:fcm"] == 1


async def test_changes_are_told_until_they_are_acknowledged(
    backend: QueueBackend,
) -> None:
    queue = await backend.open()
    job = send_job("p1", unit="0")
    await queue.enqueue(payload_for("p1"), [job])
    first = await queue.accounts.changed(limit=10)
    assert list(first) == ["p1"]
    assert await queue.accounts.changed(limit=10) == first
    await queue.accounts.acknowledge(first, forget=True)
    assert await queue.accounts.changed(limit=10) == {}
    # It has not ended, so it is not forgotten.
    assert await read(queue) == first["p1"]


async def test_a_change_after_the_reading_is_told(backend: QueueBackend) -> None:
    """An account that ends between reading and acknowledging is not forgotten."""
    queue = await backend.open()
    await queue.enqueue(payload_for("p1"), [send_job("p1", unit="0")])
    first = await queue.accounts.changed(limit=10)
    await queue.settle(await receive_soon(queue), ended={Part.DELIVERED: 3})
    await queue.accounts.acknowledge(first, forget=True)
    second = await queue.accounts.changed(limit=10)
    assert second["p1"].ended
    assert second["p1"].version > first["p1"].version
    await queue.accounts.acknowledge(second, forget=False)
    assert await queue.accounts.changed(limit=10) == {}
    assert await read(queue) == second["p1"]


async def test_an_ended_account_is_forgotten_on_demand(backend: QueueBackend) -> None:
    queue = await backend.open()
    await queue.enqueue(payload_for("p1"), [send_job("p1", unit="0")])
    await queue.settle(await receive_soon(queue), ended={Part.DELIVERED: 3})
    changed = await queue.accounts.changed(limit=10)
    await queue.accounts.acknowledge(changed, forget=True)
    assert await read(queue) is None


async def test_the_limit_bounds_what_is_read(backend: QueueBackend) -> None:
    queue = await backend.open()
    for number in range(5):
        push_id = f"p{number}"
        job = send_job(push_id, unit="0")
        await queue.enqueue(replace(payload_for(push_id), uid=push_id), [job])
    found: set[str] = set()
    while changed := await queue.accounts.changed(limit=2):
        assert len(changed) <= 2
        await queue.accounts.acknowledge(changed, forget=False)
        found |= changed.keys()
    assert found == {f"p{number}" for number in range(5)}
    assert await queue.accounts.find([]) == {}


def _three() -> Send:
    job = send_job("p1")
    assert isinstance(job, SendJob)
    assert isinstance(job.work.recipients, Recipients)
    return job.work
