from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest
from tests.support.admin import ACTOR, bury, make_letters
from tests.support.jobs import make_payload, make_send_job, make_walk_job
from tests.support.memory_queue import MemoryJobQueue
from tests.support.memory_registry import MemoryAudit

from tocsin.admin import dead_letters, letter_search
from tocsin.admin.dead_letters import DeadLetterService, LetterGroup
from tocsin.admin.letter_choice import LetterChoice
from tocsin.admin.letter_search import LetterPage
from tocsin.core.dead_letters import LetterFilter, Mend
from tocsin.core.device import Detail
from tocsin.core.errors import ApiError, BadRequest, NotAvailable, NotFound
from tocsin.core.push import Body, Expand, ExpandJob, SendJob, Templating

EVERYTHING = LetterFilter()
ALL = LetterChoice(all=True)
BODY = Body(b'{"data":{"mended":"1"}}')
MEND = Mend("fcm", BODY)


@pytest.fixture
def queue() -> MemoryJobQueue:
    return MemoryJobQueue()


@pytest.fixture
def audit() -> MemoryAudit:
    return MemoryAudit()


@pytest.fixture
def service(queue: MemoryJobQueue, audit: MemoryAudit) -> DeadLetterService:
    return make_letters(queue, audit)


def ids(page: LetterPage) -> list[str]:
    return [head.id for head in page.items]


async def test_pages_follow_each_other(
    queue: MemoryJobQueue, service: DeadLetterService
) -> None:
    """The last page has no cursor, also where it is full."""
    for _ in range(4):
        bury(queue, "payload_rejected")
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
    monkeypatch.setattr(letter_search, "SCAN", 2)
    monkeypatch.setattr(dead_letters, "MAX_SCANNED", 4)
    for reason in [*["internal"] * 5, "payload_rejected"]:
        bury(queue, reason)
    chosen = LetterFilter(reasons=("payload_rejected",))
    page = await service.page(chosen)
    assert (ids(page), page.next_cursor) == ([], "4")
    page = await service.page(chosen, cursor=page.next_cursor)
    assert (ids(page), page.next_cursor) == (["6"], "")


async def test_a_page_is_bounded(
    queue: MemoryJobQueue, service: DeadLetterService
) -> None:
    """0 means 100, and nobody gets more than 1,000."""
    for _ in range(1001):
        bury(queue, "internal")
    assert len((await service.page(EVERYTHING)).items) == 100
    assert len((await service.page(EVERYTHING, limit=5000)).items) == 1000


@pytest.mark.parametrize(
    ("chosen", "cursor", "limit", "words"),
    [
        (EVERYTHING, "", -1, "limit: must not be negative"),
        (EVERYTHING, "x", 0, "cursor: is not the id of a dead letter"),
        (LetterFilter(providers=("fmc",)), "", 0, "filter.providers[0]: must be one"),
        (LetterFilter(reasons=("",)), "", 0, "filter.reasons[0]: must not be empty"),
        (LetterFilter(since_ms=-1), "", 0, "filter.since_ms: must not be negative"),
    ],
)
async def test_what_cannot_be_is_refused(
    service: DeadLetterService,
    chosen: LetterFilter,
    cursor: str,
    limit: int,
    words: str,
) -> None:
    """The message names the field."""
    with pytest.raises(BadRequest) as caught:
        await service.page(chosen, cursor=cursor, limit=limit)
    assert words in caught.value.message


async def test_without_a_queue_there_is_nothing_to_ask() -> None:
    """A server without push says so."""
    service = make_letters(None)
    for call in (service.page(EVERYTHING), service.groups(EVERYTHING)):
        with pytest.raises(NotAvailable, match="no queue is configured"):
            await call
    with pytest.raises(NotAvailable, match="no queue is configured"):
        await service.purge(ALL, actor=ACTOR)


