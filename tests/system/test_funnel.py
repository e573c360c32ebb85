"""`tocsin funnel` as a process, on what a server's worker wrote."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from tests.support.analytics import NOW_MS, put, row
from tests.support.tocsin_processes import Processes

from tocsin.analytics.sql import SqlAnalyticsStore
from tocsin.core.analytics import SendEvent, event_row
from tocsin.storage.engine import open_sqlite

pytestmark = pytest.mark.system

DUE_MS = 4_102_444_800_000


def fill(path: Path) -> None:
    """Two sent, one of them opened, one failed."""

    async def write() -> None:
        database = open_sqlite(path)
        rows = [
            row(device_id="d1"),
            row(device_id="d2"),
            row(device_id="d1", status="interacted"),
            row(device_id="d3", status="failed", error_code="unregistered"),
            event_row(SendEvent.UNMATCHED, "empty", at_ms=NOW_MS, provider="fcm"),
            event_row(SendEvent.SCHEDULED, "later", at_ms=NOW_MS, due_ms=DUE_MS),
        ]
        await put(SqlAnalyticsStore(database), rows)
        await database.close()

    asyncio.run(write())


def test_the_funnel_is_printed(
    processes: Processes, migrated_sqlite_path: Path
) -> None:
    """For people as lines, with --json for programs; the database is enough."""
    fill(migrated_sqlite_path)
    config = processes.directory / "c.json"
    database = {"sqlite": {"path": str(migrated_sqlite_path)}}
    config.write_text(json.dumps({"database": database}))
    where = ("--config", str(config))
    lines = processes.start("funnel", "u1", *where)
    as_json = processes.start("funnel", "u1", "--json", *where)
    unknown = processes.start("funnel", "nobody", *where)
    empty = processes.start("funnel", "empty", *where)
    later = processes.start("funnel", "later", "--json", *where)
    off = processes.start("funnel", "u1", *where, "--set", "analytics.retention=0s")
    assert lines.wait_exit() == 0
    words = [line.split()[:2] for line in lines.text().splitlines()]
    for step in ("sent 2", "delivered 0", "interacted 1", "failed 1", "unregistered 1"):
        assert step.split() in words
    assert as_json.wait_exit() == 0
    assert json.loads(as_json.text()) == {
        "uid": "u1",
        "sent": 2,
        "delivered": 0,
        "interacted": 1,
        "failed": {"unregistered": 1},
    }
    assert unknown.wait_exit() == 1
    assert empty.wait_exit() == 0
    assert "reached nobody: the filter matched no device of fcm" in empty.text()
    assert later.wait_exit() == 0
    told = json.loads(later.text())
    assert (told["state"], told["due_at"]) == ("scheduled", DUE_MS // 1000)
    assert told["note"] == "scheduled for 2100-01-01 00:00:00 UTC"
    assert off.wait_exit() == 2
    assert "analytics is off" in off.text()
