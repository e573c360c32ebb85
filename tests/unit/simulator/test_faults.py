from __future__ import annotations

from typing import Any

import pytest

from tocsin.simulator import faults as module
from tocsin.simulator.faults import Fault, FaultPlan, WrongFault


@pytest.mark.parametrize("fault", list(Fault))
def test_each_word_is_documented(fault: Fault) -> None:
    """The table in the module's docstring has a row for every fault."""
    assert f"| `{fault.value}` " in (module.__doc__ or "")


@pytest.mark.parametrize(
    "target", ["", "dead", "dEad-x", "device-1", "x-dead-1", "-dead", "APA91b:dead-1"]
)
def test_ordinary_targets_meet_no_fault(target: str) -> None:
    """Only a known word at the very start, with a hyphen, is a fault."""
    assert FaultPlan().choose(target) is None


def test_a_lasting_fault_lasts() -> None:
    """`dead-` never recovers."""
    plan = FaultPlan()
    assert [plan.choose("dead-1") for _ in range(3)] == [(Fault.DEAD, 0)] * 3


def test_a_number_says_how_many_times() -> None:
    """`flaky2-` fails twice for each target, then lets it through."""
    plan = FaultPlan()
    seen = [plan.choose("flaky2-1") for _ in range(3)]
    assert seen == [(Fault.FLAKY, 0), (Fault.FLAKY, 0), None]
    assert plan.choose("flaky2-2") == (Fault.FLAKY, 0)


def test_some_faults_pass_after_once() -> None:
    """`drop-` without a number drops the first time only."""
    plan = FaultPlan()
    assert [plan.choose("drop-1") for _ in range(2)] == [(Fault.DROP, 0), None]


def test_slow_takes_milliseconds() -> None:
    """The number behind `slow` is a time, not a count."""
    plan = FaultPlan()
    assert plan.choose("slow250-1") == (Fault.SLOW, 250)
    assert plan.choose("slow-1") == (Fault.SLOW, module.SLOW_MS)


def test_a_forced_fault_counts_down() -> None:
    """A fault of the control endpoint hits any target, so many times."""
    plan = FaultPlan()
    plan.change({"send": {"fault": "internal", "times": 2}})
    seen = [plan.choose("device-1") for _ in range(3)]
    assert [one[0] if one else None for one in seen] == [
        Fault.INTERNAL,
        Fault.INTERNAL,
        None,
    ]


def test_a_forced_fault_without_times_lasts_until_it_is_taken_back() -> None:
    """`null` ends what the control endpoint began."""
    plan = FaultPlan()
    plan.change({"send": {"fault": "internal"}})
    assert all(plan.choose("device-1") for _ in range(5))
    plan.change({"send": None})
    assert plan.choose("device-1") is None


@pytest.mark.parametrize(
    "wish",
    [
        {"nonsense": 1},
        {"max_streams": 0},
        {"max_streams": "10"},
        {"max_streams": True},
        {"send": {"fault": "nonsense"}},
        {"send": {"fault": "dead", "times": 0}},
        {"token": "invalid_grant"},
        {"token": {"status": 200}},
    ],
)
def test_a_wrong_wish_changes_nothing(wish: dict[str, Any]) -> None:
    """A control request is taken whole or refused whole."""
    plan = FaultPlan()
    with pytest.raises(WrongFault):
        plan.change({"goaway_after": 7, **wish})
    assert plan.goaway_after == 0


def test_token_faults_count_down() -> None:
    """The token endpoint fails as often as told."""
    plan = FaultPlan()
    plan.change({"token": {"status": 503, "times": 2}})
    statuses = [fault and fault.status for fault in map(_take, [plan] * 3)]
    assert statuses == [503, 503, None]


def _take(plan: FaultPlan) -> Any:
    return plan.take_token_fault()
