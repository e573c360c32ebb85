"""JSON → messages of the schemas, by their descriptors. Part of `protocol`: pure.

It must not know what a message means, nor which door reads it: a `Reading` holds the
differences. The reader of a type is built once, at its first use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from tocsin.protocol.json_text import WHITE, JsonFault, check_utf8, split_array


@dataclass(frozen=True, slots=True)
class Reading:
    """How a door reads.

    `any_case`: names match in upper and lower case. `knows_all`: an unknown name is a
    fault, else it is skipped. `null_is_empty`: `null` for a whole message is an empty
    one, else a fault. A list has `list_most` items at most. `split` takes an object
    apart into the texts of its members; `parse` reads a value with no `bytes` field.
    """

    any_case: bool
    knows_all: bool
    null_is_empty: bool
    list_most: int
    split: Callable[[bytes], dict[str, msgspec.Raw]]
    parse: Callable[[bytes], object]


# --- what a field is ---------------------------------------------------------


def map_value(field: FieldDescriptor) -> FieldDescriptor | None:
    """The field of a map's values; `None` if `field` is not a map."""
    entry = field.message_type
    if entry is None or not entry.GetOptions().map_entry:
        return None
    return entry.fields_by_name["value"]


def takes_one_object(field: FieldDescriptor) -> bool:
    """Whether JSON may hold a single object in place of a list with it.

    The oldest description of the API writes tokens by provider so.
    """
    kind = field.message_type
    return field.is_repeated and kind is not None and kind.name == "ProviderTokens"


def holds_json(*fields: FieldDescriptor) -> bool:
    """Whether one of them, or any field below, is `bytes`."""
    seen: set[str] = set()
    waiting = list(fields)
    while waiting:
        field = waiting.pop()
        if field.type == FieldDescriptor.TYPE_BYTES:
            return True
        kind = field.message_type
        if kind is not None and kind.full_name not in seen:
            seen.add(kind.full_name)
            waiting += kind.fields
    return False


# --- how it is set -----------------------------------------------------------

Check = Callable[[Any], Any]
Put = Callable[[Any, Any], None]
"""Sets a field of a message, or adds to a list.

The second argument is a parsed value, or a text where the field holds JSON.
"""


def _check_text(value: Any) -> Any:
    if type(value) is not str:
        raise JsonFault("must be a string")
    return value


def _check_bool(value: Any) -> Any:
    if type(value) is not bool:
        raise JsonFault("must be true or false")
    return value


def _check_number(value: Any) -> Any:
    if type(value) is not float and type(value) is not int:
        raise JsonFault("must be a number")
    try:
        return float(value)
    except OverflowError:
        raise JsonFault("is too large") from None


def _integers(low: int, high: int) -> Check:
    def check(value: Any) -> Any:
        if type(value) is not int:  # not `isinstance`: `True` is an `int` for it
            raise JsonFault("must be a whole number")
        if not low <= value <= high:
            raise JsonFault(f"must be from {low} to {high}")
        return value

    return check


