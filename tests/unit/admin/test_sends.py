"""What operators are told of sends."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from tests.support.admin import make_sends
from tests.support.jobs import make_send_job, make_walk_job
from tests.support.lost_sends import LostSends

from tocsin.admin.send_states import WalkAt
from tocsin.core.accounts import Account
from tocsin.core.breaker import (
    BodyHalt,
    Breaker,
    Cause,
    body_name,
    credential_name,
)
from tocsin.core.errors import BadRequest, NotAvailable, NotFound
from tocsin.core.ports.breakers import BreakerStore
from tocsin.core.ports.send_log import SendQuery
from tocsin.core.push import Job
from tocsin.core.send_log import Progress
from tocsin.delivery.breakers import LocalBreakerStore

ALL = SendQuery()
DONE = Account("g", 5, 3, Counter({"delivered": 1, "dead_lettered": 2}), ended=True)


@pytest.fixture
def rig() -> LostSends:
    return LostSends()


async def _stopped(rig: LostSends, cause: Cause) -> BreakerStore:
    """What workers share where FCM's credential waits, and one with an old key."""
    store = LocalBreakerStore()
    now_ms = rig.clock.now_ms()
    breaker = Breaker(
        cause=cause,
        code="unauthenticated",
        detail="401",
        opened_at_ms=now_ms,
        until_ms=now_ms + 5000,
    )
    for name in ("d1", "old"):
        await store.swap(credential_name("fcm", "fcm", name), None, breaker.to_text())
    return store


def _bury(rig: LostSends, reason: str, push_id: str = "p1") -> None:
    job = make_send_job(2, push_id=push_id)
    rig.queue.data.bury(job, reason, rig.clock.now_ms())


async def test_a_send_under_way(rig: LostSends) -> None:
    """With what the queue counts now, and where its walks are."""
    await rig.accept(priority="bulk")
    await rig.open_keeper().look()
    await rig.walk(("", "d1"))
    life = await make_sends(rig).get(uid="uid of p1")
    view = life.view
    assert (view.state, view.why, view.fault) == ("sending", "", "")
    assert (view.account.matched, view.account.open) == (3, 3)
    assert view.walks == [WalkAt("fcm", "fcm", 1, "d1", "")]
    assert (life.letters, view.holds) == ([], [])
    assert (await make_sends(rig).get(push_id="p1")).view == view


@pytest.mark.parametrize(
    ("cause", "state"),
    [(Cause.FAULT, "halted"), (Cause.STORM, "halted"), (Cause.THROTTLE, "sending")],
)
async def test_a_credential_that_waits_holds_its_sends(
    rig: LostSends, cause: Cause, state: str
) -> None:
    """Those with open work for it; one that asks to wait halts nothing."""
    others: list[Job] = [make_walk_job(unit="0", push_id="p2", provider="apns")]
    await rig.accept("p1")
    await rig.accept("p2", jobs=others)
    await rig.open_keeper().look()
    sends = make_sends(rig, await _stopped(rig, cause))
    view = (await sends.get(push_id="p1")).view
    assert view.state == state
    assert "credential fcm of fcm" in view.why
    assert "unauthenticated: 401" in view.why
    (hold,) = view.holds
    assert (hold.kind, hold.since_ms) == ("breaker", rig.clock.now_ms())
    assert (await sends.get(push_id="p2")).view.state == "sending"
    listed = await sends.page(ALL)
    assert {each.record.push_id: each.state for each in listed.items} == {
        "p1": state,
        "p2": "sending",
    }
    halted = await sends.page(ALL, states=["halted"])
    assert len(halted.items) == (state == "halted")


async def test_a_refused_body_halts_its_send(rig: LostSends) -> None:
    """While it is under way, and as long as its dead letters are there."""
    store = LocalBreakerStore()
    await rig.accept()
    await rig.open_keeper().look()
    halt = BodyHalt("invalid_argument", "no map", rig.clock.now_ms())
    await store.swap(body_name("p1", "fcm", "fcm"), None, halt.to_text())
    sends = make_sends(rig, store)
    view = (await sends.get(push_id="p1")).view
    assert (view.state, view.holds[0].kind) == ("halted", "body")
    await rig.log.write_accounts({"p1": replace(DONE)}, fence=9, epoch="")
    rig.queue.data.accounts["p1"] = DONE
    _bury(rig, "body_refused: invalid_argument: no map")
    _bury(rig, "internal", "p9")
    life = await sends.get(push_id="p1")
    assert [group.reason for group in life.letters] == [
        "body_refused: invalid_argument"
    ]
    (listed,) = (await sends.page(ALL)).items
    rig.queue.data.letters.clear()
    (purged,) = (await sends.page(ALL)).items
    assert purged.state == listed.record.progress.value


