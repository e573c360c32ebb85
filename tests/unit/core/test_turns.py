from __future__ import annotations

from collections import Counter

import pytest

from tocsin.core.lanes import Priority
from tocsin.core.turns import WaitingLines

BULK, NORMAL, TRANSACTIONAL = Priority.BULK, Priority.NORMAL, Priority.TRANSACTIONAL


def lines(**counts: int) -> WaitingLines[str]:
    made: WaitingLines[str] = WaitingLines()
    for name, count in counts.items():
        for _ in range(count):
            made.add(name, Priority(name))
    return made


def test_one_line_is_served_in_its_order() -> None:
    made: WaitingLines[int] = WaitingLines()
    for number in range(3):
        made.add(number, BULK)
    made.add_first(9, BULK)
    assert [made.pop() for _ in range(4)] == [9, 0, 1, 2]
    assert not made
    with pytest.raises(IndexError):
        made.pop()


def test_who_is_urgent_goes_before_everybody_that_waits() -> None:
    """However long the others' lines are."""
    waiting = lines(bulk=50, normal=50)
    waiting.add("transactional", TRANSACTIONAL)
    assert list(waiting.urgent) == ["transactional"]
    assert waiting.pop() == "transactional"
    assert not waiting.urgent


@pytest.mark.parametrize(
    ("counts", "turns"),
    [
        ({"transactional": 100, "bulk": 100}, {"transactional": 70, "bulk": 10}),
        ({"normal": 100, "bulk": 100}, {"normal": 70, "bulk": 10}),
        ({"transactional": 100, "normal": 100}, {"transactional": 60, "normal": 20}),
        (
            {"transactional": 100, "normal": 100, "bulk": 100},
            {"transactional": 51, "normal": 19, "bulk": 10},
        ),
    ],
)
def test_every_line_has_a_share(counts: dict[str, int], turns: dict[str, int]) -> None:
    """A quarter of the turns for the normal one, an eighth for the last."""
    waiting = lines(**counts)
    assert Counter(waiting.pop() for _ in range(80)) == turns


def test_who_leaves_is_passed_over() -> None:
    """Whatever line it is in, or none."""
    waiting = lines(bulk=1, transactional=1)
    assert waiting.remove("bulk")
    assert not waiting.remove("bulk")
    assert waiting.clear() == ["transactional"]
    assert not waiting
