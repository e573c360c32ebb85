"""A number that went back tells how much is missing, and nothing else does."""

from __future__ import annotations

from tocsin.queue.high_water import HighWater


def test_a_number_that_rises_misses_nothing() -> None:
    """Whoever else is given numbers in between."""
    water = HighWater()
    for number in (3, 4, 9):
        water.take(number, before=water.certain)
        water.compare(number + 5, before=water.certain)
    assert (water.certain, water.missing) == (9, 0)


def test_answers_out_of_order_miss_nothing() -> None:
    """Of two requests at once the later number may be heard first."""
    water = HighWater()
    before = water.certain
    water.take(12, before=before)
    water.take(11, before=before)
    water.compare(10, before=before)
    assert (water.certain, water.missing) == (12, 0)


def test_a_look_that_finds_less_tells_how_much() -> None:
    """It is counted once, however often it is looked at."""
    water = HighWater()
    water.take(100, before=0)
    for _ in range(3):
        water.compare(90, before=water.certain)
    assert (water.certain, water.missing) == (90, 10)


def test_a_number_given_twice_tells_it_before_anybody_looks() -> None:
    """Else a queue that is busy would have overtaken what it lost."""
    water = HighWater()
    water.take(100, before=0)
    before = water.certain
    water.take(91, before=before)
    water.take(92, before=before)
    water.compare(150, before=water.certain)
    assert (water.certain, water.missing) == (92, 10)
