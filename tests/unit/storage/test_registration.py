"""Who keeps which id when many register at once."""

from __future__ import annotations

from tocsin.core.device import Registration
from tocsin.core.ids import is_id
from tocsin.storage.registration import KeyedRegistration, plan_ids


def entry(key: str, id: str = "") -> KeyedRegistration:
    return KeyedRegistration(Registration("fcm", key, "ios", id=id), key)


def test_each_row_of_the_table() -> None:
    """Fresh, known by token, rotated, merged, and unknown id."""
    by_key = {"k1": "A", "k2": "B", "k3": "C", "k4": "D"}
    plan = plan_ids(
        [
            entry("new"),
            entry("k1"),
            entry("rotated", id="B"),
            entry("k3", id="D"),
            entry("new2", id="unknown"),
        ],
        set(by_key.values()),
        by_key,
    )
    assert plan.ids[1:4] == ["A", "B", "D"]
    assert all(is_id(plan.ids[n] or "") for n in (0, 4))
    assert plan.known == {"A", "B", "D"}
    assert plan.merged == ["C"]


def test_what_an_earlier_one_touches_is_put_off() -> None:
    """The same token, the same id, a row about to be merged, a token left."""
    by_key = {"k1": "A", "k2": "B"}
    plan = plan_ids(
        [
            entry("k2", id="A"),
            entry("k1"),
            entry("k2"),
            entry("x", id="B"),
            entry("y", id="A"),
            entry("free"),
            entry("free"),
        ],
        {"A", "B"},
        by_key,
    )
    assert plan.ids[0] == "A"
    assert plan.ids[1:5] == [None] * 4
    assert plan.ids[5] is not None
    assert plan.ids[6] is None
    assert plan.merged == ["B"]


def test_the_first_is_never_put_off() -> None:
    """Every transaction makes progress, also with the token under its own id."""
    assert plan_ids([entry("k", id="A")], {"A"}, {"k": "A"}).ids == ["A"]
