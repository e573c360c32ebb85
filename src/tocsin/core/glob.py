"""Patterns of names, as the server API and `allowed_origins` take them. Pure.

`*` and `**` are any run of characters, `?` is one; `[abc]`, `[!abc]`, `[a-z]` and
`[!a-z]` are classes, `{a,b*}` alternatives, and a backslash takes the meaning away.
No character separates: `*` crosses every border.
"""

from __future__ import annotations

import re


def compile_glob(pattern: str) -> re.Pattern[str]:
    """An expression for `fullmatch`; raises `ValueError` for a bad pattern."""
    out: list[str] = []
    at = depth = 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "\\":
            if at == len(pattern):
                raise ValueError("pattern ends with a backslash")
            out.append(re.escape(pattern[at]))
            at += 1
        elif char == "[":
            text, at = _read_class(pattern, at)
            out.append(text)
        elif char == "{":
            depth += 1
            out.append("(?:")
        elif char == "}" and depth:
            depth -= 1
            out.append(")")
        elif char == "," and depth:
            out.append("|")
        else:
            out.append({"*": ".*", "?": "."}.get(char) or re.escape(char))
    if depth:
        raise ValueError("pattern opens a brace and does not close it")
    # Runs of stars would make the search slow and mean no more than one.
    return re.compile(re.sub(r"(\.\*)+", ".*", "".join(out)), re.DOTALL)


def _read_class(pattern: str, at: int) -> tuple[str, int]:
    end = pattern.find("]", at + (pattern[at : at + 1] == "!"))
    if end < 0:
        raise ValueError("pattern opens a bracket and does not close it")
    body = pattern[at:end]
    negated = body.startswith("!")
    chars = body[1:] if negated else body
    if not chars:
        raise ValueError("pattern has an empty class")
    if len(chars) == 3 and chars[1] == "-":
        if chars[0] > chars[2]:
            raise ValueError("pattern has a range that ends before it begins")
        text = f"{re.escape(chars[0])}-{re.escape(chars[2])}"
    else:
        text = re.escape(chars)
    return f"[{'^' if negated else ''}{text}]", end + 1