async def test_letters_are_counted_by_cause(
    queue: MemoryJobQueue, service: DeadLetterService
) -> None:
    """By reason and credential, with the oldest as an example; the largest first."""
    bury(queue, "invalid_argument: title", make_send_job(2), at_ms=3000)
    bury(queue, "invalid_argument: body", make_send_job(5), at_ms=1000)
    bury(queue, "internal", make_send_job(1, integration="shop"), at_ms=2000)
    bury(queue, "internal", make_walk_job())
    groups = await service.groups(EVERYTHING)
    assert groups[0] == LetterGroup(
        "invalid_argument", "fcm", "fcm", "1", 1000, 3000, letters=2, recipients=7
    )
    assert [(each.integration, each.recipients) for each in groups[1:]] == [
        ("shop", 1),
        ("fcm", 0),
    ]
    assert await service.groups(LetterFilter(integrations=("shop",))) == [groups[1]]


async def test_a_look_at_a_letter_tells_its_job(
    queue: MemoryJobQueue, service: DeadLetterService, audit: MemoryAudit
) -> None:
    """What was sent is told only to who asks for it, and that is written down."""
    job = make_send_job(push_id="push-1")
    bury(queue, "internal", job)
    view = await service.look("1", actor=ACTOR)
    assert (view.letter.job, view.body, audit.entries) == (job, None, {})
    view = await service.look("1", actor=ACTOR, with_body=True)
    assert view.body == make_payload().bodies["fcm"]
    (entry,) = audit.entries.values()
    assert (entry.method, entry.actor) == ("get_dead_letter", "admin.key")
    assert json.loads(entry.subject) == {"ids": ["1"], "with_body": True}


async def test_a_letter_that_is_none_is_not_found(service: DeadLetterService) -> None:
    """The message says which; an empty id is a fault of the call."""
    with pytest.raises(NotFound, match="id: no dead letter has it: '7'"):
        await service.look("7", actor=ACTOR)
    with pytest.raises(BadRequest, match="id: must not be empty"):
        await service.look("", actor=ACTOR)


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        (LetterChoice(), "ids: give ids, a filter, or all: one of them"),
        (LetterChoice(ids=("1",), all=True), "ids: give ids, a filter, or all"),
        (
            LetterChoice(filter=LetterFilter(uids=("u",)), all=True),
            "ids: give ids, a filter, or all",
        ),
        (LetterChoice(ids=("1",) * 1001), "ids: must be at most 1000, are 1001"),
        (LetterChoice(ids=("",)), "ids[0]: must not be empty"),
        (LetterChoice(ids=("1",), cursor="1"), "cursor: goes with a filter or all"),
        (LetterChoice(all=True, limit=-1), "limit: must not be negative"),
        (
            LetterChoice(filter=LetterFilter(providers=("x",))),
            "filter.providers[0]: must be one of",
        ),
        (LetterChoice(all=True, cursor="x"), "cursor: is not the id of a dead letter"),
    ],
)
async def test_a_choice_says_in_one_way_what_is_meant(
    queue: MemoryJobQueue, service: DeadLetterService, choice: LetterChoice, words: str
) -> None:
    """Else nothing is changed."""
    bury(queue, "internal")
    for change in (service.replay, service.purge):
        with pytest.raises(BadRequest) as caught:
            await change(choice, actor=ACTOR)
        assert words in caught.value.message
    assert len(queue.data.letters) == 1


async def test_some_letters_are_replayed(
    queue: MemoryJobQueue, service: DeadLetterService, audit: MemoryAudit
) -> None:
    """Each once; the ids that no letter has are named, each once."""
    for _ in range(3):
        bury(queue, "internal")
    choice = LetterChoice(ids=("2", "9", "2", "no id", "9", "1"))
    done = await service.replay(choice, actor=ACTOR)
    assert (done.changed, done.matched) == (2, 2)
    assert done.unknown_ids == ["9", "no id"]
    assert list(queue.data.letters) == [3]
    assert [job.push_id for job in queue.jobs] == ["push-1", "push-2"]
    (entry,) = audit.entries.values()
    assert (entry.method, entry.count, entry.result) == (
        "replay_dead_letters",
        2,
        "done",
    )
    assert json.loads(entry.subject) == {"ids": ["2", "9", "2", "no id", "9", "1"]}


