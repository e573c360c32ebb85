"""The account of a send: it closes, and shows where it does not."""

from __future__ import annotations

import pytest
from tests.support.jobs import make_send_job, make_walk_job

from tocsin.core.accounts import (
    AGAIN,
    Account,
    Change,
    Part,
    Unit,
    Walk,
    WalkEnd,
    WalkPage,
    cancelled,
    encode_account,
    first_account,
    is_kept,
    parse_account,
    recorded,
    replayed,
    settled,
)
from tocsin.core.device import DeviceFilter
from tocsin.core.push import Expand, Job, SendJob
from tocsin.protocol.job_codec import refresh

FILTER = DeviceFilter(topics=("t",))


def batch(size: int, unit: str = "0:0") -> SendJob:
    return make_send_job(size, unit=unit)


def settle(account: Account, job: Job, *follow: Job, **more: object) -> None:
    values: dict[str, object] = {"ended": {}, "page": None, "is_dead": False}
    change = settled(job, follow, **{**values, **more})  # type: ignore[arg-type]
    if change is not None:
        account.apply(change)


def walked() -> Account:
    """A walk with one page of ten recipients, of which two never reach a batch."""
    walk = make_walk_job(unit="0")
    account = first_account([walk], "g1")
    page = WalkPage("0:0", 10, "", "d9", left=True)
    rest = make_walk_job(Expand(FILTER, "d9", 1), unit="0")
    settle(
        account,
        walk,
        batch(8),
        rest,
        page=page,
        ended={Part.ONLINE: 1, Part.DROPPED: 1},
    )
    return account


def test_a_walk_is_open_until_its_last_page() -> None:
    account = walked()
    assert account.walks == {"0": Walk(1, "d9", "")}
    assert (account.matched, account.open, account.find_fault()) == (10, 8, "")
    last = make_walk_job(Expand(FILTER, "d9", 1), unit="0")
    settle(account, last, page=WalkPage("0:1", 0, "d9", "", left=False))
    assert account.walks == {}
    assert list(account.units) == ["0:0"]


def test_a_unit_closes_with_its_last_recipient() -> None:
    """Until then it knows who has ended, so that it can be sent again as a whole."""
    account = walked()
    settle(account, batch(8), batch(2), ended={Part.DELIVERED: 5, Part.REMOVED: 1})
    assert account.units["0:0"].parts == {
        "online": 1,
        "dropped": 1,
        "delivered": 5,
        "removed": 1,
    }
    settle(account, batch(2), ended={Part.DEAD: 2}, is_dead=True)
    assert account.units == {}
    assert (account.open, account.find_fault()) == (0, "")
    assert account.parts == {
        "online": 1,
        "dropped": 1,
        "delivered": 5,
        "removed": 1,
        "dead_lettered": 2,
    }


def test_a_checkpoint_takes_back_what_will_be_counted_again() -> None:
    """The page is walked again, so none of its recipients is in the numbers."""
    account = walked()
    settle(account, batch(8), batch(2), ended={Part.DELIVERED: 6})
    kept = account.checkpoint()
    assert (kept.matched, dict(kept.parts)) == (0, {})
    assert kept.units == {"0:0": Unit(2, "", "d9")}
    assert kept.walks == account.walks


def test_a_checkpoint_keeps_closed_units() -> None:
    account = walked()
    settle(account, batch(8), ended={Part.DELIVERED: 8})
    kept = account.checkpoint()
    assert kept.matched == 10
    assert kept.parts == {"delivered": 8, "online": 1, "dropped": 1}


def test_raw_recipients_are_matched_at_once() -> None:
    jobs = [batch(3, "0"), batch(2, "1")]
    account = first_account(jobs, "g1")
    assert (account.matched, account.open) == (5, 5)
    change = cancelled(jobs[1])
    assert change is not None
    account.apply(change)
    assert (account.open, account.parts) == (3, {"cancelled": 2})


