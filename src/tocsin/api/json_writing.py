"""API room: messages of the schema → JSON.

Fields have their proto names, empty ones are left out but for a fixed list, and
`bytes` fields stand inline as JSON. It calls no service and decides nothing but
spelling. What a type needs is worked out once; no answer looks at a descriptor.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import orjson
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from tocsin.api.json_reading import is_map

ALWAYS_WRITTEN: Mapping[str, tuple[str, ...]] = {
    "ClientInfo": ("user", "client"),
    "PresenceResult": ("presence",),
    "PresenceStatsResult": ("num_clients", "num_users"),
    "HistoryResult": ("publications", "epoch", "offset"),
    "NodeResult": (
        *("uid", "name", "version"),
        *("num_clients", "num_users", "num_channels", "num_subs"),
    ),
    "ChannelsResult": ("channels",),
    "ConnectionsResult": ("connections",),
    "GetUserStatusResult": ("statuses",),
    "DeviceListResult": ("items", "has_more"),
    "DeviceTopicListResult": ("items", "has_more"),
    "UserTopicListResult": ("items", "has_more"),
}
"""Fields that are written although they are empty or zero, by message."""

_MARKUP = re.compile(rb"[<>&]|\xe2\x80[\xa8\xa9]")
_ESCAPES = {
    b"<": b"\\u003c",
    b">": b"\\u003e",
    b"&": b"\\u0026",
    b"\xe2\x80\xa8": b"\\u2028",
    b"\xe2\x80\xa9": b"\\u2029",
}
_WHITE = re.compile(rb"[ \t\n\r]")
_STRING_OR_WHITE = re.compile(rb'("(?:[^"\\]|\\.)*+")|[ \t\n\r]+')

Convert = Callable[[Any], Any]


class NotEncodable(ValueError):
    """A `bytes` field of a result holds something that is not JSON."""


def dump(value: object) -> bytes:
    """Compact JSON of plain values, fit to stand inside of HTML."""
    text = orjson.dumps(value)
    if _MARKUP.search(text):
        # Outside of strings JSON has none of these.
        text = _MARKUP.sub(lambda match: _ESCAPES[match[0]], text)
    return text


def plain(message: Message) -> dict[str, Any]:
    """Plain values for `dump`; raises `NotEncodable`."""
    return _writer(message.DESCRIPTOR)(message)


@cache
def _writer(message: Descriptor) -> Callable[[Any], dict[str, Any]]:
    converts: dict[str, Convert | None] = {}
    always = ALWAYS_WRITTEN.get(message.name, ())
    template = {name: _empty(message.fields_by_name[name]) for name in always}

    def write(value: Any) -> dict[str, Any]:
        # Made at the first use, because a type may hold itself.
        if not converts:
            converts.update({f.name: _converter(f) for f in message.fields})
        out = template.copy()
        for field, item in value.ListFields():
            name = field.name
            convert = converts[name]
            out[name] = item if convert is None else convert(item)
        return out

    return write


def _empty(field: FieldDescriptor) -> Any:
    if is_map(field):
        return {}
    return [] if field.is_repeated else field.default_value


def _converter(field: FieldDescriptor) -> Convert | None:
    if is_map(field):
        assert field.message_type is not None  # noqa: S101 - a map has an entry type
        one = _one_converter(field.message_type.fields_by_name["value"])
        if one is None:
            return lambda items: {key: items[key] for key in sorted(items)}
        return lambda items: {key: one(items[key]) for key in sorted(items)}
    each = _one_converter(field)
    if not field.is_repeated:
        return each
    return list if each is None else lambda items: [each(item) for item in items]


def _one_converter(field: FieldDescriptor) -> Convert | None:
    if field.message_type is not None:
        return _writer(field.message_type)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return embed
    if field.type == FieldDescriptor.TYPE_DOUBLE:
        return _shorten
    return None


def _shorten(value: float) -> float:
    """`2` rather than `2.0`, as far as whole numbers are exact."""
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def embed(raw: bytes) -> orjson.Fragment:
    """JSON bytes to stand inside of other JSON, without white space around values."""
    try:
        _check_json(raw)
    except (ValueError, RecursionError):
        raise NotEncodable("a bytes field holds something that is not JSON") from None
    if _WHITE.search(raw):
        raw = _STRING_OR_WHITE.sub(rb"\1", raw)
    return orjson.Fragment(raw)


def _check_json(raw: bytes) -> None:
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError:
        # It knows less than JSON allows: half characters, numbers of any size.
        json.loads(raw.decode(), parse_constant=_refuse_constant, parse_int=str)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
