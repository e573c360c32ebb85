"""`tocsin audit` and `tocsin send` on a registry, without any server."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from pathlib import Path

import pytest
from tests.support.jobs import make_payload, make_send_job
from tests.support.verbs import run_verb

from tocsin.core.accounts import Account
from tocsin.core.clock import SystemClock
from tocsin.core.send_log import Accepting, SendRecord
from tocsin.storage.engine import open_sqlite
from tocsin.storage.send_log import SqlSendLog

pytestmark = pytest.mark.system

CONFIG = {
    "database": {"sqlite": {"path": "x.db"}},
    "push_notifications": {"enabled": True, "queue": {"type": "database"}},
}
DONE = Account("g", 5, 3, Counter({"delivered": 3}), ended=True)
BROKEN = Account("g", 5, 3, Counter({"delivered": 1}), ended=True)


async def _fill(path: Path) -> None:
    """Sends of a minute ago: one that is over, one broken, one the queue has lost."""
    database = open_sqlite(str(path))
    log = SqlSendLog(database, clock=SystemClock())
    at_ms = int(time.time() * 1000) - 60_000
    for push_id in ("p1", "p2", "p3"):
        record = SendRecord(push_id, f"uid-{push_id}", accepted_at_ms=at_ms)
        job = make_send_job(3, unit="0", push_id=push_id)
        await log.accept(Accepting(record, make_payload(push_id), [job]))
    await log.write_accounts({"p1": DONE, "p2": BROKEN}, fence=1, epoch="")
    await database.close()


def test_an_audit_names_each_fault_and_the_life_of_a_send_is_told(
    tmp_path: Path,
) -> None:
    """Nothing is changed by either, so a second audit says the same."""
    (tmp_path / "c.json").write_text(json.dumps(CONFIG))
    line = ("--config", "c.json")
    assert run_verb(tmp_path, "migrate", *line).returncode == 0
    empty = run_verb(tmp_path, "audit", *line)
    assert (empty.returncode, empty.stdout.splitlines()[-1]) == (
        0,
        "0 sends checked, 0 break their account",
    ), empty.stderr
    asyncio.run(_fill(tmp_path / "x.db"))
    for _ in range(2):
        audit = run_verb(tmp_path, "audit", *line)
        assert audit.returncode == 1, audit.stderr
        *findings, last = audit.stdout.splitlines()[-3:]
        assert last == "3 sends checked, 1 break their account; 1 missing"
        assert {each.split()[0] for each in findings} == {"BROKEN", "MISSING"}
        assert {each.split()[2] for each in findings} == {"uid-p2", "uid-p3"}
    shown = run_verb(tmp_path, "send", "show", "uid-p2", *line)
    assert shown.returncode == 0, shown.stderr
    assert "BROKEN     the account does not close: 3 matched" in shown.stdout
    listed = run_verb(tmp_path, "send", "list", "--state", "finished", *line)
    assert listed.stdout.splitlines()[-1] == "2 sends"
    assert run_verb(tmp_path, "send", "show", "nobody", *line).returncode == 1
