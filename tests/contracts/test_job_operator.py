"""What operators see and do, the port `JobOperator`, on every engine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from tests.support.job_queues import (
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

from tocsin.core.dead_letters import head_of
from tocsin.core.errors import BadRequest
from tocsin.core.ports.queue import JobQueue
from tocsin.core.push import Body, Job


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
