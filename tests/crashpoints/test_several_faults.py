from __future__ import annotations

import random
from functools import cache

import pytest
from tests.crashpoints.faults import Point
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
