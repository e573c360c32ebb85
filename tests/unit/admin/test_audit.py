from __future__ import annotations

import json

import pytest
from structlog.testing import capture_logs
from tests.support.admin import ACTOR
from tests.support.jobs import ManualClock
from tests.support.memory_registry import MemoryAudit

from tocsin.admin.audit import AuditTrail
from tocsin.core.errors import BadRequest, InternalError, NotAvailable
from tocsin.core.ports.audit import AuditEntry, AuditFilter

ANY = AuditFilter()


@pytest.fixture
def store() -> MemoryAudit:
    return MemoryAudit()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(5000)


@pytest.fixture
def trail(store: MemoryAudit, clock: ManualClock) -> AuditTrail:
    return AuditTrail(store, clock=clock)


async def test_a_call_is_kept_before_it_begins(
    trail: AuditTrail, store: MemoryAudit
) -> None:
    """So that one whose process dies is known; its result follows."""
    async with trail.entry(ACTOR, "purge_dead_letters", {"all": True}) as outcome:
        (entry,) = store.entries.values()
        assert entry == AuditEntry(
            "1",
            5000,
            "admin.key",
            "192.0.2.7",
            "http",
            "purge_dead_letters",
            '{"all": true}',
        )
        outcome.count = 7
    (entry,) = store.entries.values()
    assert (entry.count, entry.result) == (7, "done")


async def test_a_call_is_a_log_line_too(store: MemoryAudit) -> None:
    """Also where there is no database, and where it is away."""
    store.failure = InternalError("database is unavailable")
    for given in (None, store):
        with capture_logs() as lines:
            trail = AuditTrail(given, clock=ManualClock())
            async with trail.entry(ACTOR, "m", {"ids": ["1"]}) as outcome:
                outcome.count = 1
        (line,) = [each for each in lines if each["event"] == "administrative call"]
        assert line == {
            "event": "administrative call",
            "log_level": "info",
            "actor": "admin.key",
            "address": "192.0.2.7",
            "door": "http",
            "method": "m",
            "subject": '{"ids": ["1"]}',
            "count": 1,
            "result": "done",
        }
        away = [each for each in lines if "cannot be written" in each["event"]]
        assert len(away) == (given is not None)


async def test_a_call_that_fails_says_how(
    trail: AuditTrail, store: MemoryAudit
) -> None:
    """An error of the call is its text; any other break says no more than that."""
    with pytest.raises(BadRequest):
        async with trail.entry(ACTOR, "m", {}):
            raise BadRequest("ids", "are wrong")
    with pytest.raises(ZeroDivisionError):
        async with trail.entry(ACTOR, "m", {}):
            raise ZeroDivisionError("a secret")
    results = [entry.result for entry in store.entries.values()]
    assert results == ["bad request: ids: are wrong", "broke off"]


async def test_a_long_subject_is_cut(trail: AuditTrail, store: MemoryAudit) -> None:
    """Twenty of a list, and how many more; no value longer than 256 characters."""
    ids = [str(number) for number in range(1000)]
    async with trail.entry(ACTOR, "m", {"ids": ids, "uid": "u" * 300, "none": ()}):
        pass
    (entry,) = store.entries.values()
    assert json.loads(entry.subject) == {
        "ids": ids[:20],
        "ids_more": 980,
        "uid": "u" * 256,
    }


async def test_the_newest_calls_come_first(
    trail: AuditTrail, clock: ManualClock
) -> None:
    """Page by page; the last one has no cursor, also where it is full."""
    for number in range(4):
        async with trail.entry(ACTOR, f"m{number}", {}):
            clock.advance(1)
    first = await trail.page(ANY, limit=2)
    assert [each.method for each in first.items] == ["m3", "m2"]
    last = await trail.page(ANY, limit=2, cursor=first.next_cursor)
    assert [each.method for each in last.items] == ["m1", "m0"]
    assert last.next_cursor == ""
    chosen = AuditFilter(methods=("m1", "m2"), since_ms=7000)
    assert [each.method for each in (await trail.page(chosen)).items] == ["m2"]


async def test_a_page_that_cannot_be_is_refused(trail: AuditTrail) -> None:
    """The message names the field."""
    with pytest.raises(BadRequest, match="limit: must not be negative"):
        await trail.page(ANY, limit=-1)
    with pytest.raises(BadRequest, match="cursor: is not the id of an entry"):
        await trail.page(ANY, cursor="x")
    with pytest.raises(BadRequest, match="since_ms: must not be negative"):
        await trail.page(AuditFilter(since_ms=-1))
    with pytest.raises(BadRequest, match=r"actors\[0\]: must not contain NUL"):
        await trail.page(AuditFilter(actors=("\0",)))
    without = AuditTrail(None, clock=ManualClock())
    with pytest.raises(NotAvailable, match="no database is configured"):
        await without.page(ANY)


async def test_old_calls_are_forgotten(
    trail: AuditTrail, store: MemoryAudit, clock: ManualClock
) -> None:
    """Those that began so long ago; without a database there are none."""
    for method in ("old", "new"):
        async with trail.entry(ACTOR, method, {}):
            clock.advance(60)
    assert await trail.prune(90) == 1
    assert [each.method for each in store.entries.values()] == ["new"]
    assert await AuditTrail(None, clock=clock).prune(1) == 0
