from __future__ import annotations

from tocsin.http2.connecting import FIRST_S, MAX_S, Backoff


def test_waits_grow_and_are_bounded() -> None:
    """Each failure in a row doubles the wait, within a quarter, up to the maximum."""
    backoff = Backoff()
    assert backoff.wait_s(0.0) == backoff.wait_s(5.0) == 0.0
    assert backoff.reason == ""
    for failure in range(30):
        backoff.failed(f"reason {failure}", 100.0)
        middle = min(MAX_S, FIRST_S * 2**failure)
        assert 0.75 * middle <= backoff.wait_s(100.0) <= 1.25 * middle
    assert backoff.reason == "reason 29"
    assert backoff.failures == 30
    assert backoff.wait_s(100.0 + 1.25 * MAX_S) == 0.0


def test_an_answer_starts_the_count_again() -> None:
    """After one answer, the next failure waits as short as the first."""
    backoff = Backoff()
    for _ in range(5):
        backoff.failed("x", 0.0)
    backoff.worked()
    backoff.failed("y", 0.0)
    assert backoff.wait_s(0.0) <= 1.25 * FIRST_S
