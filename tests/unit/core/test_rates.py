from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tocsin.core.rates import RateLimit, buckets_name, take_token

NOW_US = 1_800_000_000_000_000
_limits = st.lists(
    st.builds(RateLimit, st.integers(1, 20), st.integers(1, 10_000)),
    min_size=1,
    max_size=3,
)


def test_a_full_bucket_holds_its_rate() -> None:
    """As many at once as the rate says, then the next after one share of the time."""
    limits = [RateLimit(3, 1000)]
    states = [0]
    for _ in range(3):
        allowed_us, states = take_token(states, limits, NOW_US)
        assert allowed_us == 0
    allowed_us, same = take_token(states, limits, NOW_US)
    assert allowed_us == NOW_US + limits[0].spacing_us
    assert same == states
    allowed_us, states = take_token(states, limits, allowed_us)
    assert allowed_us == 0


def test_all_buckets_or_none() -> None:
    """What one limit refuses takes nothing from the others."""
    limits = [RateLimit(5, 1000), RateLimit(1, 60_000)]
    _, states = take_token([0, 0], limits, NOW_US)
    allowed_us, after = take_token(states, limits, NOW_US)
    assert allowed_us == NOW_US + 60_000_000
    assert after == states


def test_a_rate_that_does_not_divide_its_time() -> None:
    """Rounding takes no token away from a full bucket."""
    limits = [RateLimit(7, 1000)]
    states = [0]
    passed = 0
    while True:
        allowed_us, states = take_token(states, limits, NOW_US)
        if allowed_us:
            break
        passed += 1
    assert passed == 7


@given(
    limits=_limits,
    waits=st.lists(st.integers(0, 3_000_000), min_size=1, max_size=80),
)
def test_no_window_ever_has_more_than_its_rate(
    limits: list[RateLimit], waits: list[int]
) -> None:
    """In any span: a full bucket, and what flowed in during the span."""
    states = [0] * len(limits)
    now = NOW_US
    passed: list[int] = []
    for wait in waits:
        now += wait
        allowed_us, states = take_token(states, limits, now)
        if allowed_us:
            assert allowed_us > now
        else:
            passed.append(now)
    for limit in limits:
        for start, first in enumerate(passed):
            for number, at in enumerate(passed[start:], start=1):
                inflow = (at - first) / limit.spacing_us
                assert number <= limit.rate + inflow + 1e-9


def test_buckets_are_told_apart_by_key_and_limits() -> None:
    """The same key under other limits has other buckets."""
    names = {
        buckets_name("a", [RateLimit(1, 10)]),
        buckets_name("b", [RateLimit(1, 10)]),
        buckets_name("a", [RateLimit(1, 11)]),
        buckets_name("a", [RateLimit(1, 10), RateLimit(2, 5)]),
    }
    assert len(names) == 4
