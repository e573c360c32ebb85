"""`tocsin queue` and `tocsin funnel` where there is nothing to show."""

from __future__ import annotations

import json
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
