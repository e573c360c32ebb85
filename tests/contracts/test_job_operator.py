"""What operators see and do, the port `JobOperator`, on every engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from tests.support.job_queues import (
    EXPAND,
    SEND,
    Ability,
    QueueBackend,
    backend_for,
    drain,
    expand_job,
    payload_for,
    places,
    receive_soon,
    send_job,
)

from tocsin.core.dead_letters import DeadStock, Mend, head_of
from tocsin.core.device import Detail
from tocsin.core.errors import BadRequest
from tocsin.core.ports.queue import JobQueue
from tocsin.core.push import Body, ExpandJob, Job, Recipients, Send, TargetKind


@pytest.fixture(params=places())
async def backend(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[QueueBackend]:
    """One engine without any data, or the queue of unit tests."""
    async for backend in backend_for(request, request.param, tmp_path):
        yield backend


only_places = partial(pytest.mark.parametrize, "backend", indirect=True)


async def bury(
    queue: JobQueue, push_id: str, dead: Sequence[tuple[Job, str]], **payload: object
) -> None:
    """Letters of one request, whose other work is done."""
    sent = replace(payload_for(push_id), **payload)  # type: ignore[arg-type]
    await queue.enqueue(sent, [send_job(push_id)])
    assert await queue.settle(await receive_soon(queue), dead=dead)


async def test_a_scan_tells_of_each_letter_in_short(backend: QueueBackend) -> None:
    """The same letters as the whole ones, in the same order, with the same ids."""
    queue = await backend.open()
    long = Body(b'{"data":{"text":"%s"}}' % (b"x" * 3000))
    jobs = [
        (send_job("p1", attempt=3, integration="shop"), "retries exhausted: internal"),
        (expand_job("p1"), "handed out 10 times without an end"),
    ]
    await bury(queue, "p1", jobs, uid="ü" * 120, bodies={"fcm": long})
    await bury(queue, "p2", [(send_job("p2"), "payload_rejected: too big")])
    whole = await queue.list_dead(limit=9)
    first, second, third = await queue.scan_dead(limit=9)
    assert [first, second, third] == [head_of(letter) for letter in whole]
    assert (first.uid, third.uid) == ("ü" * 120, "uid-1")
    assert (first.stage, first.recipients, first.attempt) == ("send", 3, 3)
    assert (second.stage, second.recipients) == ("expand", 0)
    assert await queue.scan_dead(limit=1) == [first]
    assert await queue.scan_dead(limit=9, after=first.id) == [second, third]
    assert await queue.scan_dead(limit=9, after=third.id) == []
    with pytest.raises(BadRequest):
        await queue.scan_dead(limit=9, after="no id")


@only_places(places(able_to=Ability.FOREIGN_BYTES))
async def test_a_scan_tells_of_what_cannot_be_read(backend: QueueBackend) -> None:
    """Its place in the queue says what it was."""
    queue = await backend.open()
    await backend.plant(SEND, "p1", b"\xff\xff\xff")
    assert await drain(queue) == []
    (head,) = await queue.scan_dead(limit=9)
    assert head.group == "undecodable"
    assert (head.push_id, head.stage, head.provider) == ("p1", "send", "fcm")


async def test_one_letter_comes_with_its_payload(backend: QueueBackend) -> None:
    """An id that is none, or that of a letter which is gone, finds nothing."""
    queue = await backend.open()
    await bury(queue, "p1", [(send_job("p1"), "payload_rejected")])
    (letter,) = await queue.list_dead(limit=9)
    assert await queue.fetch_dead(letter.id) == (letter, payload_for("p1"))
    assert await queue.purge_dead([letter.id]) == 1
    for id in (letter.id, "no id", ""):
        assert await queue.fetch_dead(id) is None


async def test_letters_are_counted_without_a_look_at_them(
    backend: QueueBackend,
) -> None:
    """Their number, and where they begin and end."""
    queue = await backend.open()
    assert await queue.count_dead() == DeadStock()
    await bury(queue, "p1", [(send_job("p1"), str(n)) for n in range(3)])
    first, middle, last = await queue.scan_dead(limit=9)
    assert await queue.count_dead() == DeadStock(3, first.id, last.id)
    await queue.purge_dead([first.id])
    assert await queue.count_dead() == DeadStock(2, middle.id, last.id)


async def test_letters_are_no_backlog(backend: QueueBackend) -> None:
    """However many there are, none waits, and none takes room of accepted work."""
    queue = await backend.open(limit=3)
    await bury(queue, "p1", [(send_job("p1"), "internal")] * 5)
    assert await queue.waiting([SEND], only_due=True) == {SEND: 0}
    assert await queue.enqueue(payload_for("p2"), [send_job("p2")] * 3)


MEND = Mend("fcm", Body(b'{"data":{"mended":"1"}}', {"apns-priority": "10"}))


async def test_a_mended_letter_brings_its_body(backend: QueueBackend) -> None:
    """What is still under way keeps the body that it was accepted with."""
    queue = await backend.open()
    await queue.enqueue(payload_for("p1"), [send_job("p1"), send_job("p1")])
    refused = send_job("p1", attempt=3, first_try_at_ms=9)
    await queue.settle(await receive_soon(queue), dead=[(refused, "payload_rejected")])
    (letter,) = await queue.list_dead(limit=9)
    assert await queue.replay_dead([letter.id], mend=MEND) == 1
    other, mended = await receive_soon(queue), await receive_soon(queue)
    assert other.job.body is None
    assert mended.job == replace(refused, attempt=0, first_try_at_ms=0, body=MEND.body)
    assert await queue.fetch_payload("p1") == payload_for("p1")
    await queue.settle(other)
    await queue.settle(mended)
    assert await queue.fetch_payload("p1") is None


async def test_the_headers_of_a_mended_letter_stay(backend: QueueBackend) -> None:
    """Unless others come with the body."""
    queue = await backend.open()
    await bury(queue, "p1", [(send_job("p1"), "payload_rejected")])
    for body in (b'{"a":1}', b'{"a":2}'):
        (head,) = await queue.scan_dead(limit=9)
        mend = Mend("fcm", Body(body))
        assert await queue.replay_dead([head.id], mend=mend) == 1
        delivery = await receive_soon(queue)
        job = delivery.job
        assert job.body == Body(body, payload_for("p1").bodies["fcm"].headers)
        await queue.settle(delivery, dead=[(job, "payload_rejected")])


async def test_a_mended_walk_brings_its_body(backend: QueueBackend) -> None:
    """And reads what the new templates use."""
    queue = await backend.open()
    await bury(queue, "p1", [(expand_job("p1"), "handed out 10 times")])
    (head,) = await queue.scan_dead(limit=9)
    mend = replace(MEND, details=frozenset({Detail.META}))
    assert await queue.replay_dead([head.id], mend=mend) == 1
    job = (await receive_soon(queue, [EXPAND])).job
    assert isinstance(job, ExpandJob)
    assert job.body == MEND.body
    assert job.work.details == {Detail.META}
    batch = job.batch(Send(TargetKind.TOKEN, Recipients(("t",))), id="b")
    assert batch.body == MEND.body


async def test_of_two_who_mend_the_same_letters_one_counts_each(
    backend: QueueBackend,
) -> None:
    """Each is worked on once, also where one of them does not mend."""
    queue, rival = await backend.open(), await backend.open("rival")
    await bury(queue, "p1", [(send_job("p1"), "payload_rejected")] * 8)
    ids = [head.id for head in await queue.scan_dead(limit=9)]
    counts = await asyncio.gather(
        queue.replay_dead(ids, mend=MEND),
        rival.replay_dead(ids[::-1], mend=Mend("fcm", Body(b"{}"))),
        rival.replay_dead(ids),
    )
    assert sum(counts) == 8
    assert await queue.count_dead() == DeadStock()
    assert len(await drain(queue)) == 8


async def test_letters_of_another_provider_are_not_mended(
    backend: QueueBackend,
) -> None:
    """They stay, and are counted by nobody."""
    queue = await backend.open()
    dead = [(send_job("p1", provider="apns"), "payload_too_large")]
    await bury(queue, "p1", dead)
    (head,) = await queue.scan_dead(limit=9)
    assert await queue.replay_dead([head.id], mend=MEND) == 0
    assert await queue.scan_dead(limit=9) == [head]


@only_places(places(able_to=Ability.FOREIGN_BYTES))
async def test_what_cannot_be_read_is_not_mended(backend: QueueBackend) -> None:
    """It stays as it is."""
    queue = await backend.open()
    await backend.plant(SEND, "p1", b"\xff\xff\xff")
    assert await drain(queue) == []
    (head,) = await queue.scan_dead(limit=9)
    found = await queue.fetch_dead(head.id)
    assert found is not None
    assert found[1] is None
    assert await queue.replay_dead([head.id], mend=MEND) == 0
    assert await queue.scan_dead(limit=9) == [head]
