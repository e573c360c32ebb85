"""`tocsin devices` on a registry, without any server."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest
from tests.support.fill import fill_sqlite
from tests.support.verbs import run_verb

pytestmark = pytest.mark.system


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_verb(folder, *arguments, "--config", "c.json")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With 2,500 devices, all of them removed a minute ago but ten."""
    (tmp_path / "c.json").write_text('{"database": {"sqlite": {"path": "x.db"}}}')
    assert run(tmp_path, "migrate").returncode == 0
    path = tmp_path / "x.db"
    fill_sqlite(path, [f"token-{number}" for number in range(2500)], "news")
    at_ms = int(time.time() * 1000) - 60_000
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "UPDATE devices SET removed_at_ms = ?, removed_reason = CASE WHEN user_id"
            " < 'u2' THEN 'fcm: sender_id_mismatch' ELSE 'fcm: unregistered' END"
            " WHERE length(token) > 7",
            (at_ms,),
        )
    return tmp_path


def live(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "x.db")) as connection:
        query = "SELECT count(*) FROM devices WHERE removed_at_ms IS NULL"
        return int(connection.execute(query).fetchone()[0])


def said(done: subprocess.CompletedProcess[str]) -> str:
    """What it printed, before the line that the audit log writes."""
    return done.stdout.splitlines()[0]


def test_what_was_removed_by_mistake_comes_back(folder: Path) -> None:
    """Counted first, then by reason and time, in batches; the rest stays removed."""
    counted = run(folder, "devices", "removed", "--since", "5m")
    assert counted.returncode == 0, counted.stderr
    lines = [line.split() for line in counted.stdout.splitlines()]
    assert [line[-1] for line in lines] == [
        "unregistered",
        "sender_id_mismatch",
        "devices",
    ]
    dead, mismatched, total = (int(line[0]) for line in lines)
    assert (dead + mismatched, total) == (2490, 2490)
    assert mismatched > 1000, "more than one batch"

    chosen = ("--reason", "sender_id_mismatch", "--since", "5m")
    dry = run(folder, "devices", "restore", *chosen, "--dry-run")
    assert f"{mismatched}  would be restored" in dry.stdout
    assert live(folder) == 10
    done = run(folder, "devices", "restore", *chosen)
    assert (done.returncode, said(done)) == (0, f"restored {mismatched} devices")
    assert live(folder) == 10 + mismatched
    early = run(folder, "devices", "restore", "--all", "--until", "10m")
    assert early.returncode == 2
    early = run(folder, "devices", "restore", "--until", "10m")
    assert said(early) == "restored 0 devices"
    rest = run(folder, "devices", "restore", "--all")
    assert said(rest) == f"restored {dead} devices"
    assert live(folder) == 2500


def test_nothing_is_made_where_there_is_no_registry(tmp_path: Path) -> None:
    """Neither a file nor a schema; the code is 2."""
    (tmp_path / "c.json").write_text(
        json.dumps({"database": {"sqlite": {"path": "y.db"}}})
    )
    done = run(tmp_path, "devices", "removed")
    assert done.returncode == 2
    assert "there is no such file" in done.stdout + done.stderr
    assert not (tmp_path / "y.db").exists()
    vague = run(tmp_path, "devices", "restore")
    assert (vague.returncode, vague.stdout) == (2, "")
    assert "say what to restore" in vague.stderr
