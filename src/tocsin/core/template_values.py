"""What templates are made of: values with a kind, and the functions on them. Pure.

Kinds are checked when an expression is built; evaluating one cannot fail.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


@dataclass(slots=True)
class DeviceFields:
    """What a template sees of one device. `l10n` are the texts of its language."""

    id: str
    user: str = ""
    meta: Mapping[str, str] = field(default_factory=dict)
    l10n: Mapping[str, str] = field(default_factory=dict)


class ValueKind(Enum):
    """What an expression yields."""

    TEXT = "text"
    MAP = "map"
    TRUTH = "truth"


Value = Callable[[DeviceFields], Any]
"""Finds what its kind says."""


@dataclass(frozen=True, slots=True)
class Expression:
    """Something that has a value for each device."""

    kind: ValueKind
    value: Value


class WrongArguments(Exception):
    """The text is what a function takes."""


def constant(text: str) -> Expression:
    """A literal."""
    return Expression(ValueKind.TEXT, lambda _: text)


def entry_of(find: Value, rest: list[str]) -> Expression:
    """A map, or with a name in `rest` its entry; a missing one is empty text."""
    if not rest:
        return Expression(ValueKind.MAP, find)
    key = rest[0]
    return Expression(ValueKind.TEXT, lambda device: find(device).get(key, ""))


def _texts(arguments: list[Expression], least: int, most: int) -> list[Value]:
    right = all(argument.kind is ValueKind.TEXT for argument in arguments)
    if not (right and least <= len(arguments) <= most):
        number = f"{least}" if least == most else f"at least {least}"
        raise WrongArguments(f"takes {number} texts")
    return [argument.value for argument in arguments]


def _default(arguments: list[Expression]) -> Expression:
    fallback, value = _texts(arguments, 2, 2)
    return Expression(ValueKind.TEXT, lambda device: value(device) or fallback(device))


def _index(arguments: list[Expression]) -> Expression:
    kinds = [argument.kind for argument in arguments]
    if kinds != [ValueKind.MAP, ValueKind.TEXT]:
        raise WrongArguments("takes a map and a text")
    find, key = (argument.value for argument in arguments)
    return Expression(ValueKind.TEXT, lambda device: find(device).get(key(device), ""))


def _eq(arguments: list[Expression]) -> Expression:
    first, *others = _texts(arguments, 2, 100)
    return Expression(
        ValueKind.TRUTH,
        lambda device: first(device) in [other(device) for other in others],
    )


def _ne(arguments: list[Expression]) -> Expression:
    one, other = _texts(arguments, 2, 2)
    return Expression(ValueKind.TRUTH, lambda device: one(device) != other(device))


def _not(arguments: list[Expression]) -> Expression:
    if len(arguments) != 1:
        raise WrongArguments("takes 1 value")
    value = arguments[0].value
    return Expression(ValueKind.TRUTH, lambda device: not value(device))


# As in Go, `and` and `or` give the value that decides, not true or false.
def _first_that(arguments: list[Expression], *, holds: bool) -> Expression:
    kinds = {argument.kind for argument in arguments}
    if len(kinds) != 1:
        raise WrongArguments("takes values of one kind")
    values = [argument.value for argument in arguments]

    def find(device: DeviceFields) -> Any:
        found = None
        for value in values:
            found = value(device)
            if bool(found) is holds:
                break
        return found

    return Expression(kinds.pop(), find)


FUNCTIONS: Mapping[str, Callable[[list[Expression]], Expression]] = {
    "default": _default,
    "index": _index,
    "eq": _eq,
    "ne": _ne,
    "not": _not,
    "and": lambda arguments: _first_that(arguments, holds=False),
    "or": lambda arguments: _first_that(arguments, holds=True),
}
"""What templates can call; each takes expressions and raises `WrongArguments`."""
