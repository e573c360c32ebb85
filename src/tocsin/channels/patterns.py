"""Compiles the configuration's regular expressions, written for Go. Part of `channels`.

It must not know what is matched. Configurations of the published server, which is
written in Go, keep their meaning under Python's `re`.
"""

from __future__ import annotations

import re
import warnings

_CLASSES = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": r"\x00-\x7F",
    "blank": r"\t ",
    "cntrl": r"\x00-\x1F\x7F",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\t\n\v\f\r ",
    "upper": "A-Z",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}
_TOKEN = re.compile(r"\[:(\w+):\]|\\.|.", re.DOTALL)
_MULTILINE = re.compile(r"\(\?[a-z]*m")


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Compile a pattern with Go's meaning; raises `ValueError` with the reason.

    In Go, `$` without the flag `m` matches at the end of the text only, not before a
    last newline; and the classes of digits, words and spaces hold ASCII only.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            return re.compile(_translate(pattern), re.ASCII)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"is no regular expression: {error}") from None


def _translate(pattern: str) -> str:
    is_multiline = _MULTILINE.search(pattern) is not None
    out: list[str] = []
    class_start = -1  # where the text of the class that is open begins
    for match in _TOKEN.finditer(pattern):
        token = match[0]
        in_class = class_start >= 0
        if in_class and match[1] in _CLASSES:
            token = _CLASSES[match[1]]
        elif match[1]:
            raise ValueError(f"is no regular expression: unknown class {token}")
        elif in_class:
            # A bracket right after the opening one is a character.
            if token == "]" and "".join(out[class_start:]) not in ("", "^"):
                class_start = -1
            elif token == "[":
                token = r"\["  # a character in Go; `re` reserves it for nested sets
        elif token == "[":
            class_start = len(out) + 1
        elif token == r"\z" or (token == "$" and not is_multiline):
            token = r"\Z"
        out.append(token)
    return "".join(out)