async def test_what_stopped_a_send_that_ended_is_named(rig: LostSends) -> None:
    await rig.accept(queued=False)
    await rig.log.write_accounts({"p1": DONE}, fence=9, epoch="")
    _bury(rig, "breaker_open: unauthenticated: 401")
    sends = make_sends(rig)
    life = await sends.get(push_id="p1")
    assert life.view.state == "halted"
    assert life.view.why.endswith("breaker_open: unauthenticated")
    assert [each.state for each in (await sends.page(ALL)).items] == ["halted"]
    assert (await sends.page(ALL, states=["finished"])).items == []
    rig.queue.data.letters.clear()
    _bury(rig, "internal")
    assert (await sends.get(push_id="p1")).view.state == "finished"


async def test_a_refused_send_says_so(rig: LostSends) -> None:
    await rig.accept(queued=False)
    await rig.log.refuse("p1")
    view = (await make_sends(rig).get(push_id="p1")).view
    assert (view.state, "told an error" in view.why) == ("refused", True)


async def test_sends_are_paged_and_chosen(rig: LostSends) -> None:
    """A page of states may be short; its cursor goes on all the same."""
    for number in range(5):
        rig.clock.advance(1)
        await rig.accept(f"p{number}", queued=False)
    await rig.log.write_accounts({"p1": DONE, "p3": DONE}, fence=9, epoch="")
    sends = make_sends(rig)
    seen, cursor = [], ""
    while True:
        page = await sends.page(ALL, cursor=cursor, limit=2)
        seen += [each.record.push_id for each in page.items]
        cursor = page.next_cursor
        if not cursor:
            break
    assert seen == ["p4", "p3", "p2", "p1", "p0"]
    done = await sends.page(ALL, states=["finished"])
    assert [each.record.push_id for each in done.items] == ["p3", "p1"]
    mine = await sends.page(SendQuery(uid="uid of p2"))
    assert [each.record.push_id for each in mine.items] == ["p2"]


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"states": ["done"]}, "states[0]"),
        ({"limit": -1}, "limit"),
        ({"cursor": "a\0"}, "cursor"),
        ({"query": SendQuery(since_ms=-1)}, "since_ms"),
        ({"query": SendQuery(until_ms=-1)}, "until_ms"),
        ({"query": SendQuery(uid="a\0")}, "uid"),
    ],
)
async def test_a_page_of_sends_that_cannot_be(
    rig: LostSends, arguments: dict[str, object], field: str
) -> None:
    values: dict[str, object] = {"query": ALL, **arguments}
    with pytest.raises(BadRequest) as error:
        await make_sends(rig).page(**values)  # type: ignore[arg-type]
    assert error.value.field == field


async def test_one_send_is_named_in_one_way(rig: LostSends) -> None:
    sends = make_sends(rig)
    for names in ({}, {"uid": "u", "push_id": "p"}, {"uid": "a\0"}):
        with pytest.raises(BadRequest):
            await sends.get(**names)
    for names in ({"uid": "u"}, {"push_id": "p"}):
        with pytest.raises(NotFound, match="no send has it"):
            await sends.get(**names)


async def test_without_a_log_the_queue_tells_what_it_knows(rig: LostSends) -> None:
    """By push id, which is the uid where its caller gave none."""
    await rig.accept()
    await rig.walk(("", ""))
    await rig.send()
    sends = make_sends(rig, log=False)
    for names in ({"uid": "p1"}, {"push_id": "p1"}):
        view = (await sends.get(**names)).view
        assert view.state == Progress.FINISHED.value
        assert view.account.parts == {"delivered": 3}
    with pytest.raises(NotFound, match="no database is configured"):
        await sends.get(uid="uid of p1")
    with pytest.raises(NotAvailable, match="no database is configured"):
        await sends.page(ALL)
