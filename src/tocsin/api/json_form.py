"""Requests in their JSON form: proto names, and JSON inside where bytes hold JSON.

Part of the API room. It is strict, so that a typing error in a file is found; it
calls no service.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import orjson
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

M = TypeVar("M", bound=Message)

_INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32,
    FieldDescriptor.CPPTYPE_INT64,
    FieldDescriptor.CPPTYPE_UINT32,
    FieldDescriptor.CPPTYPE_UINT64,
}


def parse_request(text: bytes | str, kind: type[M]) -> M:
    """A message from its JSON text; raises `ValueError` naming the field."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from None
    message = kind()
    _fill(message, value, "")
    return message


def _fill(message: Message, value: Any, path: str) -> None:
    if not isinstance(value, Mapping):
        raise ValueError(f"{path or 'request'}: must be an object")  # noqa: TRY004 - one kind of error for a bad file
    fields = message.DESCRIPTOR.fields_by_name
    for name, item in value.items():
        where = f"{path}.{name}" if path else str(name)
        field = fields.get(name)
        if field is None:
            raise ValueError(f"{where}: no such field")
        try:
            _set(message, field, item, where)
        except (TypeError, OverflowError) as error:
            raise ValueError(f"{where}: {error}") from None


def _set(message: Message, field: Any, item: Any, path: str) -> None:
    if item is None:
        return
    if _is_map(field):
        if not isinstance(item, Mapping):
            raise ValueError(f"{path}: must be an object")
        getattr(message, field.name).update(item)
    elif field.is_repeated:
        # The seed writes a single object where one is enough.
        items = item if isinstance(item, list) else [item]
        target = getattr(message, field.name)
        for number, part in enumerate(items):
            if field.message_type is None:
                target.append(_scalar(field, part))
            else:
                _fill(target.add(), part, f"{path}[{number}]")
    elif field.message_type is not None:
        child = getattr(message, field.name)
        child.SetInParent()
        _fill(child, item, path)
    else:
        setattr(message, field.name, _scalar(field, item))


def _scalar(field: Any, item: Any) -> Any:
    if field.type == FieldDescriptor.TYPE_BYTES:
        return orjson.dumps(item)
    if field.cpp_type in _INTEGERS and (isinstance(item, bool) or item != int(item)):
        raise TypeError("must be a whole number")
    return item


def _is_map(field: Any) -> bool:
    kind: Descriptor | None = field.message_type
    return kind is not None and kind.GetOptions().map_entry
