from __future__ import annotations

import pytest
from tests.support.jobs import make_payload, make_send_job
from tests.support.memory_queue import MemoryJobQueue

from tocsin.admin import dead_letters
from tocsin.admin.dead_letters import DeadLetterService, LetterPage
from tocsin.core.dead_letters import LetterFilter
from tocsin.core.errors import BadRequest, NotAvailable

EVERYTHING = LetterFilter()


@pytest.fixture
def queue() -> MemoryJobQueue:
    return MemoryJobQueue()


@pytest.fixture
def service(queue: MemoryJobQueue) -> DeadLetterService:
    return DeadLetterService(queue)


def bury(queue: MemoryJobQueue, *reasons: str) -> None:
    """A letter per reason, each of a send of its own."""
    for reason in reasons:
        push_id = f"push-{len(queue.data.letters) + 1}"
        queue.data.payloads[push_id] = make_payload(push_id)
        queue.data.bury(make_send_job(push_id=push_id), reason, 1000)


def ids(page: LetterPage) -> list[str]:
    return [head.id for head in page.items]


async def test_pages_follow_each_other(
    queue: MemoryJobQueue, service: DeadLetterService
) -> None:
    """The last page has no cursor, also where it is full."""
    bury(queue, *["payload_rejected"] * 4)
    first = await service.page(EVERYTHING, limit=2)
    assert (ids(first), first.next_cursor) == (["1", "2"], "2")
    last = await service.page(EVERYTHING, limit=2, cursor=first.next_cursor)
    assert (ids(last), last.next_cursor) == (["3", "4"], "")


async def test_a_page_that_finds_little_says_where_to_go_on(
    queue: MemoryJobQueue,
    service: DeadLetterService,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One call looks at so many letters and no more, however few of them fit."""
    monkeypatch.setattr(dead_letters, "SCAN", 2)
    monkeypatch.setattr(dead_letters, "MAX_SCANNED", 4)
    bury(queue, *["internal"] * 5, "payload_rejected")
    chosen = LetterFilter(reasons=("payload_rejected",))
    page = await service.page(chosen)
    assert (ids(page), page.next_cursor) == ([], "4")
    page = await service.page(chosen, cursor=page.next_cursor)
    assert (ids(page), page.next_cursor) == (["6"], "")


async def test_a_page_is_bounded(
    queue: MemoryJobQueue, service: DeadLetterService
) -> None:
    """0 means 100, and nobody gets more than 1,000."""
    bury(queue, *["internal"] * 1001)
    assert len((await service.page(EVERYTHING)).items) == 100
    assert len((await service.page(EVERYTHING, limit=5000)).items) == 1000


async def test_what_cannot_be_is_refused(service: DeadLetterService) -> None:
    """The message names the field."""
    with pytest.raises(BadRequest, match="limit: must not be negative"):
        await service.page(EVERYTHING, limit=-1)
    with pytest.raises(BadRequest, match="cursor: is not the id of a dead letter"):
        await service.page(EVERYTHING, cursor="x")


async def test_without_a_queue_there_is_nothing_to_ask() -> None:
    """A server without push says so."""
    with pytest.raises(NotAvailable, match="no queue is configured"):
        await DeadLetterService(None).page(EVERYTHING)
