"""When a failed send is tried again."""

from __future__ import annotations

import pytest

from tocsin.core.outcome import Outcome, Verdict
from tocsin.delivery.settlement import RetryPolicy

FAULT = Outcome(Verdict.RETRY, "unavailable")


@pytest.mark.parametrize(
    ("provider", "attempt", "base"),
    [("fcm", 0, 10), ("fcm", 1, 20), ("apns", 0, 1), ("apns", 3, 8)],
)
def test_delays_double_up_to_the_cap(provider: str, attempt: int, base: float) -> None:
    """The first delay is the provider's; jitter stays between 1 and 1.5 times."""
    policy = RetryPolicy(first_delay_by_provider={"fcm": 10.0})
    delays = [policy.delay_s(provider, attempt, FAULT) for _ in range(200)]
    assert base <= min(delays)
    assert max(delays) <= base * 1.5
    assert max(delays) - min(delays) > base * 0.1


@pytest.mark.parametrize("attempt", [5, 9, 100_000])
def test_no_delay_is_longer_than_the_cap(attempt: int) -> None:
    """The cap is the longest wait, with jitter too, for any attempt number."""
    policy = RetryPolicy(first_delay_s=8.0, max_delay_s=300.0)
    delays = [policy.delay_s("apns", attempt, FAULT) for _ in range(200)]
    assert min(delays) >= 256.0
    assert max(delays) == 300.0


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
