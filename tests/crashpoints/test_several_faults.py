from __future__ import annotations

import random
from functools import cache

import pytest
from tests.crashpoints.faults import Point, parse_points
from tests.crashpoints.lives import LIVES, replay_line, run

SEEDS = 30
"""Tried for each life and number of processes."""
FAULTS = 3


@cache
def _points(life: str, processes: int) -> list[Point]:
    course = run(life, processes=processes)
    assert course.broken == []
    return course.points()


@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("life", LIVES)
def test_no_three_faults_break_the_promise(life: str, processes: int) -> None:
    """Of one server and worker, or of several that take over from each other."""
    found = []
    for seed in range(SEEDS):
        chance = random.Random(f"{life} {processes} {seed}")
        points = chance.sample(_points(life, processes), FAULTS)
        course = run(life, points, seed=seed, processes=processes)
        if course.broken:
            found.append("; ".join(course.broken))
            found.append(f"    {replay_line(life, points, seed, processes)}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("life", "points", "seed", "processes"),
    [
        (
            "lost",
            "verdicts.note:1:end-before,marks.enter:9:end-after,queue.enqueue:3:stall-before",
            3100,
            3,
        ),
        (
            "lost",
            (
                "accounts.changed:5:fail-before,log.hold:1:stall-after,"
                "log.plan_repair:2:stall-before"
            ),
            1001,
            3,
        ),
        (
            "lost",
            (
                "verdicts.note:5:fail-before,log.hold:1:stall-after,"
                "queue.settle:23:stall-after"
            ),
            1004,
            2,
        ),
    ],
)
def test_what_was_found_once_stays_mended(
    life: str, points: str, seed: int, processes: int
) -> None:
    """A keeper that stood still took the log for one that went back.

    A first call and a repeat of it counted the same work under two names.
    """
    course = run(life, parse_points(points), seed=seed, processes=processes)
    assert course.broken == []