_CHECKS: Mapping[int, Check] = {
    FieldDescriptor.TYPE_STRING: _check_text,
    FieldDescriptor.TYPE_BOOL: _check_bool,
    FieldDescriptor.TYPE_DOUBLE: _check_number,
    FieldDescriptor.TYPE_INT32: _integers(-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_INT64: _integers(-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_SINT64: _integers(-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_UINT32: _integers(0, 2**32 - 1),
    FieldDescriptor.TYPE_UINT64: _integers(0, 2**64 - 1),
}


class Reader:
    """How one message type is read.

    `takes_text` for a type with a `bytes` field, at any depth: its object is split into
    the texts of its members, so that JSON can be kept as written. Other types are
    parsed as a whole, which is faster.
    """

    __slots__ = ("_kind", "_puts", "_reader_of", "_reading", "takes_text")

    def __init__(
        self,
        kind: Descriptor,
        reading: Reading,
        reader_of: Callable[[Descriptor], Reader],
    ) -> None:
        self.takes_text = holds_json(*kind.fields)
        self._kind = kind
        self._reading = reading
        self._reader_of = reader_of
        self._puts: dict[str, Put] = {}

    def read(self, message: Any, text: bytes) -> None:
        """Fill a message from a text that holds its JSON alone."""
        given: object
        if self.takes_text:
            check_utf8(text)
            # A whole body may have white space around it; a member's text has none.
            is_null = not text.startswith(b"{") and text.strip(WHITE) == b"null"
            given = None if is_null else text
        else:
            given = self._reading.parse(text)
        if given is not None:
            self.load(message, given)
        elif not self._reading.null_is_empty:
            raise JsonFault("must be an object")

    def load(self, message: Any, given: Any) -> None:
        """Set the members of a message from its object; raises `JsonFault`."""
        # Not in `__init__`: a type may hold itself, whose reader is not made yet.
        puts = self._puts or self._look_at_fields()
        if self.takes_text:
            given = self._reading.split(given)
        elif type(given) is not dict:
            raise JsonFault("must be an object")
        for name, item in given.items():
            put = puts.get(name)
            if put is None:
                name = self._find(name)
                put = puts.get(name)
                if put is None:
                    continue
            if item is None:
                continue
            try:
                put(message, item)
            except JsonFault as fault:
                raise fault.inside(name) from None
            except UnicodeEncodeError:
                raise JsonFault("holds half a character", name) from None
            except orjson.JSONDecodeError as error:
                raise JsonFault(f"cannot be read: {error.msg}", name) from None

    def _look_at_fields(self) -> dict[str, Put]:
        self._puts = {field.name: self._put_of(field) for field in self._kind.fields}
        return self._puts

    def _find(self, name: str) -> str:
        """The field's name in lower case, where the door takes any case.

        Raises `JsonFault` for an unknown name where the door does not skip those.
        """
        lower = name.lower() if self._reading.any_case else name
        if self._reading.knows_all and lower not in self._puts:
            raise JsonFault("no such field", name)
        return lower

    def _put_of(self, field: FieldDescriptor) -> Put:
        put = self._put_any(field)
        if holds_json(field) or not self.takes_text:
            return put
        parse = self._reading.parse

        def put_parsed(message: Any, text: Any) -> None:
            value = parse(bytes(text))
            if value is not None:
                put(message, value)

        return put_parsed

    def _put_any(self, field: FieldDescriptor) -> Put:
        if (value := map_value(field)) is not None:
            return self._put_map(field, value)
        if field.is_repeated:
            return self._put_list(field)
        if field.message_type is not None:
            return self._put_message(field, field.message_type)
        name = field.name
        if field.type == FieldDescriptor.TYPE_BYTES:
            return lambda message, text: setattr(message, name, bytes(text))
        check = _CHECKS[field.type]
        return lambda message, value: setattr(message, name, check(value))

    def _put_message(self, field: FieldDescriptor, kind: Descriptor) -> Put:
        name, load = field.name, self._reader_of(kind).load
        if not holds_json(field):

            def put(message: Any, value: Any) -> None:
                inner = getattr(message, name)
                inner.SetInParent()  # an empty object sets the field too
                load(inner, value)

            return put

        def put_text(message: Any, text: Any) -> None:
            part = bytes(text)
            if part != b"null":
                inner = getattr(message, name)
                inner.SetInParent()
                load(inner, part)

        return put_text

    def _put_list(self, field: FieldDescriptor) -> Put:
        name, most = field.name, self._reading.list_most
        add, items_of = self._add_of(field), _items_of(field)

        def put(message: Any, given: Any) -> None:
            items = items_of(given)
            if len(items) > most:
                raise JsonFault(f"must have at most {most} elements")
            target = getattr(message, name)
            for number, item in enumerate(items):
                try:
                    add(target, item)
                except JsonFault as fault:
                    raise fault.inside(f"[{number}]") from None

        return put

    def _add_of(self, field: FieldDescriptor) -> Put:
        if field.message_type is not None:
            load = self._reader_of(field.message_type).load
            return lambda target, item: load(target.add(), item)
        if field.type == FieldDescriptor.TYPE_BYTES:
            return lambda target, text: target.append(text)
        check = _CHECKS[field.type]
        return lambda target, item: target.append(check(item))

    def _put_map(self, field: FieldDescriptor, value: FieldDescriptor) -> Put:
        name = field.name
        if value.message_type is None:
            check = _CHECKS[value.type]

            def put_one(target: Any, key: str, item: Any) -> None:
                target[key] = check(item)
        else:
            load = self._reader_of(value.message_type).load

            def put_one(target: Any, key: str, item: Any) -> None:
                load(target[key], item)

        pairs_of = _pairs if not holds_json(field) else self._pairs_of_text

        def put(message: Any, given: Any) -> None:
            target = getattr(message, name)
            for key, item in pairs_of(given):
                put_one(target, key, item)

        return put

    def _pairs_of_text(self, text: Any) -> Iterable[tuple[str, Any]]:
        part = bytes(text)
        if part == b"null":
            return ()
        return [(key, bytes(raw)) for key, raw in self._reading.split(part).items()]


def _pairs(value: Any) -> Iterable[tuple[str, Any]]:
    if type(value) is not dict:
        raise JsonFault("must be an object")
    return value.items()


def _items_of(field: FieldDescriptor) -> Callable[[Any], list[Any]]:
    if holds_json(field):
        return _items_of_text
    return _items_or_one if takes_one_object(field) else _items


def _items_of_text(text: Any) -> list[Any]:
    part = bytes(text)
    return [] if part == b"null" else [bytes(raw) for raw in split_array(part)]


def _items_or_one(value: Any) -> list[Any]:
    return [value] if type(value) is dict else _items(value)


def _items(value: Any) -> list[Any]:
    if type(value) is not list:
        raise JsonFault("must be a list")
    return value