async def test_letters_that_fit_are_purged(
    queue: MemoryJobQueue, service: DeadLetterService, audit: MemoryAudit
) -> None:
    """And no others; the audit log has the filter."""
    for reason in ("internal", "invalid_argument: a", "invalid_argument: b"):
        bury(queue, reason)
    chosen = LetterFilter(reasons=("invalid_argument",), until_ms=2000)
    done = await service.purge(LetterChoice(filter=chosen), actor=ACTOR)
    assert (done.changed, done.matched, done.next_cursor) == (2, 2, "")
    assert list(queue.data.letters) == [1]
    assert queue.jobs == []
    (entry,) = audit.entries.values()
    assert json.loads(entry.subject) == {
        "reasons": ["invalid_argument"],
        "until_ms": 2000,
    }


async def test_a_change_is_bounded_and_says_where_to_go_on(
    queue: MemoryJobQueue, service: DeadLetterService
) -> None:
    """The next call goes on behind what the last one did."""
    for _ in range(5):
        bury(queue, "internal")
    done = await service.replay(replace(ALL, limit=2), actor=ACTOR)
    assert (done.changed, done.next_cursor) == (2, "2")
    done = await service.replay(
        replace(ALL, limit=3, cursor=done.next_cursor), actor=ACTOR
    )
    assert (done.changed, done.next_cursor) == (3, "")


