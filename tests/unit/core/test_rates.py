from __future__ import annotations

from tocsin.core.rates import RateLimit, buckets_name, take_token

NOW_US = 1_800_000_000_000_000


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


def test_buckets_are_told_apart_by_key_and_limits() -> None:
    """The same key under other limits has other buckets."""
    names = {
        buckets_name("a", [RateLimit(1, 10)]),
        buckets_name("b", [RateLimit(1, 10)]),
        buckets_name("a", [RateLimit(1, 11)]),
        buckets_name("a", [RateLimit(1, 10), RateLimit(2, 5)]),
    }
    assert len(names) == 4
