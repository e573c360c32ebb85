"""The parts of the take-over promise."""

from __future__ import annotations

import time

import pytest

from tocsin.queue.timing import Timing, WallClock


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


def test_wall_clock_is_unix_milliseconds() -> None:
    """It agrees with the system's time."""
    assert abs(WallClock().now_ms() - time.time() * 1000) < 1000
