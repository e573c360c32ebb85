"""`tocsin queue`, `admin` and `funnel` as processes, where there is little to show."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.support.verbs import run_verb

pytestmark = pytest.mark.system


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With `c.json` and its migrated SQLite file."""
    push = {"enabled_providers": ["expo"]}
    config = {"database": {"sqlite": {"path": "x.db"}}, "push_notifications": push}
    (tmp_path / "c.json").write_text(json.dumps(config))
    assert run_verb(tmp_path, "migrate", "--config", "c.json").returncode == 0
    return tmp_path


@pytest.mark.parametrize("action", ["replay", "purge"])
def test_unknown_dead_letters_are_named(folder: Path, action: str) -> None:
    """Each once, whatever they look like; the code is 1."""
    ids = ("7", "no-number", "7", str(2**70))
    done = run_verb(folder, "queue", action, *ids, "--config", "c.json")
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"{action}: 0 dead letters" in done.stdout
    assert done.stderr == f"no such dead letters: 7, no-number, {2**70}\n"


@pytest.mark.parametrize(
    "arguments", [("status", "7"), ("dead", "7"), ("status", "--all"), ("drain", "7")]
)
def test_words_that_mean_nothing_are_refused(
    tmp_path: Path, arguments: Sequence[str]
) -> None:
    """Ids belong to replay and purge; nothing is opened for the others."""
    done = run_verb(tmp_path, "queue", *arguments)
    assert done.returncode == 2
    assert f"queue {arguments[0]} takes no '{arguments[1]}'" in done.stderr


@pytest.mark.parametrize("verb", [("queue", "status"), ("funnel", "u1")])
def test_without_a_configuration(tmp_path: Path, verb: Sequence[str]) -> None:
    """The default file is looked for; what `serve` would answer is not told."""
    done = run_verb(tmp_path, *verb)
    assert done.returncode == 2
    assert str(tmp_path / "tocsin.db") in done.stdout
    assert "only health is answered" not in done.stdout + done.stderr


def test_a_funnel_of_nothing_says_what_that_may_mean(folder: Path) -> None:
    """Beside the zeros; with --json standard output stays JSON."""
    done = run_verb(folder, "funnel", "u1", "--json", "--config", "c.json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["sent"] == 0
    assert done.stderr.startswith("nothing is known of 'u1': ")
    assert len(done.stderr.splitlines()) == 1


def test_commands_that_change_something_are_in_the_audit_log(folder: Path) -> None:
    """Who did it, on which machine, to which letters; looking changes nothing."""
    for line in (["dead"], ["reasons"], ["purge", "7"], ["replay", "--all"]):
        run_verb(folder, "queue", *line, "--config", "c.json")
    run_verb(folder, "devices", "restore", "--all", "--config", "c.json")
    done = run_verb(folder, "admin", "log", "--config", "c.json")
    assert done.returncode == 0, done.stderr
    restore, replay, purge, last = done.stdout.splitlines()
    assert last == "3 calls"
    assert f"({socket.gethostname()}) by cli  restore_devices" in restore
    assert 'replay_dead_letters  {"all": true}  count 0  done' in replay
    assert 'purge_dead_letters  {"ids": ["7"]}  count 0  done' in purge
    some = run_verb(
        *(folder, "admin", "log", "--method", "purge_dead_letters", "--limit", "1"),
        *("--config", "c.json"),
    )
    assert some.stdout.splitlines() == [purge, "1 calls"]


def test_a_body_is_checked_before_anything_is_replayed(folder: Path) -> None:
    """The line says what is wrong with it; a file that is not there is named."""
    line = ("queue", "replay", "--all", "--config", "c.json", "--with-body")
    (folder / "body.json").write_text("[1]")
    done = run_verb(folder, *line, "body.json")
    assert done.returncode == 1
    assert "queue replay: bad request: body.message: must be" in done.stderr
    done = run_verb(folder, *line, "nowhere.json")
    assert done.returncode == 2
    assert "--with-body: nowhere.json: No such file or directory" in done.stderr


def test_an_audit_log_needs_a_database(tmp_path: Path) -> None:
    """The answer says where else to look."""
    (tmp_path / "c.json").write_text('{"http_server": {"port": 0}}')
    done = run_verb(tmp_path, "admin", "log", "--config", "c.json")
    assert done.returncode == 2
    assert "no database is configured" in done.stdout
