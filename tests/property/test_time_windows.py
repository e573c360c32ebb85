from __future__ import annotations

from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from tocsin.core.push import TimeWindow
from tocsin.delivery.limits import opens_at_ms


@given(
    after_s=st.integers(0, 86_399),
    before_s=st.integers(0, 86_399),
    now_s=st.integers(1_700_000_000, 1_900_000_000),
    zone=st.sampled_from(
        ["UTC", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca"]
    ),
)
def test_every_opening_is_ahead_and_open(
    after_s: int, before_s: int, now_s: int, zone: str
) -> None:
    """What is put off is put off to a moment at which it may go out."""
    span = TimeWindow(after_s, before_s)
    zone_info = ZoneInfo(zone)
    due_ms = opens_at_ms(span, zone_info, now_s * 1000)
    if due_ms:
        assert now_s * 1000 < due_ms <= (now_s + 3 * 86_400) * 1000
        assert opens_at_ms(span, zone_info, due_ms) == 0
