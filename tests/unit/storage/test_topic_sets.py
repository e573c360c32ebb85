"""Sets of topics with origins, and their difference."""

from __future__ import annotations

import pytest

from tocsin.core.device import TopicOp, TopicOrigin, TopicsChange
from tocsin.core.errors import BadRequest
from tocsin.storage.topic_sets import (
    change_list,
    change_origin,
    check_own_count,
    find_row_changes,
    topics_of,
)


def change(op: str, *topics: str) -> TopicsChange:
    return TopicsChange(TopicOp(op), topics)


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        (change("add", "c", "a", "c"), ["a", "b", "c"]),
        (change("remove", "a", "z"), ["b"]),
        (change("set", "y", "x", "y"), ["y", "x"]),
        (change("set"), []),
    ],
)
def test_lists_change(operation: TopicsChange, expected: list[str]) -> None:
    """Doubles vanish and the order stays."""
    assert change_list(["a", "b"], operation) == expected


def test_origin_is_changed_without_touching_others() -> None:
    """Only the bit of the given origin moves; a topic without any bit goes."""
    both = TopicOrigin.DEVICE | TopicOrigin.USER
    held = {"own": TopicOrigin.DEVICE, "users": TopicOrigin.USER, "both": both}
    assert change_origin(held, change("remove", "own", "both"), TopicOrigin.USER) == {
        "own": TopicOrigin.DEVICE,
        "users": TopicOrigin.USER,
        "both": TopicOrigin.DEVICE,
    }
    assert change_origin(held, change("set", "new", "own"), TopicOrigin.USER) == {
        "own": both,
        "both": TopicOrigin.DEVICE,
        "new": TopicOrigin.USER,
    }


def test_fresh_device_joins_three_lists() -> None:
    """A topic of several lists carries each origin."""
    assert topics_of(["a", "a", "b"], ["b"], ["b", "c"]) == {
        "a": TopicOrigin.DEVICE,
        "b": TopicOrigin.DEVICE | TopicOrigin.USER | TopicOrigin.GLOBAL,
        "c": TopicOrigin.GLOBAL,
    }


def test_row_changes_are_the_difference() -> None:
    """Equal rows are not written at all."""
    rows = {
        "same": ("1", TopicOrigin.USER),
        "other": ("2", TopicOrigin.USER),
        "gone": ("3", TopicOrigin.USER),
    }
    wanted = {
        "same": TopicOrigin.USER,
        "other": TopicOrigin.DEVICE,
        "new": TopicOrigin.GLOBAL,
    }
    changes = find_row_changes(rows, wanted)
    assert changes.gone == ["3"]
    assert changes.changed == [("2", TopicOrigin.DEVICE)]
    assert changes.added == [("new", TopicOrigin.GLOBAL)]


def test_only_own_topics_count() -> None:
    """Topics from elsewhere cannot bring a device over its limit."""
    held = {
        "a": TopicOrigin.DEVICE,
        "b": TopicOrigin.DEVICE | TopicOrigin.USER,
        "c": TopicOrigin.USER,
    }
    check_own_count(held, 2)
    with pytest.raises(BadRequest, match="topics: must hold at most 1"):
        check_own_count(held, 1)
