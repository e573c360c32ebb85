"""When a failed send is tried again."""

from __future__ import annotations

from collections import Counter

import pytest

from tocsin.core.outcome import Outcome, Verdict
from tocsin.delivery.retries import RetryPolicy

FAULT = Outcome(Verdict.RETRY, "unavailable")


@pytest.mark.parametrize(
    ("provider", "attempt", "least", "bound"),
    [
        ("apns", 0, 0, 1),
        ("apns", 3, 0, 8),
        ("fcm", 0, 10, 20),
        ("fcm", 1, 10, 30),
        ("fcm", 2, 10, 50),
    ],
)
def test_delays_are_spread_evenly_up_to_a_bound_that_doubles(
    provider: str, attempt: int, least: float, bound: float
) -> None:
    """From nothing on, or from what the provider asks for at least."""
    policy = RetryPolicy(
        first_delay_by_provider={"fcm": 10.0}, least_delay_by_provider={"fcm": 10.0}
    )
    delays = [policy.delay_s(provider, attempt, FAULT) for _ in range(2000)]
    assert least <= min(delays)
    assert max(delays) <= bound
    width = (bound - least) / 4
    quarters = Counter(min(3, int((delay - least) / width)) for delay in delays)
    assert all(300 < quarters[quarter] < 700 for quarter in range(4)), quarters


@pytest.mark.parametrize("attempt", [5, 9, 100_000])
def test_no_delay_is_longer_than_the_cap(attempt: int) -> None:
    """And few are as long: those above it are not cut off, which would be a wave."""
    policy = RetryPolicy(first_delay_s=80.0, max_delay_s=300.0)
    delays = [policy.delay_s("apns", attempt, FAULT) for _ in range(2000)]
    assert max(delays) <= 300.0
    assert 100 < sum(delay > 270.0 for delay in delays) < 320


def test_a_cap_below_the_least_delay_wins() -> None:
    """It was set by a person, who sees what comes of it."""
    policy = RetryPolicy(least_delay_by_provider={"fcm": 10.0}, max_delay_s=2.0)
    assert policy.delay_s("fcm", 0, FAULT) == 2.0


def test_retry_after_wins() -> None:
    """The provider's own wish is taken as it is, however long or short."""
    policy = RetryPolicy()
    wish = Outcome(Verdict.RETRY, "quota_exceeded", retry_after_s=700.0)
    assert policy.delay_s("fcm", 5, wish) == 700.0
    now = Outcome(Verdict.RETRY, "quota_exceeded", retry_after_s=0.0)
    assert policy.delay_s("fcm", 5, now) == 0.0


def test_the_end_of_all_tries_counts_from_the_first() -> None:
    """In milliseconds: an hour, unless another age is set."""
    assert RetryPolicy().gives_up_at_ms(5) == 3_600_005
    assert RetryPolicy(max_age_s=0.25).gives_up_at_ms(5) == 255
