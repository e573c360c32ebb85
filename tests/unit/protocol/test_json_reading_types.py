from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor

from tocsin.api.methods.table import COMMANDS
from tocsin.protocol.json_codec import SERVER
from tocsin.protocol.json_reading import holds_json, map_value, takes_one_object
from tocsin.protocol.json_text import JsonFault

VALUES: tuple[Any, ...] = (42, -1, 1.5, "x", "42", True, [], [1], {}, {"a": 1}, 2**70)
DEPTH = 3

KINDS = {
    FieldDescriptor.TYPE_STRING: "must be a string",
    FieldDescriptor.TYPE_BOOL: "must be true or false",
    FieldDescriptor.TYPE_DOUBLE: "must be a number",
    FieldDescriptor.TYPE_INT32: "must be a whole number",
    FieldDescriptor.TYPE_INT64: "must be a whole number",
    FieldDescriptor.TYPE_UINT32: "must be a whole number",
    FieldDescriptor.TYPE_UINT64: "must be a whole number",
}


def wanted(field: FieldDescriptor) -> tuple[tuple[type, ...], str]:
    """The JSON types that a field takes, and the words for any other."""
    if map_value(field) is not None:
        return (dict,), "must be an object"
    if field.is_repeated:
        types = (list, dict) if takes_one_object(field) else (list,)
        return types, "must be a list"
    if field.message_type is not None:
        return (dict,), "must be an object"
    scalars: dict[int, tuple[type, ...]] = {
        FieldDescriptor.TYPE_STRING: (str,),
        FieldDescriptor.TYPE_BOOL: (bool,),
        FieldDescriptor.TYPE_DOUBLE: (int, float),
    }
    return scalars.get(field.type, (int,)), KINDS[field.type]


def wrong_bodies(
    fields: Any, wrap: Any, path: str, depth: int
) -> Iterator[tuple[Any, str, str]]:
    """Body, path of the field at fault, and the words, for each field and type."""
    for field in fields:
        here = f"{path}.{field.name}" if path else field.name
        if field.type == FieldDescriptor.TYPE_BYTES:
            continue  # takes any JSON
        types, words = wanted(field)
        for value in VALUES:
            if type(value) not in types:
                yield wrap({field.name: value}), here, words
        if (value_field := map_value(field)) is not None:
            if value_field.type in KINDS:
                body = wrap({field.name: {"good": "x", "the key": [1]}})
                yield body, here, "must be"
            continue
        one: Any = lambda inner, name=field.name: wrap({name: inner})  # noqa: E731 - wraps each level
        if field.is_repeated:
            here += "[1]"
            first: Any = {} if field.message_type is not None else _good(field)
            one = lambda inner, name=field.name, first=first: wrap(  # noqa: E731 - as above
                {name: [first, inner]}
            )
            yield one([1]), here, "must be"
        if field.message_type is not None and depth:
            yield from wrong_bodies(field.message_type.fields, one, here, depth - 1)


def _good(field: FieldDescriptor) -> Any:
    return "x" if field.type == FieldDescriptor.TYPE_STRING else 1


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_field_of_a_wrong_type_is_named(name: str) -> None:
    """Whoever sends `"user": 42` reads that `user` must be a string."""
    kind = COMMANDS[name].request_class
    fields: Any = kind.DESCRIPTOR.fields
    cases = list(wrong_bodies(fields, lambda body: body, "", DEPTH))
    if fields and not all(map(holds_json, fields)):
        assert cases
    for body, path, words in cases:
        with pytest.raises(JsonFault) as caught:
            SERVER.read(kind, json.dumps(body).encode())
        assert caught.value.path == path, body
        assert caught.value.reason.startswith(words), (body, str(caught.value))


@pytest.mark.parametrize("body", [42, "x", True, [], [1], 1.5])
@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_body_of_a_wrong_type_says_what_it_must_be(name: str, body: Any) -> None:
    """It has no field to name."""
    with pytest.raises(JsonFault) as caught:
        SERVER.read(COMMANDS[name].request_class, json.dumps(body).encode())
    assert (caught.value.path, caught.value.reason) == ("", "must be an object")