async def test_a_whole_change_ends_where_the_letters_ended(
    queue: MemoryJobQueue, service: DeadLetterService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A letter that dies again meanwhile is not met a second time."""
    monkeypatch.setattr(dead_letters, "TOGETHER", 1)
    for _ in range(5):
        bury(queue, "internal")
    replay = queue.replay_dead

    async def replay_and_die(*args: object, **rest: object) -> int:
        count = await replay(*args, **rest)  # type: ignore[arg-type]
        for job in queue.jobs:
            queue.data.bury(job, "internal", 2000)
        queue.finish()
        return count

    monkeypatch.setattr(queue, "replay_dead", replay_and_die)
    async with asyncio.timeout(10):
        choice = replace(ALL, limit=2)
        done = await service.replay(choice, actor=ACTOR, whole=True)
    assert (done.changed, done.matched, done.next_cursor) == (5, 5, "")
    assert list(queue.data.letters) == [6, 7, 8, 9, 10]


async def test_letters_get_another_body(
    queue: MemoryJobQueue, service: DeadLetterService, audit: MemoryAudit
) -> None:
    """Only those of its provider; the log says that there was one, and not which."""
    bury(queue, "invalid_argument", make_send_job(push_id="push-1"))
    bury(queue, "payload_too_large", make_send_job(push_id="p", provider="apns"))
    done = await service.replay(ALL, actor=ACTOR, mend=MEND)
    assert (done.changed, done.matched) == (1, 1)
    (job,) = queue.jobs
    assert (job.push_id, job.body) == ("push-1", BODY)
    assert queue.payloads["push-1"] == make_payload("push-1")
    assert list(queue.data.letters) == [2]
    (entry,) = audit.entries.values()
    assert json.loads(entry.subject)["with_body"] is True
    assert "mended" not in entry.subject


async def test_the_headers_stay_unless_others_are_given(
    queue: MemoryJobQueue, service: DeadLetterService
) -> None:
    """A body for APNs without its push type would be refused again."""
    before = Body(b"{}", {"apns-push-type": "alert"})
    for body, headers in (
        (BODY, before.headers),
        (replace(BODY, headers={"a": "b"}), {"a": "b"}),
    ):
        bury(queue, "internal", payload=replace(make_payload(), bodies={"fcm": before}))
        await service.replay(ALL, actor=ACTOR, mend=Mend("fcm", body))
        (job,) = queue.jobs
        assert job.body == Body(BODY.message, headers)
        queue.finish()


TEMPLATED = replace(make_payload(), templating=Templating(use_meta=True))


@pytest.mark.parametrize(
    ("mend", "words"),
    [
        (Mend("fmc", BODY), "body.provider: must be one of fcm, apns"),
        (Mend("", BODY), "body.provider: must not be empty"),
        (Mend("fcm", Body(b"")), "body.message: must not be empty"),
        (Mend("fcm", Body(b"[1]")), "body.message: must be a JSON object"),
        (Mend("fcm", Body(b'{"a":"%s"}' % (b"x" * 3000))), "body.message: must be at"),
        (Mend("fcm", Body(b"{}", {"a b": "c"})), "body.headers"),
        (Mend("apns", BODY), "ids[1]: is a letter of fcm, not of apns"),
        (Mend("fcm", Body(b'{"a":"{{.wrong"}')), "body.message: template at a"),
        (
            Mend("fcm", Body(b'{"a":"{{.device.meta.name}}"}')),
            "body.message: uses meta of devices, which letter 1 does not carry",
        ),
    ],
)
async def test_a_body_that_no_send_could_have_is_refused(
    queue: MemoryJobQueue,
    service: DeadLetterService,
    audit: MemoryAudit,
    mend: Mend,
    words: str,
) -> None:
    """The message names the field, and nothing is changed."""
    bury(queue, "invalid_argument", payload=TEMPLATED)
    with pytest.raises(BadRequest) as caught:
        await service.replay(LetterChoice(ids=("9", "1")), actor=ACTOR, mend=mend)
    assert words in caught.value.message
    assert (list(queue.data.letters), queue.jobs) == ([1], [])
    assert all(each.count == 0 for each in audit.entries.values())


async def test_a_look_at_a_mended_letter_tells_its_own_body(
    queue: MemoryJobQueue, service: DeadLetterService
) -> None:
    """The one that it died of, not the send's."""
    bury(queue, "invalid_argument", make_send_job(body=BODY))
    view = await service.look("1", actor=ACTOR, with_body=True)
    assert view.body == BODY


async def test_a_body_is_for_the_provider_that_the_filter_names(
    service: DeadLetterService,
) -> None:
    """Another one in the filter would mean nothing."""
    choice = LetterChoice(filter=LetterFilter(providers=("apns",)))
    with pytest.raises(BadRequest, match=r"filter\.providers: must be fcm alone"):
        await service.replay(choice, actor=ACTOR, mend=MEND)


async def test_a_walk_reads_what_the_new_templates_use(
    queue: MemoryJobQueue, service: DeadLetterService
) -> None:
    """Beside what the old ones used."""
    walk = replace(make_walk_job().work, details=frozenset({Detail.LOCALE}))
    bury(queue, "internal", make_walk_job(walk), payload=TEMPLATED)
    mend = Mend("fcm", Body(b'{"a":"{{.device.meta.name}}"}'))
    await service.replay(ALL, actor=ACTOR, mend=mend)
    (job,) = queue.jobs
    assert isinstance(job, ExpandJob)
    assert isinstance(job.work, Expand)
    assert job.work.details == {Detail.LOCALE, Detail.META}


async def test_of_two_operators_one_counts_each_letter(
    queue: MemoryJobQueue, service: DeadLetterService
) -> None:
    """Together they count each once, however their looks and steps mix."""
    for _ in range(3):
        bury(queue, "internal")
    both = await asyncio.gather(
        service.replay(ALL, actor=ACTOR, mend=MEND), service.replay(ALL, actor=ACTOR)
    )
    assert sum(done.changed for done in both) == 3
    assert all(isinstance(job, SendJob) for job in queue.jobs)
    assert len(queue.jobs) == 3


async def test_a_change_that_fails_is_in_the_audit_log(
    queue: MemoryJobQueue, service: DeadLetterService, audit: MemoryAudit
) -> None:
    """With what it had done by then."""
    bury(queue, "internal")
    queue.faults["purge_dead"] = [ApiError("away")]
    with pytest.raises(ApiError):
        await service.purge(ALL, actor=ACTOR)
    (entry,) = audit.entries.values()
    assert (entry.count, entry.result) == (0, "internal server error: away")
