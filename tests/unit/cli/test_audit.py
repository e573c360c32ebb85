"""What `tocsin audit` prints, and how it ends."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from tests.support.admin import make_sends
from tests.support.lost_sends import LostSends

from tocsin.admin.send_audit import SendAudit
from tocsin.cli import audit
from tocsin.core.accounts import Account
from tocsin.core.ports.send_log import SendQuery

ALL = SendQuery()
DONE = Account("g", 5, 3, Counter({"delivered": 3}), ended=True)
BROKEN = Account("g", 5, 3, Counter({"delivered": 1}), ended=True)


@pytest.fixture
async def rig(monkeypatch: pytest.MonkeyPatch) -> LostSends:
    monkeypatch.setattr(audit, "PAGE", 2)
    rig = LostSends()
    for number in range(5):
        await rig.accept(f"p{number}", queued=False)
    accounts = {f"p{number}": DONE for number in range(5)}
    await rig.log.write_accounts(accounts, fence=9, epoch="")
    return rig


def _audit(rig: LostSends) -> SendAudit:
    return SendAudit(make_sends(rig), rig.queue.accounts, clock=rig.clock)


async def test_a_clean_log(rig: LostSends, capsys: pytest.CaptureFixture[str]) -> None:
    """All pages are one answer."""
    assert await audit.act(_audit(rig), ALL) == 0
    assert capsys.readouterr().out == "5 sends checked, 0 break their account\n"


async def test_each_fault_is_a_line(
    rig: LostSends, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what is wrong, and what to do; the exit code says that there is one."""
    await rig.log.write_accounts({"p1": BROKEN}, fence=9, epoch="")
    await rig.accept("p7", queued=False)
    assert await audit.act(_audit(rig), ALL) == 1
    missing, broken, last = capsys.readouterr().out.splitlines()
    assert missing.startswith("MISSING  uid uid of p7  push p7  is open, and the queue")
    assert broken.startswith("BROKEN  uid uid of p1  push p1  3 matched, but 1 ended")
    assert "  do: " in missing
    assert last == "6 sends checked, 1 break their account; 1 missing"


async def test_faults_as_json(
    rig: LostSends, capsys: pytest.CaptureFixture[str]
) -> None:
    await rig.log.write_accounts({"p1": BROKEN}, fence=9, epoch="")
    assert await audit.act(_audit(rig), ALL, as_json=True) == 1
    finding, last = map(json.loads, capsys.readouterr().out.splitlines())
    assert (finding["kind"], finding["push_id"]) == ("broken", "p1")
    assert last == {"checked": 5, "open": 0, "broken": 1, "missing": 0, "stuck": 0}
