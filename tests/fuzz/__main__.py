"""`make fuzz`: search for inputs that break a rule at a door for foreign bytes."""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import structlog
from tests.fuzz.corpus import keep, read_corpus
from tests.fuzz.coverage import Coverage, open_coverage
from tests.fuzz.engine import Finding, examine, search
from tests.fuzz.target import Target
from tests.fuzz.targets.table import TARGETS


def main(arguments: Sequence[str]) -> int:
    """Search, or replay one input; 1 where a rule was broken."""
    asked = _parse(arguments)
    targets = [TARGETS[asked.target]] if asked.target else list(TARGETS.values())
    if asked.input:
        return _replay(targets, asked.input)
    seed = random.SystemRandom().getrandbits(32) if asked.seed is None else asked.seed
    # Debug lines of hundreds of thousands of inputs would hide what is found.
    structlog.configure(processors=[_drop])
    print(f"seed {seed}; the same again: make fuzz {_again(asked, seed)}")
    coverage = open_coverage()
    each_s = asked.seconds / len(targets)
    found = sum(
        _search(target, coverage, seed, each_s, grow=asked.grow) for target in targets
    )
    print(f"{found} findings in {len(targets)} targets" if found else "no findings")
    return 1 if found else 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120, help="of all targets")
    parser.add_argument("--target", choices=sorted(TARGETS), help="one target alone")
    parser.add_argument("--seed", type=int, help="repeats the chance of a run")
    parser.add_argument("--input", type=Path, help="a file to replay; needs --target")
    parser.add_argument(
        "--grow", action="store_true", help="keep inputs that reach new lines"
    )
    asked = parser.parse_args(arguments)
    if asked.input and not asked.target:
        parser.error("--input needs --target: which door is meant?")
    return asked


def _drop(*_: object) -> Any:
    raise structlog.DropEvent


def _again(asked: argparse.Namespace, seed: int) -> str:
    target = f" TARGET={asked.target}" if asked.target else ""
    return f"SEED={seed} SECONDS={asked.seconds:g}{target}"


def _replay(targets: Sequence[Target], path: Path) -> int:
    finding = examine(targets[0], path.read_bytes())
    print("no rule is broken" if finding is None else finding.error)
    return 0 if finding is None else 1


def _search(
    target: Target, coverage: Coverage, seed: int, seconds: float, *, grow: bool
) -> int:
    corpus = [*target.examples(), *read_corpus(target.name).values()]
    done = search(target, corpus, coverage, seed=seed, seconds=seconds)
    print(f"{target.name:24} {done.tried:>8} tried, {len(done.new)} new", flush=True)
    for finding in done.findings:
        _report(finding)
    if grow:
        for data in done.new:
            keep(target.name, data, "new")
    return len(done.findings)


def _report(finding: Finding) -> None:
    path = keep(finding.target, finding.data, "found")
    print(f"  FOUND {finding.error}")
    shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    print(f"  replay: make fuzz TARGET={finding.target} INPUT={shown}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
