"""The port `LetterShelf`, on every engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.job_queues import (
    QueueBackend,
    backend_for,
    payload_for,
    places,
    receive_soon,
    send_job,
)

from tocsin.core.ports.queue import JobQueue


@pytest.fixture(params=places())
async def backend(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[QueueBackend]:
    """One engine without any data, or the queue of unit tests."""
    async for backend in backend_for(request, request.param, tmp_path):
        yield backend


async def bury(queue: JobQueue, number: int) -> None:
    for _ in range(number):
        job = send_job("p1")
        await queue.enqueue(payload_for("p1"), [job])
        await queue.settle(await receive_soon(queue), dead=[(job, f"why {job.id}")])


async def test_letters_are_read_in_their_order(backend: QueueBackend) -> None:
    queue = await backend.open()
    await bury(queue, 3)
    listed = [letter.id for letter in await queue.list_dead(limit=10)]
    found = await queue.letters.fetch(after="", limit=10)
    assert [each.id for each in found] == listed
    assert [each.id for each in await queue.letters.fetch(after="", limit=2)] == (
        listed[:2]
    )
    rest = await queue.letters.fetch(after=listed[0], limit=10)
    assert [each.id for each in rest] == listed[1:]
    assert await queue.letters.fetch(after=listed[-1], limit=10) == []
    assert len({each.digest for each in found}) == 3


async def test_a_letter_that_is_put_back_is_the_same(backend: QueueBackend) -> None:
    """Under another id; it can be replayed with its payload."""
    queue = await backend.open()
    await bury(queue, 2)
    before = await queue.list_dead(limit=10)
    kept = await queue.letters.fetch(after="", limit=10)
    await queue.purge_dead([letter.id for letter in before])
    await queue.letters.put_back(kept)
    after = await queue.list_dead(limit=10)
    assert [(each.job, each.reason, each.uid) for each in after] == [
        (each.job, each.reason, each.uid) for each in before
    ]
    again = await queue.letters.fetch(after="", limit=10)
    assert [each.digest for each in again] == [each.digest for each in kept]
    assert await queue.replay_dead([after[0].id]) == 1
    delivery = await receive_soon(queue)
    assert delivery.job.id == before[0].job.id
    assert await queue.fetch_payload("p1") == payload_for("p1")
