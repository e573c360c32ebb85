from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tocsin.core.rates import RateLimit, take_token

NOW_US = 1_800_000_000_000_000
_limits = st.lists(
    st.builds(RateLimit, st.integers(1, 20), st.integers(1, 10_000)),
    min_size=1,
    max_size=3,
)


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
