"""Messages of the schemas → JSON, by their descriptors. Part of `protocol`: pure.

It must not know what a message means, nor which door writes it: a `Writing` holds the
differences. The writer of a type is built once, at its first use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from tocsin.protocol.json_reading import map_value

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
    "ListDeadLettersResult": ("items", "has_more"),
    "ListDeadLetterGroupsResult": ("groups", "letters"),
    "ReplayDeadLettersResult": ("replayed", "matched"),
    "PurgeDeadLettersResult": ("purged", "matched"),
    "ListAuditLogResult": ("items", "has_more"),
    "ListResultsResult": ("results", "position"),
}
"""Message → fields that are written even if they are empty or zero."""


@dataclass(frozen=True, slots=True)
class Writing:
    """How a door writes.

    `always_first`: fields of `ALWAYS_WRITTEN` are written first; else the empty ones
    among them come last. `sorts_maps`: maps are sorted by key. `for_html`: `<`, `>` and
    the like are escaped. `embed` prepares the JSON of a `bytes` field.
    """

    always_first: bool
    sorts_maps: bool
    for_html: bool
    embed: Callable[[bytes], bytes]


Write = Callable[[Any], dict[str, Any]]
Convert = Callable[[Any], Any]


def build_writer(
    kind: Descriptor, writing: Writing, writer_of: Callable[[Descriptor], Write]
) -> Write:
    """A function that turns a message of this type into plain values."""
    empties = {
        name: _empty(kind.fields_by_name[name])
        for name in ALWAYS_WRITTEN.get(kind.name, ())
    }
    first, last = (empties, {}) if writing.always_first else ({}, empties)
    columns: dict[Any, tuple[str, Convert | None]] = {}

    def write(message: Any) -> dict[str, Any]:
        # Made at the first use: a type may hold itself, whose writer is not made yet.
        if not columns:
            for field in kind.fields:
                columns[field] = field.name, _convert_of(field, writing, writer_of)
        out = first.copy()
        for field, item in message.ListFields():
            name, convert = columns[field]
            out[name] = item if convert is None else convert(item)
        if last:
            for name in last:
                out.setdefault(name, last[name])
        return out

    return write


def _empty(field: FieldDescriptor) -> Any:
    if map_value(field) is not None:
        return {}
    return [] if field.is_repeated else field.default_value


def _convert_of(
    field: FieldDescriptor,
    writing: Writing,
    writer_of: Callable[[Descriptor], Write],
) -> Convert | None:
    value = map_value(field)
    one = _convert_one(field if value is None else value, writing, writer_of)
    if value is not None:
        order: Callable[[Any], Iterable[str]] = sorted if writing.sorts_maps else iter
        if one is None:
            return lambda items: {key: items[key] for key in order(items)}
        return lambda items: {key: one(items[key]) for key in order(items)}
    if not field.is_repeated:
        return one
    return list if one is None else lambda items: [one(item) for item in items]


def _convert_one(
    field: FieldDescriptor,
    writing: Writing,
    writer_of: Callable[[Descriptor], Write],
) -> Convert | None:
    if field.message_type is not None:
        return writer_of(field.message_type)
    if field.type == FieldDescriptor.TYPE_BYTES:
        embed = writing.embed
        return lambda data: orjson.Fragment(embed(data))
    return _shorten if field.type == FieldDescriptor.TYPE_DOUBLE else None


def _shorten(value: float) -> float:
    """`2` rather than `2.0`, as far as whole numbers are exact."""
    return int(value) if value.is_integer() and abs(value) < 2**53 else value
