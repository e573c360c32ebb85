"""Client messages as JSON text, both ways. Part of `protocol`: pure.

It must not know which message means what: field tables come from the schema, and
`bytes` fields are JSON inside the JSON, kept byte for byte.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, NoReturn

import orjson
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message


class BadFrame(Exception):
    """What a client sent is no message of the protocol."""


class ForeignData(Exception):
    """Bytes that are no JSON were to be embedded in a JSON message."""


ELEMENTS_MOST = 4_096
"""Of a list that a client sends: a filter has a few. It is read in one go."""

ALWAYS_PRESENT = {
    "ClientInfo": ("user", "client"),
    "PresenceResult": ("presence",),
    "PresenceStatsResult": ("num_clients", "num_users"),
    "HistoryResult": ("publications", "epoch", "offset"),
}


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


_scan = json.JSONDecoder(parse_constant=_refuse_constant).raw_decode


def is_json(data: bytes) -> bool:
    """Whether the bytes are exactly one JSON value."""
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        return _is_json_to_the_letter(data)
    return True


def _is_json_to_the_letter(data: bytes) -> bool:
    # The fast parser also refuses half surrogates and numbers it cannot hold.
    try:
        json.loads(data.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return False
    return True


# --- from JSON ---------------------------------------------------------------

_fields: dict[str, dict[str, FieldDescriptor]] = {}


def _fields_of(descriptor: Any) -> dict[str, FieldDescriptor]:
    fields = _fields.get(descriptor.full_name)
    if fields is None:
        fields = {field.name: field for field in descriptor.fields}
        _fields[descriptor.full_name] = fields
    return fields


_SPACES = frozenset(" \t\r\n")
_find_end_of_space = re.compile(r"[ \t\r\n]*").match


def skip_space(text: str, at: int) -> int:
    """Where the next token begins."""
    if text[at : at + 1] in _SPACES and (run := _find_end_of_space(text, at)):
        return run.end()
    return at


def _expect(text: str, at: int, char: str) -> int:
    if text[at : at + 1] == char:
        return at + 1
    at = skip_space(text, at)
    if text[at : at + 1] != char:
        raise BadFrame(f"expected {char} at {at}")
    return at + 1


def read_message(text: str, at: int, message: Message) -> int:
    """Fill `message` from the object that begins at `at`; return its end.

    Unknown fields are skipped; `null` is the same as absent, but for a `bytes`
    field it is the payload. Raises `BadFrame`.
    """
    try:
        return _read_object(text, at, message)
    except (ValueError, TypeError, RecursionError) as error:
        raise BadFrame(type(error).__name__) from None


def _read_object(text: str, at: int, message: Message) -> int:
    fields = _fields_of(message.DESCRIPTOR)
    at = skip_space(text, _expect(text, at, "{"))
    if text[at : at + 1] == "}":
        return at + 1
    while True:
        key, at = _read_key(text, at)
        field = fields.get(key)
        if field is None or _is_absent(text, at, field):
            _, at = _scan(text, at)
        else:
            at = _read_field(text, at, message, field)
        at = skip_space(text, at)
        char = text[at : at + 1]
        at += 1
        if char == "}":
            return at
        if char != ",":
            raise BadFrame(f"expected , at {at - 1}")


def _is_absent(text: str, at: int, field: FieldDescriptor) -> bool:
    # In a `bytes` field, null is a payload like any other.
    return text.startswith("null", at) and field.type != FieldDescriptor.TYPE_BYTES


def _read_key(text: str, at: int) -> tuple[str, int]:
    start = skip_space(text, at)
    _expect(text, start, '"')
    key, at = _scan(text, start)
    return key, skip_space(text, _expect(text, at, ":"))


def _read_field(text: str, at: int, message: Message, field: FieldDescriptor) -> int:
    kind = field.type
    if field.is_repeated:
        return _read_repeated(text, at, message, field)
    if kind == FieldDescriptor.TYPE_MESSAGE:
        inner = getattr(message, field.name)
        inner.SetInParent()
        return _read_object(text, at, inner)
    value, end = _scan(text, at)
    if kind == FieldDescriptor.TYPE_BYTES:
        setattr(message, field.name, text[at:end].encode())
    else:
        setattr(message, field.name, _scalar(value, kind))
    return end


def _scalar(value: object, kind: int) -> object:
    expected = _PYTHON_TYPES[kind]
    if type(value) is not expected:
        raise BadFrame(f"expected {expected.__name__}")
    return value


_PYTHON_TYPES: dict[int, type] = {
    FieldDescriptor.TYPE_STRING: str,
    FieldDescriptor.TYPE_BOOL: bool,
    FieldDescriptor.TYPE_INT32: int,
    FieldDescriptor.TYPE_INT64: int,
    FieldDescriptor.TYPE_UINT32: int,
    FieldDescriptor.TYPE_UINT64: int,
    FieldDescriptor.TYPE_SINT64: int,
}


def _read_repeated(text: str, at: int, message: Message, field: FieldDescriptor) -> int:
    entry = field.message_type
    if entry is not None and entry.GetOptions().map_entry:
        return _read_map(text, at, getattr(message, field.name), entry)
    values = getattr(message, field.name)
    at = skip_space(text, _expect(text, at, "["))
    if text[at : at + 1] == "]":
        return at + 1
    while True:
        if len(values) >= ELEMENTS_MOST:
            raise BadFrame(f"more than {ELEMENTS_MOST} elements")
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            at = _read_object(text, at, values.add())
        else:
            value, at = _scan(text, at)
            values.append(_scalar(value, field.type))
        at = skip_space(text, at)
        char = text[at : at + 1]
        at = skip_space(text, at + 1)
        if char == "]":
            return at
        if char != ",":
            raise BadFrame(f"expected , at {at - 1}")


def _read_map(text: str, at: int, values: Any, entry: Any) -> int:
    kind = entry.fields_by_name["value"].type
    at = skip_space(text, _expect(text, at, "{"))
    if text[at : at + 1] == "}":
        return at + 1
    while True:
        key, at = _read_key(text, at)
        if kind == FieldDescriptor.TYPE_MESSAGE:
            at = _read_object(text, at, values[key])
        else:
            value, at = _scan(text, at)
            values[key] = _scalar(value, kind)
        at = skip_space(text, at)
        char = text[at : at + 1]
        at += 1
        if char == "}":
            return at
        if char != ",":
            raise BadFrame(f"expected , at {at - 1}")


# --- to JSON -----------------------------------------------------------------

Writer = Callable[[Any], bytes]


def embed(data: bytes) -> bytes:
    """Raw JSON as it stands inside a frame: line breaks between tokens go.

    Raises `ForeignData` when it is no JSON.
    """
    if not is_json(data):
        raise ForeignData
    return data.replace(b"\n", b"") if b"\n" in data else data


def write_string(text: str) -> bytes:
    """A JSON string."""
    return orjson.dumps(text)


def _write_number(value: int) -> bytes:
    return b"%d" % value


def _write_bool(value: bool) -> bytes:
    return b"true" if value else b"false"


def _value_writer(field: FieldDescriptor) -> Writer:
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        return write_message
    if field.type == FieldDescriptor.TYPE_BYTES:
        return embed
    if field.type == FieldDescriptor.TYPE_STRING:
        return write_string
    return _write_bool if field.type == FieldDescriptor.TYPE_BOOL else _write_number


def _field_writer(field: FieldDescriptor) -> Writer:
    if not field.is_repeated:
        return _value_writer(field)
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        write = _value_writer(kind.fields_by_name["value"])
        return lambda values: (
            b"{"
            + b",".join(write_string(k) + b":" + write(v) for k, v in values.items())
            + b"}"
        )
    write = _value_writer(field)
    return lambda values: b"[" + b",".join(map(write, values)) + b"]"


_Column = tuple[bytes, Writer]
_writers: dict[str, tuple[dict[int, _Column], tuple[FieldDescriptor, ...]]] = {}


def _columns(
    descriptor: Any,
) -> tuple[dict[int, _Column], tuple[FieldDescriptor, ...]]:
    found = _writers.get(descriptor.full_name)
    if found is None:
        always = ALWAYS_PRESENT.get(descriptor.name, ())
        found = _writers[descriptor.full_name] = (
            {
                field.number: (f'"{field.name}":'.encode(), _field_writer(field))
                for field in descriptor.fields
            },
            tuple(descriptor.fields_by_name[name] for name in always),
        )
    return found


def write_message(message: Message) -> bytes:
    """A message as one JSON object on one line.

    Zero fields are left out but for those that are always present; `bytes` fields
    are embedded. Raises `ForeignData` where embedded bytes are no JSON.
    """
    columns, always = _columns(message.DESCRIPTOR)
    parts = []
    written = set()
    for field, value in message.ListFields():
        prefix, write = columns[field.number]
        written.add(field.number)
        parts.append(prefix + write(value))
    for field in always:
        if field.number not in written:
            prefix, write = columns[field.number]
            parts.append(prefix + write(getattr(message, field.name)))
    return b"{" + b",".join(parts) + b"}"
