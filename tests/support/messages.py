"""Strategies for messages of the schema, by their descriptors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

TEXTS = st.text(st.characters(codec="utf-8"), max_size=6)
SCALARS: Mapping[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.TYPE_STRING: TEXTS,
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_DOUBLE: st.floats(allow_nan=False, allow_infinity=False),
    FieldDescriptor.TYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_UINT32: st.integers(0, 2**32 - 1),
    FieldDescriptor.TYPE_UINT64: st.integers(0, 2**64 - 1),
}
MAX_DEPTH = 4
"""A type may hold itself."""

PLAUSIBLE: Mapping[str, dict[str, Any]] = {
    "DeviceRegister": {"provider": "fcm", "token": "t", "platform": "ios"},
    "DeviceUpdate": {"users": ["u"]},
    "DeviceRemove": {"users": ["u"]},
    "DeviceTopicUpdate": {"device_id": "d", "op": "add"},
    "UserTopicUpdate": {"user": "u", "op": "add"},
    "SendPushNotification": {
        "recipient": {"topics": ["news"]},
        "notification": {"fcm": {"message": b"{}"}},
    },
    "Publish": {"channel": "kept:1", "data": b"{}"},
    "Broadcast": {"channels": ["kept:1", "no:1"], "data": b"{}"},
    "Subscribe": {"user": "u", "channel": "kept:1"},
    "Unsubscribe": {"user": "u", "channel": "kept:1"},
    "Presence": {"channel": "seen:1"},
    "PresenceStats": {"channel": "seen:1"},
    "History": {"channel": "kept:1", "limit": 3},
    "HistoryRemove": {"channel": "kept:1"},
    "Connections": {"user": "u"},
    "UpdateUserStatus": {"users": ["u"]},
    "GetUserStatus": {"users": ["u"]},
    "DeleteUserStatus": {"users": ["u"]},
    "BlockUser": {"user": "u"},
    "UnblockUser": {"user": "u"},
    "RevokeToken": {"uid": "t"},
    "InvalidateUserTokens": {"user": "u"},
}
"""Requests by RPC that go through, but for what is not there."""


Scalars = Mapping[int, st.SearchStrategy[Any]]


def messages(
    kind: Descriptor, *, inline: st.SearchStrategy[bytes], scalars: Scalars = SCALARS
) -> st.SearchStrategy[Any]:
    """Messages of a type; `inline` draws what stands in `bytes` fields."""
    drawn = fields(kind, {**scalars, FieldDescriptor.TYPE_BYTES: inline})
    return drawn.map(lambda values: GetMessageClass(kind)(**values))


def fields(
    kind: Any, scalars: Scalars, *, depth: int = 0
) -> st.SearchStrategy[dict[str, Any]]:
    """Some of the message's fields, so that good requests come up too."""
    optional = {
        field.name: _field(field, scalars, depth)
        for field in kind.fields
        if field.message_type is None or depth < MAX_DEPTH
    }
    if not optional:
        return st.just({})
    names = st.lists(st.sampled_from(sorted(optional)), max_size=4, unique=True)
    return names.flatmap(
        lambda chosen: st.fixed_dictionaries({name: optional[name] for name in chosen})
    )


def _field(
    field: FieldDescriptor, scalars: Scalars, depth: int
) -> st.SearchStrategy[Any]:
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        value = _value(kind.fields_by_name["value"], scalars, depth)
        keys = scalars[FieldDescriptor.TYPE_STRING]
        return st.dictionaries(keys, value, max_size=2)
    if field.is_repeated:
        return st.lists(_value(field, scalars, depth), max_size=3)
    return _value(field, scalars, depth)


def _value(
    field: FieldDescriptor, scalars: Scalars, depth: int
) -> st.SearchStrategy[Any]:
    kind = field.message_type
    if kind is not None:
        return st.deferred(lambda: fields(kind, scalars, depth=depth + 1))
    return scalars[field.type]
