"""API room: JSON → messages of the schema.

Fields have their proto names, integers of any width are numbers, and `bytes` fields
hold JSON inline, kept letter for letter. It calls no service and decides nothing but
spelling. What a type needs is worked out once; no request looks at a descriptor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeVar

import msgspec
import orjson
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

M = TypeVar("M", bound=Message)


class JsonFault(ValueError):
    """A request that cannot be understood: `path` is the field, or empty."""

    def __init__(self, reason: str, path: str = "") -> None:
        self.reason = reason
        self.path = path
        super().__init__(f"{path}: {reason}" if path else reason)

    def inside(self, part: str) -> JsonFault:
        """The same fault seen from one level above; `part` is a name or `[n]`."""
        dot = "." if self.path and not self.path.startswith("[") else ""
        return JsonFault(self.reason, f"{part}{dot}{self.path}")


Check = Callable[[Any], Any]
Put = Callable[[Any, Any], None]
Read = Callable[[Any, bytes], None]

_split_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_split_array = msgspec.json.Decoder(list[msgspec.Raw]).decode


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
        if type(value) is not int:
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
    FieldDescriptor.TYPE_UINT32: _integers(0, 2**32 - 1),
    FieldDescriptor.TYPE_UINT64: _integers(0, 2**64 - 1),
}


class _Member:
    """One field: `put` takes a parsed value; `read` takes its text, kept as it is."""

    __slots__ = ("name", "put", "read")

    def __init__(self, field: FieldDescriptor, strict: bool) -> None:
        self.name = field.name
        self.put: Put | None = None
        self.read: Read | None = None
        if holds_json(field):
            self.read = _reader(field, strict)
        else:
            self.put = _putter(field, strict)


class _Form:
    """How one message type is read."""

    def __init__(self, message: Descriptor, strict: bool) -> None:
        self.strict = strict
        self.holds_json = any(holds_json(field) for field in message.fields)
        # A type may hold itself: members are made at the first use.
        self._fields = message.fields
        self._made: dict[str, _Member] | None = None
        self._strict = strict

    @property
    def members(self) -> dict[str, _Member]:
        if self._made is None:
            self._made = {f.name: _Member(f, self._strict) for f in self._fields}
        return self._made

    def fill(self, message: Any, value: Any) -> None:
        """Set the fields of a message that holds no JSON inside."""
        if type(value) is not dict:
            raise JsonFault("must be an object")
        members = self.members
        for name, item in value.items():
            member = members.get(name) or self.find(name)
            if member is None or item is None:
                continue
            assert member.put is not None  # noqa: S101 - it holds no JSON
            try:
                member.put(message, item)
            except JsonFault as fault:
                raise fault.inside(member.name) from None
            except UnicodeEncodeError:
                raise JsonFault("holds half a character", member.name) from None

    def find(self, name: str) -> _Member | None:
        """The field of a name in whatever case."""
        member = self.members.get(name.lower())
        if member is None and self.strict:
            raise JsonFault("no such field", name)
        return member

    def read(self, message: Any, text: bytes) -> None:
        """Set the fields of a message that holds JSON inside."""
        members = self.members
        for name, raw in split_object(text).items():
            member = members.get(name) or self.find(name)
            if member is None:
                continue
            part = bytes(raw)
            try:
                if member.read is not None:
                    member.read(message, part)
                    continue
                value = orjson.loads(part)
                if value is not None:
                    assert member.put is not None  # noqa: S101 - one of both is set
                    member.put(message, value)
            except JsonFault as fault:
                raise fault.inside(member.name) from None
            except UnicodeEncodeError:
                raise JsonFault("holds half a character", member.name) from None
            except orjson.JSONDecodeError as error:
                raise JsonFault(f"cannot be read: {error.msg}", member.name) from None


def split_object(text: bytes) -> dict[str, msgspec.Raw]:
    """Name → text of the value; raises `JsonFault`."""
    try:
        return _split_object(text)
    except msgspec.MsgspecError as error:
        raise _fault(error, "must be an object") from None


def split_array(text: bytes) -> list[msgspec.Raw]:
    """The texts of the items; raises `JsonFault`."""
    try:
        return _split_array(text)
    except msgspec.MsgspecError as error:
        raise _fault(error, "must be a list") from None


def _fault(error: msgspec.MsgspecError, expected: str) -> JsonFault:
    if isinstance(error, msgspec.ValidationError):
        return JsonFault(expected)
    return JsonFault(f"not JSON: {error}")


@cache
def _form(message: Descriptor, strict: bool) -> _Form:
    return _Form(message, strict)


def holds_json(field: FieldDescriptor) -> bool:
    """Whether a `bytes` field stands here or anywhere below."""
    return _has_bytes(field, frozenset())


def _has_bytes(field: FieldDescriptor, above: frozenset[str]) -> bool:
    if field.type == FieldDescriptor.TYPE_BYTES:
        return True
    kind = field.message_type
    if kind is None or kind.full_name in above:
        return False
    return any(_has_bytes(f, above | {kind.full_name}) for f in kind.fields)


def is_map(field: FieldDescriptor) -> bool:
    """Whether the field is a map rather than a list."""
    kind = field.message_type
    return kind is not None and bool(kind.GetOptions().map_entry)


def takes_one_object(field: FieldDescriptor) -> bool:
    """Whether the field may be a single object in place of a list.

    The oldest description of the API has it so for tokens by provider.
    """
    kind = field.message_type
    return field.is_repeated and kind is not None and kind.name == "ProviderTokens"


def _putter(field: FieldDescriptor, strict: bool) -> Put:
    """Sets a field that holds no JSON inside from its parsed value."""
    name = field.name
    if is_map(field):
        return _map_putter(field, strict)
    if field.is_repeated:
        return _list_putter(field, strict)
    if field.message_type is not None:
        form = _form(field.message_type, strict)

        def put_message(message: Any, value: Any) -> None:
            child = getattr(message, name)
            child.SetInParent()
            form.fill(child, value)

        return put_message
    check = _CHECKS[field.type]

    def put(message: Any, value: Any) -> None:
        setattr(message, name, check(value))

    return put


def _list_putter(field: FieldDescriptor, strict: bool) -> Put:
    name, single = field.name, takes_one_object(field)
    if field.message_type is None:
        check = _CHECKS[field.type]

        def add(target: Any, item: Any) -> None:
            target.append(check(item))
    else:
        form = _form(field.message_type, strict)

        def add(target: Any, item: Any) -> None:
            form.fill(target.add(), item)

    def put(message: Any, value: Any) -> None:
        if single and type(value) is dict:
            value = [value]
        if type(value) is not list:
            raise JsonFault("must be a list")
        target = getattr(message, name)
        for number, item in enumerate(value):
            try:
                add(target, item)
            except JsonFault as fault:
                raise fault.inside(f"[{number}]") from None

    return put


def _map_putter(field: FieldDescriptor, strict: bool) -> Put:
    name = field.name
    assert field.message_type is not None  # noqa: S101 - a map has an entry type
    value_field = field.message_type.fields_by_name["value"]
    if value_field.message_type is not None:
        form = _form(value_field.message_type, strict)

        def put_one(target: Any, key: str, value: Any) -> None:
            form.fill(target[key], value)
    else:
        check = _CHECKS[value_field.type]

        def put_one(target: Any, key: str, value: Any) -> None:
            target[key] = check(value)

    def put(message: Any, value: Any) -> None:
        if type(value) is not dict:
            raise JsonFault("must be an object")
        target = getattr(message, name)
        for key, item in value.items():
            put_one(target, key, item)

    return put


def _reader(field: FieldDescriptor, strict: bool) -> Read:
    """Sets a field with JSON inside from the text."""
    read_one = _one_reader(field, strict)
    if is_map(field):
        raise TypeError(f"{field.full_name}: JSON inside of a map is not read")
    if not field.is_repeated:
        return read_one

    def read(message: Any, text: bytes) -> None:
        if text == b"null":
            return
        for number, raw in enumerate(split_array(text)):
            try:
                read_one(message, bytes(raw))
            except JsonFault as fault:
                raise fault.inside(f"[{number}]") from None

    return read


def _one_reader(field: FieldDescriptor, strict: bool) -> Read:
    name, repeated = field.name, field.is_repeated
    if field.type == FieldDescriptor.TYPE_BYTES:

        def read_json(message: Any, text: bytes) -> None:
            """Keep the value as it is written; `null` is a value too."""
            if repeated:
                getattr(message, name).append(text)
            else:
                setattr(message, name, text)

        return read_json
    assert field.message_type is not None  # noqa: S101 - else it holds no JSON
    form = _form(field.message_type, strict)

    def read_message(message: Any, text: bytes) -> None:
        if repeated:
            form.read(getattr(message, name).add(), text)
        elif text != b"null":
            child = getattr(message, name)
            child.SetInParent()
            form.read(child, text)

    return read_message


def decode(kind: type[M], text: bytes, *, strict: bool = False) -> M:
    """A message from its JSON text; raises `JsonFault`.

    `null` is an empty message, a field of `null` is not set. Names are matched in
    any case. Unknown ones are passed over, or with `strict` are faults, so that a
    typing error in a file is found.
    """
    form = _form(kind.DESCRIPTOR, strict)
    message = kind()
    try:
        if not form.holds_json:
            value = orjson.loads(text)
            if value is not None:
                form.fill(message, value)
        else:
            check_utf8(text)
            # What is split off has no white space around; a whole body may have.
            if not text.startswith(b"{") and text.strip(WHITE) == b"null":
                return message
            form.read(message, text)
    except orjson.JSONDecodeError as error:
        raise JsonFault(f"not JSON: {error}") from None
    except RecursionError:
        raise JsonFault("nested too deep") from None
    return message


WHITE = b" \t\n\r"
"""What may stand around a value."""


def check_utf8(text: bytes) -> None:
    """Raise `JsonFault` where bytes are no text: splitting does not look at it."""
    if not text.isascii():
        try:
            text.decode()
        except UnicodeDecodeError as error:
            raise JsonFault(f"not UTF-8 at byte {error.start}") from None
