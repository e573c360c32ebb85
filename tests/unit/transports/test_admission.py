from __future__ import annotations

import pytest

from tocsin.transports.admission import Admission, Origins


@pytest.mark.parametrize(
    ("patterns", "origin", "expected"),
    [
        ([], None, True),
        ([], "", True),
        ([], "https://a.example", False),
        (["*"], "https://a.example", True),
        (["https://a.example"], "https://A.Example", True),
        (["https://A.example"], "https://a.example", True),
        (["https://*.example"], "https://x.example", True),
        (["https://*.example"], "https://example", False),
        (["https://a.example"], "https://a.example.evil", False),
        (["https://a.example", "null"], "null", True),
    ],
)
def test_origins(patterns: list[str], origin: str | None, expected: bool) -> None:
    """No Origin is no browser; any other must match a pattern as a whole."""
    assert Origins(patterns).allows(origin) is expected


def test_connection_limit() -> None:
    """Open connections are counted in and out."""
    admission = Admission(2, 0, clock=lambda: 0.0)
    assert [admission.enter() for _ in range(3)] == [True, True, False]
    assert admission.refused_by == "client.connection_limit"
    admission.leave()
    assert admission.enter()
    assert admission.num_open == 2


def test_rate_limit() -> None:
    """New connections per second are limited, with a second's worth at once."""
    now_s = 0.0
    admission = Admission(0, 2, clock=lambda: now_s)
    assert [admission.enter() for _ in range(3)] == [True, True, False]
    assert admission.refused_by == "client.connection_rate_limit"
    now_s = 0.5
    assert [admission.enter() for _ in range(2)] == [True, False]
    now_s = 60.0
    assert [admission.enter() for _ in range(3)] == [True, True, False]


def test_other_limits_hold_from_the_next_connection_on() -> None:
    """Who is connected stays, and counts; a rate that stays is not filled up anew."""
    admission = Admission(1, 2, clock=lambda: 0.0)
    assert [admission.enter(), admission.enter()] == [True, False]
    admission.replace(5, 2)
    assert [admission.enter(), admission.enter()] == [True, False]
    assert admission.refused_by == "client.connection_rate_limit"
    admission.replace(2, 3)
    assert not admission.enter()
    assert admission.refused_by == "client.connection_limit"
    admission.replace(0, 0)
    assert all(admission.enter() for _ in range(10))
