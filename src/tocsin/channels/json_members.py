"""JSON objects taken apart without touching what is inside. Part of `channels`.

It must not know any claim: payloads inside a token keep their exact bytes.
"""

from __future__ import annotations

import json

_BLANK = " \t\n\r"


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_decoder = json.JSONDecoder(parse_constant=_refuse_constant)


def split_members(text: str) -> dict[str, str]:
    """Name → the member's own JSON text; raises `ValueError` for anything else.

    The last of doubled names wins.
    """
    members: dict[str, str] = {}
    at = _skip(text, 0)
    if text[at : at + 1] != "{":
        raise ValueError("not a JSON object")
    at = _skip(text, at + 1)
    if text[at : at + 1] == "}":
        return _at_end(members, text, at)
    while True:
        if text[at : at + 1] != '"':
            raise ValueError("a member needs a name")
        name, at = _decoder.raw_decode(text, at)
        at = _skip(text, at)
        if text[at : at + 1] != ":":
            raise ValueError("a member needs a value")
        start = _skip(text, at + 1)
        try:
            _, at = _decoder.raw_decode(text, start)
        except RecursionError:
            raise ValueError("nested too deeply") from None
        members[name] = text[start:at]
        at = _skip(text, at)
        if text[at : at + 1] == "}":
            return _at_end(members, text, at)
        if text[at : at + 1] != ",":
            raise ValueError("members need a comma between them")
        at = _skip(text, at + 1)


def _at_end(members: dict[str, str], text: str, at: int) -> dict[str, str]:
    if _skip(text, at + 1) != len(text):
        raise ValueError("something follows the object")
    return members


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _BLANK:
        at += 1
    return at