@pytest.mark.parametrize(
    ("dead", "end"), [(True, WalkEnd.DEAD), (False, WalkEnd.EXPIRED)]
)
def test_a_walk_that_ends_early_says_how(dead: bool, end: WalkEnd) -> None:
    walk = make_walk_job(unit="0")
    account = first_account([walk], "g1")
    settle(account, walk, is_dead=dead)
    assert (account.walks, account.walk_ends) == ({}, {end.value: 1})


def test_a_walk_that_waits_goes_on() -> None:
    walk = make_walk_job(Expand(FILTER, "d9", 1), unit="0")
    account = first_account([walk], "g1")
    settle(account, walk, walk)
    assert account.walks == {"0": Walk(1, "d9", "")}
    assert not account.walk_ends


def test_a_cancelled_walk_is_told() -> None:
    walk = make_walk_job(unit="0")
    account = first_account([walk], "g1")
    change = cancelled(walk)
    assert change is not None
    account.apply(change)
    assert (account.walks, account.walk_ends) == ({}, {"cancelled": 1})


def test_a_replayed_letter_is_open_again() -> None:
    """Also in an account of its own, where the first one was closed long ago."""
    job = refresh(batch(4))
    assert job.unit == "0:0" + AGAIN
    assert refresh(job).unit == job.unit
    change = replayed(job)
    assert change is not None
    account = Account("g2")
    account.apply(change)
    assert (account.matched, account.open, account.parts["dead_lettered"]) == (0, 4, -4)
    settle(account, job, ended={Part.DELIVERED: 4})
    assert (account.open, account.matched) == (0, 0)
    whole = Account("g1", matched=9)
    whole.parts.update({"dead_lettered": 4, "delivered": 5})
    whole.add(account)
    assert whole.parts == {"dead_lettered": 0, "delivered": 9}
    assert whole.find_fault() == ""


def test_a_replayed_walk_goes_on() -> None:
    walk = make_walk_job(Expand(FILTER, "d9", 1), unit="0")
    account = first_account([walk], "g1")
    settle(account, walk, is_dead=True)
    change = replayed(walk)
    assert change is not None
    account.apply(change)
    assert account.walks == {"0": Walk(1, "d9", "")}
    assert +account.walk_ends == {}


@pytest.mark.parametrize(
    ("account", "words"),
    [
        (Account(matched=3), "3 are not accounted for"),
        (Account(units={"0": Unit(-1)}, matched=-1), "below zero: 0"),
        (Account(units={"0": Unit(2)}, matched=2, ended=True), "no work is left"),
    ],
)
def test_what_does_not_close_says_why(account: Account, words: str) -> None:
    assert words in account.find_fault()


def test_jobs_of_older_releases_have_no_account() -> None:
    job = make_send_job(3)
    assert not is_kept([job])
    assert settled(job, [], ended={}, page=None, is_dead=False) is None
    assert cancelled(job) is None
    assert replayed(refresh(job)) is None
    assert first_account([job], "g1").matched == 0


@pytest.mark.parametrize(
    ("done", "counts"),
    [
        (b"", {}),
        (b"\x03", {Part.DELIVERED: 2}),
        (b"\x07\x04", {Part.DELIVERED: 2, Part.REMOVED: 1}),
    ],
)
def test_a_record_tells_who_was_removed(done: bytes, counts: dict[Part, int]) -> None:
    """Records of older releases have no second half: all of them were delivered."""
    assert recorded(done, 5) == counts


def test_json_keeps_all_of_it() -> None:
    account = walked()
    settle(account, batch(8), batch(2), ended={Part.DELIVERED: 6})
    account.walk_ends["expired"] += 1
    account.unread, account.ended = 2, True
    assert parse_account(encode_account(account)) == account
    assert parse_account(encode_account(Account())) == Account()


def test_a_change_of_nothing_counts_as_one() -> None:
    account = Account("g", 3)
    account.apply(Change())
    assert account.version == 4
