"""What all verbs of the command line have in common."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tocsin.cli.main import VERBS

pytestmark = pytest.mark.system

COMMAND = (sys.executable, "-m", "tocsin.cli.main")
MORE = {
    "admin": ("log",),
    "devices": ("removed",),
    "queue": ("status",),
    "send": ("list",),
    "check-token": ("x",),
    "funnel": ("x",),
    "gen-sub-token": ("-s", "x"),
}
"""Arguments without which a verb is no call."""


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_reads_a_configuration(verb: str, tmp_path: Path) -> None:
    """A wrong one stops it with all of its faults, before it does anything."""
    (tmp_path / "c.json").write_text(
        '{"log": {"levle": "x"}, "grpc_api": {"port": -1}}'
    )
    done = subprocess.run(
        [*COMMAND, verb, *MORE.get(verb, ()), "--config", "c.json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "configuration: 2 faults" in done.stderr
    assert "log.levle: is not known; did you mean log.level?" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["c.json"]


@pytest.mark.parametrize("verb", VERBS)
def test_names_keep_their_capitals(verb: str) -> None:
    """A verb's help says what the list of verbs says of it."""
    done = subprocess.run(
        [*COMMAND, verb, "--help"],
        env=os.environ | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert VERBS[verb][1:] in done.stdout


def test_short_verbs_answer_without_the_warnings_of_a_server(tmp_path: Path) -> None:
    """Who asks how much waits reads that alone; `check-config` tells what is odd."""
    (tmp_path / "c.json").write_text(
        '{"http_api": {"key": "change-me"}, "database": {"sqlite": {"path": "t.db"}},'
        ' "push_notifications": {"enabled_providers": ["expo"]}}'
    )

    def said(*verb: str) -> str:
        done = subprocess.run(
            [*COMMAND, *verb, "--config", "c.json"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode in (0, 1), done.stderr
        return done.stdout + done.stderr

    assert "value of an example" in said("check-config")
    for verb in (["migrate"], ["queue", "status"], ["devices", "removed"]):
        assert "value of an example" not in said(*verb)


@pytest.mark.parametrize(
    ("line", "loaded"),
    [(["--help"], set()), (["funnel", "--help"], {"tocsin.cli.funnel"})],
)
def test_no_other_verb_is_loaded(line: list[str], loaded: set[str]) -> None:
    """Nor are the push services, which only `simulate` reads for its options."""
    code = (
        "import atexit, sys\n"
        "atexit.register(lambda: print(*sys.modules))\n"
        "from tocsin.cli.main import main\n"
        f"main({line})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    modules = set(done.stdout.splitlines()[-1].split())
    verbs = {f"tocsin.cli.{verb.replace('-', '_')}" for verb in VERBS}
    assert modules & verbs == loaded
    assert "tocsin.app.push_services" not in modules
