"""Conditions over tags, compiled once and asked often. Part of `protocol`: pure.

It must not know channels. The same trees filter publications by their tags and
connections by their labels.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from tocsin.protocol import client_pb2 as pb

Condition = Callable[[Mapping[str, str]], bool]

_DECIMAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_MAX_DEPTH = 32  # conditions call each other: a deep tree would use up the stack


class BadFilter(ValueError):
    """A tree that cannot be read as a condition."""


def compile_filter(node: pb.FilterNode) -> Condition:
    """The condition of a tree from a client; raises `BadFilter`."""
    return _compile(
        {
            "op": node.op,
            "key": node.key,
            "cmp": node.cmp,
            "val": node.val,
            "vals": node.vals,
            "nodes": node.nodes,
        },
        _MAX_DEPTH,
    )


def compile_label_filter(node: Mapping[str, Any]) -> Condition:
    """The condition of a tree of plain values; raises `BadFilter`."""
    return _compile(node, _MAX_DEPTH)


def _compile(node: Mapping[str, Any], depth: int) -> Condition:
    if depth == 0:
        raise BadFilter("too deep")
    op = node.get("op") or ""
    if op in {"", "leaf"}:
        return _leaf(node)
    inner = [_compile(_plain(child), depth - 1) for child in node.get("nodes") or ()]
    if op == "not" and len(inner) == 1:
        negated = inner[0]
        return lambda tags: not negated(tags)
    if op == "and" and inner:
        return lambda tags: all(condition(tags) for condition in inner)
    if op == "or" and inner:
        return lambda tags: any(condition(tags) for condition in inner)
    raise BadFilter(f"op {op} with {len(inner)} nodes")


def _plain(node: Any) -> Mapping[str, Any]:
    if isinstance(node, pb.FilterNode):
        return {
            field.name: getattr(node, field.name) for field in node.DESCRIPTOR.fields
        }
    if not isinstance(node, Mapping):
        raise BadFilter("node is no object")
    return node


def _leaf(node: Mapping[str, Any]) -> Condition:
    key, comparison = node.get("key") or "", node.get("cmp") or ""
    if not key:
        raise BadFilter("leaf without key")
    if comparison in _SET_COMPARISONS:
        return _set_leaf(key, comparison, node.get("vals") or ())
    if comparison in _NUMBER_COMPARISONS:
        return _number_leaf(key, comparison, node.get("val") or "")
    build = _TEXT_COMPARISONS.get(comparison)
    if build is None:
        raise BadFilter(f"cmp {comparison}")
    return build(key, node.get("val") or "")


_TEXT_COMPARISONS: dict[str, Callable[[str, str], Condition]] = {
    "eq": lambda key, val: lambda tags: tags.get(key) == val,
    "neq": lambda key, val: lambda tags: tags.get(key) != val,
    "ex": lambda key, _: lambda tags: key in tags,
    "nex": lambda key, _: lambda tags: key not in tags,
    "sw": lambda key, val: lambda tags: key in tags and tags[key].startswith(val),
    "ew": lambda key, val: lambda tags: key in tags and tags[key].endswith(val),
    "ct": lambda key, val: lambda tags: key in tags and val in tags[key],
}
_SET_COMPARISONS = frozenset({"in", "nin"})
_NUMBER_COMPARISONS: dict[str, Callable[[Decimal, Decimal], bool]] = {
    "lt": lambda have, want: have < want,
    "lte": lambda have, want: have <= want,
    "gt": lambda have, want: have > want,
    "gte": lambda have, want: have >= want,
}


def _set_leaf(key: str, comparison: str, vals: Sequence[str]) -> Condition:
    wanted = frozenset(vals)
    if not wanted:
        raise BadFilter(f"{comparison} without vals")
    # A missing tag is in no set, so that `nin` lets it through; `neq` does as well.
    if comparison == "in":
        return lambda tags: tags.get(key) in wanted
    return lambda tags: tags.get(key) not in wanted


def _number_leaf(key: str, comparison: str, val: str) -> Condition:
    wanted = _parse_decimal(val)
    if wanted is None:
        raise BadFilter(f"{comparison} with a val that is no number")
    compare = _NUMBER_COMPARISONS[comparison]

    def condition(tags: Mapping[str, str]) -> bool:
        have = _parse_decimal(tags.get(key, ""))
        return have is not None and compare(have, wanted)

    return condition


def _parse_decimal(text: str) -> Decimal | None:
    return Decimal(text) if _DECIMAL.fullmatch(text) else None
