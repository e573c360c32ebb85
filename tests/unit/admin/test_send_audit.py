"""Which sends break their account, are not in the queue, or are open for too long."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from tests.support.admin import make_sends
from tests.support.lost_sends import LostSends

from tocsin.admin import send_audit
from tocsin.admin.send_audit import (
    LONG_WAIT_MS,
    PAST_EXPIRY_MS,
    AuditReport,
    FindingKind,
    SendAudit,
)
from tocsin.core.accounts import Account
from tocsin.core.errors import BadRequest, NotAvailable
from tocsin.core.ports.send_log import SendQuery
from tocsin.push.repair import FIRST_CALL_MS

ALL = SendQuery()
DONE = Account("g", 5, 3, Counter({"delivered": 3}), ended=True)
BROKEN = Account("g", 5, 3, Counter({"delivered": 1}), ended=True)


@pytest.fixture
def rig() -> LostSends:
    return LostSends()


def _audit(rig: LostSends, **more: Any) -> SendAudit:
    return SendAudit(make_sends(rig), rig.queue.accounts, clock=rig.clock, **more)


def _found(report: AuditReport) -> dict[str, FindingKind]:
    return {each.push_id: each.kind for each in report.findings}


async def test_nothing_is_wrong_with_sends_at_work(rig: LostSends) -> None:
    for number in range(4):
        await rig.accept(f"p{number}", queued=number > 1)
    await rig.log.write_accounts({"p0": DONE, "p1": DONE}, fence=9, epoch="")
    report = await _audit(rig).look(ALL)
    assert (report.findings, report.checked, report.open) == ([], 4, 2)
    assert report.next_cursor == ""


async def test_accounts_that_do_not_close_are_named(rig: LostSends) -> None:
    """Of sends that are over, and of open ones as the queue counts them now."""
    for push_id in ("p1", "p2", "p3"):
        await rig.accept(push_id, queued=push_id == "p2")
    await rig.log.write_accounts({"p1": BROKEN, "p3": DONE}, fence=9, epoch="")
    rig.queue.data.accounts["p2"].parts["delivered"] += 2
    report = await _audit(rig).look(ALL)
    assert _found(report) == {"p1": FindingKind.BROKEN, "p2": FindingKind.BROKEN}
    what = {each.push_id: each.what for each in report.findings}
    assert what["p1"].startswith("3 matched, but 1 ended and 0 are open: 2")
    assert {each.uid for each in report.findings} == {"uid of p1", "uid of p2"}


async def test_what_the_queue_has_mended_is_not_broken(rig: LostSends) -> None:
    """The row is as old as its last look."""
    keeper = rig.open_keeper()
    await rig.accept()
    await rig.walk(("", ""))
    await keeper.look()
    rig.queue.data.accounts["p1"].matched += 1
    rig.queue.data.changed.add("p1")
    await keeper.look()
    rig.queue.data.accounts["p1"].matched -= 1
    assert (await _audit(rig).look(ALL)).findings == []


@pytest.mark.parametrize(
    ("repairs", "words"), [(True, "queues it again"), (False, "repeat its uid")]
)
async def test_what_the_queue_has_lost_is_missing(
    rig: LostSends, *, repairs: bool, words: str
) -> None:
    await rig.accept("p1")
    await rig.open_keeper().look()
    await rig.lose()
    await rig.accept("p2", queued=False, age_ms=FIRST_CALL_MS - 1)
    report = await _audit(rig, repairs=repairs).look(ALL)
    assert _found(report) == {"p1": FindingKind.MISSING}
    assert words in report.findings[0].todo


async def test_what_ends_during_the_look_is_not_missing(rig: LostSends) -> None:
    """The queue has forgotten it, since its end is in its row."""
    await rig.accept()

    async def end(method: str) -> None:
        if method == "accounts.find":
            rig.queue.data.accounts.clear()
            await rig.log.write_accounts({"p1": DONE}, fence=9, epoch="")

    rig.queue.accounts._begin = end
    report = await _audit(rig).look(ALL)
    assert (report.findings, report.open) == ([], 1)


async def test_a_send_that_is_open_for_too_long_is_stuck(rig: LostSends) -> None:
    """Long after its expiry, or after it was due where it has none."""
    now_ms = rig.clock.now_ms()
    await rig.accept("never", age_ms=0)
    await rig.accept("expires", age_ms=0, expire_at_ms=now_ms + 1000)
    await rig.accept("later", age_ms=0, due_at_ms=now_ms + 2 * LONG_WAIT_MS)
    audit = _audit(rig)
    rig.clock.advance((PAST_EXPIRY_MS + 1000) / 1000)
    assert (await audit.look(ALL)).findings == []
    rig.clock.advance(0.001)
    report = await audit.look(ALL)
    assert _found(report) == {"expires": FindingKind.STUCK}
    assert report.findings[0].what == "is open 60 minutes after it was expired"
    rig.clock.advance(LONG_WAIT_MS / 1000)
    found = _found(await audit.look(ALL))
    assert found == {"expires": FindingKind.STUCK, "never": FindingKind.STUCK}
    patient = _audit(rig, wait_ms=10 * LONG_WAIT_MS)
    assert _found(await patient.look(ALL)) == {"expires": FindingKind.STUCK}


async def test_any_number_is_looked_at_page_by_page(
    rig: LostSends, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sends that come meanwhile are newer, and do not move the others."""
    monkeypatch.setattr(send_audit, "PAGE", 3)
    for number in range(10):
        rig.clock.advance(1)
        await rig.accept(f"p{number}", queued=False)
    accounts = {f"p{number}": BROKEN for number in range(10)}
    await rig.log.write_accounts(accounts, fence=9, epoch="")
    audit = _audit(rig)
    found: list[str] = []
    cursor, checked = "", 0
    while True:
        report = await audit.look(ALL, cursor=cursor, limit=4)
        found += [each.push_id for each in report.findings]
        checked += report.checked
        cursor = report.next_cursor
        if not cursor:
            break
        rig.clock.advance(1)
        await rig.accept(f"q{checked}", queued=False)
    assert found == [f"p{number}" for number in reversed(range(10))]
    assert checked == 10
    first_ms = rig.clock.now_ms() - 1500
    assert (await audit.look(SendQuery(since_ms=first_ms))).checked < 10


async def test_an_audit_that_cannot_be_is_refused(rig: LostSends) -> None:
    audit = _audit(rig)
    with pytest.raises(BadRequest, match="limit: must not be negative"):
        await audit.look(ALL, limit=-1)
    with pytest.raises(BadRequest, match="since_ms: must not be negative"):
        await audit.look(SendQuery(since_ms=-1))
    without = SendAudit(make_sends(rig, log=False), None, clock=rig.clock)
    with pytest.raises(NotAvailable, match="no database is configured"):
        await without.look(ALL)
