"""Patterns of names, as the server API and `allowed_origins` take them. Pure.

`*` and `**` are any run of characters, `?` is one; `[abc]`, `[!abc]`, `[a-z]` and
`[!a-z]` are classes, `{a,b*}` alternatives, and a backslash takes the meaning away.
No character separates: `*` crosses every border.
"""

from __future__ import annotations

import re
from functools import lru_cache

MAX_LENGTH = 4096
# Braces multiply: ten pairs of two are as many.
MAX_ALTERNATIVES = 1024
_STAR = ""  # stands between the fixed parts of a pattern

_Tokens = tuple[str, ...]  # regular expressions of one character each, or `_STAR`


class BadGlob(ValueError):
    """The text is no pattern; says why."""


@lru_cache(maxsize=256)
def compile_glob(pattern: str) -> re.Pattern[str]:
    """An expression for `fullmatch`; raises `BadGlob` for a bad pattern."""
    if len(pattern) > MAX_LENGTH:
        raise BadGlob(f"pattern is longer than {MAX_LENGTH} characters")
    # A dict drops doubles and keeps the order.
    alternatives = dict.fromkeys(_Reader(pattern).read())
    return re.compile("|".join(map(_regex_of, alternatives)), re.DOTALL)


def _regex_of(tokens: _Tokens) -> str:
    """The expression for one alternative.

    Between two stars the first place that fits is kept (an atomic group): the rest
    fits from there if it fits from any later place. So nothing is tried twice, and no
    pattern takes more steps than text length times pattern length.
    """
    parts: list[list[str]] = [[]]
    for token in tokens:
        if token is _STAR:
            parts.append([])
        else:
            parts[-1].append(token)
    first, *rest = ("".join(part) for part in parts)
    if not rest:
        return first
    *middle, last = rest
    found = "".join(f"(?>.*?{part})" for part in middle if part)
    # The last part has to stand at the end, so here the star takes all that it can.
    return f"{first}{found}.*{last}"


class _Reader:
    """Reads a pattern; braces multiply into alternatives without braces."""

    def __init__(self, pattern: str) -> None:
        self._text = pattern
        self._at = 0

    def read(self) -> list[_Tokens]:
        """Every alternative of the whole pattern."""
        try:
            return self._sequence(in_braces=False)
        except RecursionError:
            raise BadGlob("pattern is nested too deeply") from None

    def _sequence(self, *, in_braces: bool) -> list[_Tokens]:
        found: list[_Tokens] = [()]
        while self._at < len(self._text):
            char = self._text[self._at]
            if in_braces and char in ",}":
                break
            self._at += 1
            if char == "{":
                found = _joined(found, self._alternatives())
            else:
                token = self._token(char)
                found = [(*tokens, token) for tokens in found]
        return found

    def _token(self, char: str) -> str:
        match char:
            case "*":
                return _STAR
            case "?":
                return "."
            case "[":
                return self._class()
            case "\\":
                return re.escape(self._next("ends with a backslash"))
            case _:
                return re.escape(char)

    def _alternatives(self) -> list[_Tokens]:
        found: list[_Tokens] = []
        while True:
            found += self._sequence(in_braces=True)
            if self._next("opens a brace and does not close it") == "}":
                return found

    def _class(self) -> str:
        negated = self._text.startswith("!", self._at)
        self._at += negated
        # `[-a]` and `[a-]` hold the hyphen itself.
        head = self._text[self._at : self._at + 3]
        is_range = head[1:2] == "-" and "\\" not in head and head[2:] != "]"
        chars: list[str] = []
        fault = "opens a bracket and does not close it"
        while (char := self._next(fault)) != "]":
            chars.append(self._next(fault) if char == "\\" else char)
        if not chars:
            raise BadGlob("pattern has an empty class")
        body = "".join(map(re.escape, chars))
        if is_range:
            if len(chars) != 3 or chars[0] > chars[2]:
                raise BadGlob("pattern has a range that is no range")
            body = f"{re.escape(chars[0])}-{re.escape(chars[2])}"
        return f"[{'^' if negated else ''}{body}]"

    def _next(self, fault: str) -> str:
        if self._at >= len(self._text):
            raise BadGlob(f"pattern {fault}")
        self._at += 1
        return self._text[self._at - 1]


def _joined(left: list[_Tokens], right: list[_Tokens]) -> list[_Tokens]:
    if len(left) * len(right) > MAX_ALTERNATIVES:
        raise BadGlob(f"pattern has more than {MAX_ALTERNATIVES} alternatives")
    return [one + two for one in left for two in right]
