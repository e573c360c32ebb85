from __future__ import annotations

from tocsin.providers.answer_class import hide_targets


def test_targets_are_hidden_wherever_they_stand() -> None:
    """Also one inside another, and two that overlap."""
    text = "abc, bc and cde: abcde"
    assert (
        hide_targets(text, ["bc", "abc", "cde"])
        == "<target>, <target> and <target>: <target>"
    )
    assert hide_targets("about a-b", ["a-b"], mark="<it>") == "about <it>"
    assert hide_targets("nothing", ["", "x"]) == "nothing"


def test_marks_are_not_searched_for_targets() -> None:
    """Users may be named like letters of a mark: each mark would become many."""
    targets = ["t", "a", "r", "g", "e", "t", "target"] * 40
    assert hide_targets("eat", targets) == "<target><target><target>"
