"""JSON as text: split and embedded letter for letter. Part of `protocol`: pure.

It must not know any message. Payloads are never parsed and written again: that would
round their numbers, sort their members and change their escapes.
"""

from __future__ import annotations

import json
import re
from typing import NoReturn

import msgspec
import orjson

WHITE = b" \t\n\r"
"""The white space of JSON."""

_TEXT_SPACE = re.compile(r"[ \t\r\n]*")
_BYTES_SPACE = re.compile(rb"[ \t\r\n]*")
_MARKUP = re.compile(rb"[<>&]|\xe2\x80[\xa8\xa9]")
_ESCAPES = {
    b"<": b"\\u003c",
    b">": b"\\u003e",
    b"&": b"\\u0026",
    b"\xe2\x80\xa8": b"\\u2028",
    b"\xe2\x80\xa9": b"\\u2029",
}
_WHITE = re.compile(rb"[ \t\n\r]")
# Strings are matched to keep the white space in them. The group is possessive (`*+`): a
# string without its end costs no backtracking.
_STRING_OR_WHITE = re.compile(rb'("(?:[^"\\]|\\.)*+")|[ \t\n\r]+')


class JsonFault(ValueError):
    """JSON that cannot be read; `path` names the member, or is empty."""

    def __init__(self, reason: str, path: str = "") -> None:
        self.reason = reason
        self.path = path
        super().__init__(f"{path}: {reason}" if path else reason)

    def inside(self, part: str) -> JsonFault:
        """The same fault seen from one level above; `part` is a name or `[n]`."""
        dot = "." if self.path and not self.path.startswith("[") else ""
        return JsonFault(self.reason, f"{part}{dot}{self.path}")


class ForeignData(Exception):
    """Bytes that are not JSON were to be embedded in JSON."""


# --- taken apart -------------------------------------------------------------

_split_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_split_array = msgspec.json.Decoder(list[msgspec.Raw]).decode


def split_object(text: bytes) -> dict[str, msgspec.Raw]:
    """Name → text of the value; raises `JsonFault`. Of two equal names the last counts.

    A string with half a character, one surrogate without the other, is refused.
    """
    try:
        return _split_object(text)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise _fault(error, "must be an object") from None


def split_array(text: bytes) -> list[msgspec.Raw]:
    """The texts of the items; raises `JsonFault`."""
    try:
        return _split_array(text)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise _fault(error, "must be a list") from None


def _fault(error: Exception, expected: str) -> JsonFault:
    if isinstance(error, msgspec.ValidationError):
        return JsonFault(expected)
    if isinstance(error, RecursionError):
        return JsonFault("nested too deep")
    return JsonFault(f"not JSON: {error}")


def split_object_with_halves(text: bytes) -> dict[str, msgspec.Raw]:
    """As `split_object`, but half characters are allowed.

    JavaScript may cut a text between two surrogates.
    """
    try:
        return _split_object(text)
    except (msgspec.ValidationError, RecursionError) as error:
        raise _fault(error, "must be an object") from None
    except msgspec.DecodeError:
        try:
            members = split_members(text.decode())
        except ValueError as error:
            raise JsonFault(f"not JSON: {error}") from None
    return {name: msgspec.Raw(part.encode()) for name, part in members.items()}


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


scan = json.JSONDecoder(
    parse_constant=_refuse_constant, parse_int=str, parse_float=str
).raw_decode
"""`scan(text, at)` gives the value that begins at `at`, and its end.

Numbers stay texts: JSON may have more digits than Python converts. Raises `ValueError`,
and `RecursionError` for deep nesting.
"""


def skip_space(text: str | bytes, at: int) -> int:
    """Where the next token begins."""
    run: re.Match[str] | re.Match[bytes] | None
    if isinstance(text, str):
        run = _TEXT_SPACE.match(text, at)
    else:
        run = _BYTES_SPACE.match(text, at)
    return at if run is None else run.end()


def split_members(text: str) -> dict[str, str]:
    """Name → text of the value; raises `ValueError`. Of equal names the last counts.

    Slower than `split_object`, but it takes half characters.
    """
    members: dict[str, str] = {}
    at = _expect(text, "{", skip_space(text, 0), "not a JSON object")
    while text[at : at + 1] != "}" or members:
        if text[at : at + 1] != '"':
            raise ValueError("a member needs a name")
        name, at = scan(text, at)
        start = _expect(text, ":", skip_space(text, at), "a member needs a value")
        try:
            _, at = scan(text, start)
        except RecursionError:
            raise ValueError("nested too deeply") from None
        members[name] = text[start:at]
        at = skip_space(text, at)
        if text[at : at + 1] == "}":
            break
        at = _expect(text, ",", at, "members need a comma between them")
    if skip_space(text, at + 1) != len(text):
        raise ValueError("something follows the object")
    return members


def _expect(text: str, char: str, at: int, fault: str) -> int:
    if text[at : at + 1] != char:
        raise ValueError(fault)
    return skip_space(text, at + 1)


def parse_with_halves(text: bytes) -> object:
    """The value, in which half characters are allowed; raises `JsonFault`."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        try:
            return json.loads(text.decode(), parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise JsonFault(f"cannot be read: {error}") from None


def check_utf8(text: bytes) -> None:
    """Raise `JsonFault` for bytes that are not UTF-8; splitting does not check it."""
    if not text.isascii():
        try:
            text.decode()
        except UnicodeDecodeError as error:
            raise JsonFault(f"not UTF-8 at byte {error.start}") from None


# --- put in ------------------------------------------------------------------


def is_json(data: bytes) -> bool:
    """Whether the bytes are exactly one JSON value."""
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        return _is_json_to_the_letter(data)
    return True


def _is_json_to_the_letter(data: bytes) -> bool:
    # The fast parser also refuses half characters and numbers that it cannot hold.
    # Integers stay text: Python refuses to convert thousands of digits.
    try:
        json.loads(data.decode(), parse_constant=_refuse_constant, parse_int=str)
    except (ValueError, RecursionError):
        return False
    return True


def embed_in_line(data: bytes) -> bytes:
    """JSON to embed in a frame that ends at a line break, so without any.

    JSON has raw line breaks between tokens only. Raises `ForeignData`.
    """
    if not is_json(data):
        raise ForeignData("a bytes field holds something that is not JSON")
    return data.replace(b"\n", b"") if b"\n" in data else data


def embed_compact(data: bytes) -> bytes:
    """JSON without any white space between tokens; raises `ForeignData`."""
    if not is_json(data):
        raise ForeignData("a bytes field holds something that is not JSON")
    return _STRING_OR_WHITE.sub(rb"\1", data) if _WHITE.search(data) else data


def write_string(text: str) -> bytes:
    """A JSON string."""
    return orjson.dumps(text)


def escape_markup(text: bytes) -> bytes:
    """The same JSON, safe to put into HTML."""
    if _MARKUP.search(text):
        # JSON has these in strings only, where an escape means the same.
        return _MARKUP.sub(lambda match: _ESCAPES[match[0]], text)
    return text
