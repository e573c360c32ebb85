from __future__ import annotations

import pytest
from tests.crashpoints.faults import Point
from tests.crashpoints.lives import LIVES, replay_line, run

SHARES = 4
"""Each life is tried in so many tests, which may run beside each other."""


@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("life", LIVES)
def test_no_fault_at_any_call_of_a_port_breaks_the_promise(
    life: str, share: int
) -> None:
    """The process ends, the call fails, or it all stands still: before and after."""
    undisturbed = run(life)
    assert undisturbed.broken == []
    points = undisturbed.points()[share::SHARES]
    assert points
    found = [line for point in points if (line := _try(life, point))]
    assert not found, "\n".join(found)


def test_a_life_takes_the_same_course_each_time() -> None:
    """Else a line that replays a failure would be worth nothing."""
    point = Point("queue.settle", 2)
    first, second = (run("walk", [point], seed=3) for _ in range(2))
    assert first.calls == second.calls
    assert first.met == ["queue.settle:2:end-before"]


def test_a_promise_that_is_broken_is_seen() -> None:
    """A worker that never comes back leaves its send open."""
    course = run("walk", [Point("queue.receive", 1)], workers=0)
    assert any("walk-ok-0 is lost" in line for line in course.broken)


def _try(life: str, point: Point) -> str:
    course = run(life, [point])
    if not course.met:
        return f"{point} was not met; {replay_line(life, [point])}"
    if not course.broken:
        return ""
    return f"{'; '.join(course.broken)}\n    {replay_line(life, [point])}"
