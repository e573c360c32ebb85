"""What `tocsin send` prints, and which lines it refuses."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from tests.support.admin import make_sends
from tests.support.analytics import row
from tests.support.jobs import make_send_job
from tests.support.lost_sends import LostSends

from tocsin.cli import send
from tocsin.cli.main import build_parser
from tocsin.core.accounts import Account
from tocsin.core.analytics import NotificationRow
from tocsin.core.breaker import Breaker, Cause, credential_name
from tocsin.core.errors import NotFound
from tocsin.delivery.breakers import LocalBreakerStore

DONE = Account("g", 5, 3, Counter({"delivered": 1, "dead_lettered": 2}), ended=True)


@pytest.fixture
def rig() -> LostSends:
    return LostSends()


class Rows:
    """Analytics with one row of one device."""

    async def fetch_device(self, uid: str, device_id: str) -> list[NotificationRow]:
        if (uid, device_id) != ("uid of p1", "d1"):
            return []
        return [row(device_id="d1", status="failed", error_code="timeout")]


def _order(*line: str) -> send.ListOrder | None:
    return send.read_order(build_parser("send").parse_args(["send", *line]))


async def test_the_life_of_a_send_is_told(
    rig: LostSends, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under its uid or its push id."""
    store = LocalBreakerStore()
    breaker = Breaker(
        cause=Cause.FAULT,
        code="unauthenticated",
        opened_at_ms=rig.clock.now_ms(),
        until_ms=rig.clock.now_ms(),
    )
    name = credential_name("fcm", "fcm", "d1")
    await store.swap(name, None, breaker.to_text())
    await rig.accept(priority="bulk", recipient="filter", correlation_id="r1")
    await rig.walk(("", "d1"))
    for push in ("uid of p1", "p1"):
        assert await send.print_life(make_sends(rig, store), push) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[:5] == [
            "uid        uid of p1",
            "push id    p1",
            "state      halted: credential fcm of fcm is refused: unauthenticated",
            "to         filter, priority bulk",
            "request    r1",
        ]
        assert "         3  open, in 1 batches and pages" in lines
        assert "account    closes" in lines
        assert "walk       fcm fcm: page 1, after device d1" in lines
        assert any(line.startswith("held       by credential fcm") for line in lines)
        assert lines[-1].startswith("do         mend that credential")


async def test_what_can_be_done_about_dead_letters_is_told(
    rig: LostSends, capsys: pytest.CaptureFixture[str]
) -> None:
    await rig.accept(queued=False)
    await rig.log.write_accounts({"p1": DONE}, fence=9, epoch="")
    rig.queue.data.bury(make_send_job(2), "body_refused: x: no map\n\x1b[2J", 5)
    assert await send.print_life(make_sends(rig), "p1") == 0
    out = capsys.readouterr().out
    assert "2  dead-lettered: given up; can be replayed" in out
    assert "1 letters, 2 recipients, fcm fcm: body_refused: x" in out
    assert "`tocsin queue replay --push-id p1`, for a body with" in out
    assert "\x1b" not in out


async def test_an_account_that_does_not_close_is_shown(
    rig: LostSends, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = Account("g", 5, 3, Counter({"delivered": 1}), unread=1, ended=True)
    await rig.accept(queued=False)
    await rig.log.write_accounts({"p1": broken}, fence=9, epoch="")
    await send.print_life(make_sends(rig), "p1")
    out = capsys.readouterr().out
    assert "BROKEN     the account does not close: 3 matched, but 1 ended" in out
    assert "1  entries went to the dead letters unread" in out


async def test_one_push_of_a_send(
    rig: LostSends, capsys: pytest.CaptureFixture[str]
) -> None:
    """As far as results are kept."""
    await rig.accept()
    sends = make_sends(rig)
    for device, source, words in (
        ("d1", Rows(), "device     2027-01-15T08:00:00+00:00  fcm  failed  timeout"),
        ("d2", Rows(), "device     nothing is known of d2 in this send"),
        ("d1", None, "device     no results are kept: analytics is off"),
    ):
        await send.print_life(sends, "p1", device, source)
        assert capsys.readouterr().out.splitlines()[-1] == words
    await send.print_life(sends, "p1", "d1", Rows(), as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert (told["push_id"], told["state"]) == ("p1", "sending")
    assert told["device"][0]["error_code"] == "timeout"
    assert told["account"]["reached_online"] == 0


async def test_a_send_that_nobody_knows(rig: LostSends) -> None:
    with pytest.raises(NotFound, match="uid: no send has it"):
        await send.print_life(make_sends(rig), "unknown")


async def test_sends_are_listed(
    rig: LostSends, capsys: pytest.CaptureFixture[str]
) -> None:
    """All pages, up to a limit."""
    for number in range(send.PAGE + 5):
        rig.clock.advance(0.001)
        await rig.accept(f"p{number:03}", queued=False)
    order = _order("list", "--limit", "0")
    assert order is not None
    assert await send.print_list(make_sends(rig), order) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == send.PAGE + 6
    assert "  accepted   uid uid of p104  push p104  " in lines[0]
    assert lines[-1] == "105 sends"
    few = _order("list", "--limit", "2")
    assert few is not None
    await send.print_list(make_sends(rig), few)
    assert capsys.readouterr().out.splitlines()[-1] == "2 sends, and older ones"
    mine = _order("list", "uid of p007", "--json", "--state", "accepted")
    assert mine is not None
    await send.print_list(make_sends(rig), mine)
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["push_id"] == "p007"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("show", "name a send by its uid or its push id"),
        ("show u --state sending", "takes no --state: only list does"),
        ("show u --since 1h", "takes no --since: only list does"),
        ("list --device d", "takes no --device: only show does"),
        ("list --limit -1", "--limit: must not be negative"),
        ("list --until soon", "--until: must be a time such as"),
    ],
)
def test_a_line_about_sends_that_cannot_be(line: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        _order(*line.split())
