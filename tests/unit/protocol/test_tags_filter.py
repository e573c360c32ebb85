from __future__ import annotations

from typing import Any

import pytest

from tocsin.protocol import client_pb2 as pb
from tocsin.protocol.tags_filter import (
    BadFilter,
    compile_filter,
    compile_label_filter,
)

TAGS = {"name": "ACME", "price": "10.50", "empty": "", "minus": "-3", "word": "ten"}


def leaf(key: str, cmp: str, val: str = "", vals: tuple[str, ...] = ()) -> Any:
    return {"key": key, "cmp": cmp, "val": val, "vals": list(vals)}


CASES: list[tuple[dict[str, Any], bool]] = [
    (leaf("name", "eq", "ACME"), True),
    (leaf("name", "eq", "acme"), False),
    (leaf("gone", "eq", ""), False),
    (leaf("empty", "eq", ""), True),
    (leaf("name", "neq", "X"), True),
    (leaf("name", "neq", "ACME"), False),
    (leaf("gone", "neq", "X"), True),
    (leaf("name", "in", vals=("X", "ACME")), True),
    (leaf("name", "in", vals=("X",)), False),
    (leaf("gone", "in", vals=("X",)), False),
    (leaf("name", "nin", vals=("X",)), True),
    (leaf("name", "nin", vals=("ACME",)), False),
    (leaf("gone", "nin", vals=("X",)), True),
    (leaf("name", "ex"), True),
    (leaf("gone", "ex"), False),
    (leaf("name", "nex"), False),
    (leaf("gone", "nex"), True),
    (leaf("name", "sw", "AC"), True),
    (leaf("name", "sw", "CM"), False),
    (leaf("gone", "sw", ""), False),
    (leaf("name", "ew", "ME"), True),
    (leaf("gone", "ew", ""), False),
    (leaf("name", "ct", "CM"), True),
    (leaf("name", "ct", "XY"), False),
    (leaf("gone", "ct", ""), False),
    (leaf("price", "lt", "10.6"), True),
    (leaf("price", "lt", "10.5"), False),
    (leaf("price", "lte", "10.5"), True),
    (leaf("price", "gt", "9"), True),
    (leaf("price", "gt", "10.50"), False),
    (leaf("price", "gte", "10.50"), True),
    (leaf("minus", "lt", "0"), True),
    (leaf("word", "gt", "1"), False),
    (leaf("gone", "lt", "1"), False),
    ({"op": "leaf", **leaf("name", "ex")}, True),
    ({"op": "and", "nodes": [leaf("name", "ex"), leaf("gone", "ex")]}, False),
    ({"op": "and", "nodes": [leaf("name", "ex"), leaf("price", "ex")]}, True),
    ({"op": "or", "nodes": [leaf("name", "ex"), leaf("gone", "ex")]}, True),
    ({"op": "or", "nodes": [leaf("gone", "ex")]}, False),
    ({"op": "not", "nodes": [leaf("gone", "ex")]}, True),
    (
        {
            "op": "not",
            "nodes": [{"op": "or", "nodes": [leaf("gone", "ex"), leaf("name", "ex")]}],
        },
        False,
    ),
]


def to_message(tree: dict[str, Any]) -> pb.FilterNode:
    values = {**tree, "nodes": [to_message(each) for each in tree.get("nodes", [])]}
    return pb.FilterNode(**values)


@pytest.mark.parametrize(("tree", "expected"), CASES)
def test_conditions(tree: dict[str, Any], expected: bool) -> None:
    """Every comparison and every combination, also of what is missing."""
    assert compile_label_filter(tree)(TAGS) is expected
    assert compile_filter(to_message(tree))(TAGS) is expected


def _deep(levels: int) -> dict[str, Any]:
    tree: dict[str, Any] = leaf("name", "ex")
    for _ in range(levels):
        tree = {"op": "not", "nodes": [tree]}
    return tree


@pytest.mark.parametrize(
    "tree",
    [
        {},
        leaf("", "eq", "x"),
        leaf("name", ""),
        leaf("name", "like", "x"),
        leaf("name", "in"),
        leaf("name", "nin"),
        leaf("price", "lt", ""),
        leaf("price", "gt", "ten"),
        leaf("price", "gt", "1e9999"),
        leaf("price", "gt", "NaN"),
        {"op": "xor", "nodes": [leaf("name", "ex")]},
        {"op": "and"},
        {"op": "or", "nodes": []},
        {"op": "not"},
        {"op": "not", "nodes": [leaf("name", "ex"), leaf("name", "ex")]},
        {"op": "and", "nodes": [leaf("name", "like")]},
        _deep(40),
    ],
)
def test_bad_trees(tree: dict[str, Any]) -> None:
    """A tree that says nothing sure is refused before anybody subscribes."""
    with pytest.raises(BadFilter):
        compile_label_filter(tree)
    with pytest.raises(BadFilter):
        compile_filter(to_message(tree))


def test_nodes_that_are_no_objects() -> None:
    """Plain values come from elsewhere and are looked at first."""
    with pytest.raises(BadFilter):
        compile_label_filter({"op": "not", "nodes": [5]})
