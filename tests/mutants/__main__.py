"""`make mutants`: change the code in small ways and see whether the tests notice.

Works on a copy, so that no changed file can ever stand in the work tree. What the
tests do not notice has to be in the table of `tests/README.md`, with a verdict.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from tests.mutants.rooms import ROOT, Room, read_rooms
from tests.mutants.survivors import judged, read_diff

IGNORED = shutil.ignore_patterns("__pycache__", "node_modules", ".hypothesis")
MUTMUT = str(Path(sys.executable).with_name("mutmut"))
COPIED = ("src", "tests", "pyproject.toml")
BROKEN = ("suspicious", "segfault", "check was interrupted by user", "not checked")
"""Runs that say nothing: they are repeated, or mended."""

SETTINGS = """
[tool.mutmut]
source_paths = ["src"]
only_mutate = {code}
pytest_add_cli_args = ["-p", "no:xdist", "--hypothesis-seed=0", "--timeout=30"]
pytest_add_cli_args_test_selection = {tests}
do_not_mutate_patterns = {untouched}
timeout_multiplier = 10.0
timeout_constant = 2.0
use_git_change_detection = false
track_dependencies = false
use_setproctitle = false
"""


def main(arguments: Sequence[str]) -> int:
    """Run the rooms asked for, or all; 1 where something got past the tests."""
    rooms = {room.name: room for room in read_rooms()}
    parser = argparse.ArgumentParser(prog="make mutants M=")
    parser.add_argument("rooms", nargs="*", metavar="room", choices=[[], *rooms])
    parser.add_argument("--children", type=int, default=os.cpu_count() or 2)
    asked = parser.parse_args(arguments)
    if faults := [fault for room in rooms.values() for fault in room.faults()]:
        print(*faults, sep="\n", file=sys.stderr)
        return 2
    found = [run(rooms[name], asked.children) for name in asked.rooms or rooms]
    return max(found)


def run(room: Room, children: int) -> int:
    """Change one room's code in a copy; say what its tests let pass."""
    with tempfile.TemporaryDirectory(prefix=f"mutants-{room.name}-") as name:
        copy = Path(name)
        for each in COPIED:
            if (ROOT / each).is_dir():
                shutil.copytree(ROOT / each, copy / each, ignore=IGNORED)
            else:
                shutil.copy(ROOT / each, copy / each)
        with (copy / "pyproject.toml").open("a") as settings:
            settings.write(
                SETTINGS.format(
                    code=json.dumps([f"src/tocsin/{path}" for path in room.modules]),
                    tests=json.dumps(room.selection),
                    untouched=json.dumps(room.untouched),
                )
            )
        if fault := _mutate(copy, room, children):
            print(f"{room.name}: {fault}", file=sys.stderr)
            return 2
        return _report(copy, room)


def _mutate(copy: Path, room: Room, children: int) -> str:
    """What went wrong, or nothing; no process of the run is left behind."""
    process = subprocess.Popen(
        [MUTMUT, "run", f"--max-children={children}", *room.patterns()],
        cwd=copy,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )
    try:
        output, _ = process.communicate(timeout=room.minutes * 60)
    except subprocess.TimeoutExpired:
        return f"not done within {room.minutes} minutes, as rooms.toml allows"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.returncode:
        return "\n".join(output.replace("\r", "\n").splitlines()[-40:])
    return ""


def _report(copy: Path, room: Room) -> int:
    results = subprocess.run(
        [sys.executable, copy / "tests" / "mutants" / "results.py"],
        cwd=copy,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    meant = room.patterns()
    changes = [
        each
        for each in json.loads(results.splitlines()[-1])
        if any(fnmatch(each[0], pattern) for pattern in meant)
    ]
    counts = Counter(state for _, state, _ in changes)
    passed = [read_diff(name, diff) for name, _, diff in changes if diff]
    verdicts = judged()
    fresh = [each for each in passed if each.key not in verdicts]
    stale = [
        key
        for key in verdicts
        if room.changes(*key[:2]) and key not in {each.key for each in passed}
    ]
    print(
        f"{room.name}: {len(changes)} changes, "
        f"{len(changes) - len(passed)} noticed, {len(passed) - len(fresh)} judged, "
        f"{len(fresh)} not judged ({dict(counts)})"
    )
    for each in fresh:
        print(each.row())
    for key in stale:
        print(f"no longer there, so its row can go: {' '.join(key)}")
    return 1 if fresh or any(counts[each] for each in BROKEN) else 0


if __name__ == "__main__":
    # Ended from outside, it takes its processes and the copy with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main(sys.argv[1:]))
