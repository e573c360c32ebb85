"""Replays one life: `python -m tests.crashpoints walk --at log.hold:1:end-after`."""

from __future__ import annotations

import argparse
import sys

from tests.crashpoints.faults import parse_points
from tests.crashpoints.lives import LIVES, run


def main() -> int:
    """Print how it went; 1 if the promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.crashpoints")
    parser.add_argument("life", choices=LIVES)
    parser.add_argument("--at", default="", help="call:number:fault,...")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--calls", action="store_true", help="list the calls")
    told = parser.parse_args()
    course = run(
        told.life, parse_points(told.at), seed=told.seed, processes=told.processes
    )
    if told.calls:
        for call in course.calls:
            print(f"{call.name}:{call.number}{' idle' if call.idle else ''}")
    print(f"met: {', '.join(course.met) or 'no fault'}; {course.lasted_s:.1f} s")
    for sentence in course.broken:
        print(f"BROKEN {sentence}")
    return 1 if course.broken else 0


if __name__ == "__main__":
    sys.exit(main())
