from __future__ import annotations

import itertools
from types import ModuleType

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto
from tests.support.wire_table import NAMES, Field, Rpc, read_additions, read_table

from tocsin.protocol import api_pb2, client_pb2, unistream_pb2

FILES: dict[str, ModuleType] = {
    "api": api_pb2,
    "client": client_pb2,
    "unistream": unistream_pb2,
}

# Messages that neither the published table nor additions.csv knows.
OWN = {
    "OnlineFirst": [
        Field("channel", 1, "string", "singular"),
        Field("data", 2, "bytes", "singular"),
        Field("wait_ms", 3, "uint32", "singular"),
        Field("tags", 4, "map<string,string>", "map"),
        Field("b64data", 5, "string", "singular"),
    ]
}

SCALARS = {
    number: name.removeprefix("TYPE_").lower()
    for name, number in vars(FieldDescriptor).items()
    if name.startswith("TYPE_")
}


def compiled(name: str) -> FileDescriptor:
    """The descriptor of the generated module."""
    descriptor = FILES[name].DESCRIPTOR
    assert isinstance(descriptor, FileDescriptor)
    return descriptor


def type_of(field: FieldDescriptor) -> str:
    """A field's type as the tables write it."""
    if field.message_type is None:
        return SCALARS[field.type]
    if field.message_type.GetOptions().map_entry:
        key, value = field.message_type.fields
        return f"map<{type_of(key)},{type_of(value)}>"
    return str(field.message_type.name)


def rows_of(message: Descriptor) -> list[Field]:
    """A message's fields as the tables list them, by number."""
    rows = []
    for field in message.fields:
        type_ = type_of(field)
        label = "repeated" if field.is_repeated else "singular"
        label = "map" if type_.startswith("map<") else label
        rows.append(Field(field.name, field.number, type_, label))
    return sorted(rows, key=lambda row: row.number)


def expected_messages(name: str) -> dict[str, list[Field]]:
    """Every message that the compiled file must have, with its rows by number."""
    messages = {
        key: list(body.fields) for key, body in read_table(name).messages.items()
    }
    if name == "api":
        for message, rows in itertools.chain(read_additions().items(), OWN.items()):
            messages.setdefault(message, []).extend(rows)
    return {
        key: sorted(rows, key=lambda row: row.number) for key, rows in messages.items()
    }


@pytest.mark.parametrize("name", NAMES)
def test_package_is_the_published_one(name: str) -> None:
    """Each file has the package that the table names."""
    assert compiled(name).package == read_table(name).package


@pytest.mark.parametrize("name", NAMES)
def test_every_call_is_as_published(name: str) -> None:
    """Service, calls, their messages and streaming are those of the table."""
    table = read_table(name)
    services = compiled(name).services_by_name
    assert list(services) == ([table.service] if table.service else [])
    calls = [
        Rpc(
            method.name,
            method.input_type.name,
            method.output_type.name,
            method.server_streaming,
        )
        for service in services.values()
        for method in service.methods
    ]
    assert calls == table.rpcs
    assert not any(
        method.client_streaming
        for service in services.values()
        for method in service.methods
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_row_is_compiled_and_nothing_else_is(name: str) -> None:
    """Each message has the fields of its rows: number, type and label, no others."""
    messages = compiled(name).message_types_by_name
    assert {key: rows_of(value) for key, value in messages.items()} == (
        expected_messages(name)
    )


@pytest.mark.parametrize("name", NAMES)
def test_reserved_numbers_are_as_published(name: str) -> None:
    """Each message reserves the numbers that its table reserves, no others."""
    reserved = {}
    for key, message in compiled(name).message_types_by_name.items():
        copy = DescriptorProto()
        message.CopyToProto(copy)
        reserved[key] = [
            number
            for span in copy.reserved_range
            for number in range(span.start, span.end)
        ]
    published = read_table(name).messages
    assert {key: numbers for key, numbers in reserved.items() if numbers} == {
        key: body.reserved for key, body in published.items() if body.reserved
    }


@pytest.mark.parametrize("name", NAMES)
def test_only_messages_and_services_are_declared(name: str) -> None:
    """No enum, extension, oneof, optional or nested type stands beside the rows."""
    file = compiled(name)
    assert not file.enum_types_by_name
    assert not file.extensions_by_name
    for message in file.message_types_by_name.values():
        assert not message.oneofs, message.name
        assert not message.enum_types, message.name
        nested = [each.name for each in message.nested_types]
        maps = [row.name for row in rows_of(message) if row.label == "map"]
        assert len(nested) == len(maps), message.name


def test_counts_are_the_published_ones() -> None:
    """The table of the server API holds 40 calls and 163 messages."""
    table = read_table("api")
    assert len(table.rpcs) == 40
    assert len(table.messages) == 163


def test_additions_keep_clear_of_published_numbers() -> None:
    """A field added to a published message is numbered from 101 up."""
    published = read_table("api").messages
    added = {key: rows for key, rows in read_additions().items() if key in published}
    assert added
    assert all(row.number > 100 for rows in added.values() for row in rows)


def test_go_package_is_the_one_of_the_published_examples() -> None:
    """Go code generated from the file lands in a package named apiproto."""
    options = compiled("api").GetOptions()
    assert options.go_package == "./;apiproto"
