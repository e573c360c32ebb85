"""The parts of the take-over promise, and a number that went back.

It tells how much is missing, and nothing else does.
"""

from __future__ import annotations

import pytest

from tocsin.queue.rules import HighWater, Timing


@pytest.mark.parametrize("takeover_s", [0.5, 4, 15, 60])
def test_silence_notice_and_wait_fit_into_the_promise(takeover_s: float) -> None:
    """Silent, one beat until the next look and one blocked wait: still in time."""
    timing = Timing(takeover_s)
    assert timing.silent_ms / 1000 + 2 * timing.beat_s < takeover_s


@pytest.mark.parametrize("takeover_s", [0.5, 4, 15, 60])
def test_a_holder_stops_before_another_may_begin(takeover_s: float) -> None:
    """With time for three renewals before, and for the last answers after that."""
    timing = Timing(takeover_s)
    assert 3 * takeover_s / 5 <= timing.trusted_s < timing.silent_ms / 1000


def test_default_promise() -> None:
    """15 s is 12 s of silence and a look per second."""
    timing = Timing(15)
    assert (timing.silent_ms, timing.beat_s) == (12_000, 1.0)


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
