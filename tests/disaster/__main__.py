"""`make disaster`: seeded disasters against real processes, and who was lost."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

import tests.support.children  # noqa: F401 - before gRPC: see there
from tests.disaster import clocks
from tests.disaster.run import Result, play
from tests.disaster.schedule import CLASSES, ONE_KILL, make_one_kill, make_plan
from tests.disaster.stage import make_template
from tests.support.postgres import start_postgres, temporary_root


def main(arguments: Sequence[str]) -> int:
    """Play the runs; 1 where anything accepted was lost."""
    asked = _parse(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    classes = list(asked.faults)
    if "clocks" in classes and not clocks.find_library():
        print(clocks.NOTE)
        classes.remove("clocks")
    failed = 0
    with ExitStack() as stack:
        root = Path(
            stack.enter_context(
                tempfile.TemporaryDirectory(
                    prefix="tocsin-disaster-", dir=temporary_root()
                )
            )
        )
        root.chmod(0o711)
        # As durable as PostgreSQL is by default: what it answered outlives a kill.
        postgres = start_postgres(root / "postgres", fsync=True)
        stack.callback(postgres.stop)
        make_template(postgres, root)
        certificates = root / "provider"
        certificates.mkdir()
        for seed in range(asked.seed, asked.seed + asked.runs):
            plan = (
                make_one_kill(seed, asked.recipients)
                if ONE_KILL in classes
                else make_plan(seed, asked.recipients, classes)
            )
            directory = root / f"run-{seed}"
            directory.mkdir()
            if asked.verbose:
                print(*plan.faults, sep="\n")
            result = play(plan, directory, postgres, certificates)
            _tell(result, directory, asked.faults)
            if asked.verbose:
                phases = zip(
                    ("ready", "faults over", "settled"), result.phases, strict=True
                )
                print("  " + ", ".join(f"{name} {at_s:.1f} s" for name, at_s in phases))
            failed += result.failed
            shutil.rmtree(directory)
    if asked.runs > 1:
        print(f"{asked.runs} runs, {failed} of them failed")
    return 1 if failed else 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make disaster")
    parser.add_argument("--seed", type=int, default=1, help="of the first run")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--recipients", type=int, default=2000)
    parser.add_argument(
        "--faults",
        type=_classes,
        default=CLASSES,
        help=f"classes, with commas: {', '.join(CLASSES)}; or {ONE_KILL} alone",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="list the faults")
    return parser.parse_args(arguments)


def _classes(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if unknown := set(names) - {*CLASSES, ONE_KILL}:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}")
    return names


def _tell(result: Result, directory: Path, classes: Sequence[str]) -> None:
    plan, account = result.plan, result.account
    about = f"{plan.queue}, {plan.servers}+{plan.workers} processes"
    print(f"seed {plan.seed}: {account.line()}  ({about}, {result.took_s:.0f} s)")
    if result.failed:
        for line in account.details():
            print(f"  {line}")
        for line in result.wrong:
            print(f"  wrong: {line}")
        for fault in plan.faults:
            print(f"  fault: {fault}")
        kept = Path(tempfile.mkdtemp(prefix=f"tocsin-disaster-{plan.seed}-"))
        for log in [*directory.glob("*.log"), *directory.glob("redis/*.log")]:
            shutil.copy(log, kept / log.name)
        print(f"  logs: {kept}")
        narrowed = (
            "" if set(classes) == set(CLASSES) else f" FAULTS={','.join(classes)}"
        )
        print(f"  replay: make disaster SEED={plan.seed}{narrowed}")
    sys.stdout.flush()


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
