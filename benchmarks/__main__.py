"""Runs the benchmarks and writes benchmarks/RESULTS.md.

    python -m benchmarks                 all of them
    python -m benchmarks engine sends    some; the others keep their last results
    python -m benchmarks walk            modules that a send and a subscribe pass

Each one is a function that measures and returns Markdown. Figures of one section
come from one run; compare ratios, not sections measured on different days.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from benchmarks import sections, walk

RESULTS = Path(__file__).with_name("RESULTS.md")
KEPT = Path(__file__).with_name("results.json")

INTRODUCTION = """\
# Measurements

Written by `make bench` (`python -m benchmarks`). Client, server and sink share the
machine named below, so absolute figures say little elsewhere: the ratios within one
section are what counts. Each section names its command; sections are measured one
after the other, never at once.
"""


def describe_machine() -> str:
    """Processor count and versions, for the head of a section."""
    packages = ("grpcio", "aiohttp", "uvloop", "sqlalchemy", "psycopg", "redis")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
    ).stdout.strip()
    return (
        f"{os.cpu_count()} processors, {platform.system()} {platform.machine()},"
        f" Python {platform.python_version()}, {versions}; commit {commit};"
        f" {time.strftime('%Y-%m-%d')}."
    )


def main() -> None:
    """Measure what was asked for and rewrite the page."""
    if sys.argv[1:2] == ["walk"]:
        walk.main(sys.argv[2:])  # counts modules, so it has no place on the page
        return
    names = [name for name, _ in sections.ALL]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(names))
    wanted = parser.parse_args().sections or names
    if unknown := set(wanted) - set(names):
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    kept: dict[str, str] = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    for name, measure in sections.ALL:
        if name in wanted:
            print(f"--- {name}", file=sys.stderr, flush=True)
            kept[name] = _measure(name, measure)
            KEPT.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
            _write(kept, names)
            print(kept[name], flush=True)


def _measure(name: str, measure: Callable[[], str]) -> str:
    head = f"Command: `python -m benchmarks {name}`. {describe_machine()}"
    return f"{measure().strip()}\n\n{head}\n"


def _write(kept: dict[str, str], names: list[str]) -> None:
    parts = [kept[name] for name in names if name in kept]
    RESULTS.write_text("\n".join([INTRODUCTION, *parts]))


if __name__ == "__main__":
    main()
