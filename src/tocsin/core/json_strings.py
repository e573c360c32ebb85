"""Finds the strings in a JSON document and where they stand. Pure, no I/O.

It works on the bytes as they are, so that everything around a string can be kept
to the last digit and space. It must be given valid JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

# Numbers and literals are passed over: only strings and structure are needed.
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\],:]', re.DOTALL)


@dataclass(frozen=True, slots=True)
class JsonString:
    """One string value: its place in the tree and in the bytes, quotes included."""

    path: str
    start: int
    end: int
    text: str


class _Level:
    """An object or array that is open at this point."""

    __slots__ = ("expects_key", "index", "is_object", "key")

    def __init__(self, *, is_object: bool) -> None:
        self.is_object = self.expects_key = is_object
        self.key = ""
        self.index = 0


def find_strings(document: bytes) -> Iterator[JsonString]:
    """Every string that is a value, in order; keys of objects are not.

    `path` reads like `notification.body` or `buttons[2].title`; it is empty where
    the document itself is a string.
    """
    open_levels: list[_Level] = []
    for match in _TOKEN.finditer(document):
        token = match[0]
        level = open_levels[-1] if open_levels else None
        if token in b"{[":
            open_levels.append(_Level(is_object=token == b"{"))
        elif token in b"}]":
            open_levels.pop()
        elif level is None:
            yield JsonString("", match.start(), match.end(), json.loads(token))
        elif token == b":":
            level.expects_key = False
        elif token == b",":
            level.expects_key = level.is_object
            level.index += 1
        elif level.expects_key:
            level.key = json.loads(token)
        else:
            path = _path(open_levels)
            yield JsonString(path, match.start(), match.end(), json.loads(token))


def _path(open_levels: list[_Level]) -> str:
    path = ""
    for level in open_levels:
        if not level.is_object:
            path += f"[{level.index}]"
        else:
            path += f".{level.key}" if path else level.key
    return path
