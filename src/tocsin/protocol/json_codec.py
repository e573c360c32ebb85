"""Messages of the schemas ⇄ JSON, for every door. Part of `protocol`: pure.

Members have the fields' proto names, and `bytes` fields hold JSON, which is kept letter
for letter. The differences between the doors are at the end of this module.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

import orjson
from google.protobuf.message import Message

from tocsin.protocol.json_reading import Reader, Reading
from tocsin.protocol.json_text import (
    JsonFault,
    embed_compact,
    embed_in_line,
    escape_markup,
    parse_with_halves,
    split_object,
    split_object_with_halves,
)
from tocsin.protocol.json_writing import Write, Writing, build_writer

M = TypeVar("M", bound=Message)


class JsonCodec:
    """Reads and writes messages of any type, by the rules of one door."""

    def __init__(self, reading: Reading, writing: Writing) -> None:
        self._reading = reading
        self._writing = writing
        self._readers: dict[Any, Reader] = {}
        self._writers: dict[Any, Write] = {}

    def read(self, kind: type[M], text: bytes) -> M:
        """A message from a text that holds its JSON alone; raises `JsonFault`.

        A member that is `null` is not set; only for a `bytes` field it is a value.
        """
        message = kind()
        try:
            self._reader(kind.DESCRIPTOR).read(message, text)
        except orjson.JSONDecodeError as error:
            raise JsonFault(f"not JSON: {error}") from None
        except RecursionError:
            raise JsonFault("nested too deep") from None
        return message

    def write(self, message: Message) -> bytes:
        """Compact JSON on one line; raises `ForeignData` for `bytes` without JSON."""
        text = orjson.dumps(self._writer(message.DESCRIPTOR)(message))
        return escape_markup(text) if self._writing.for_html else text

    def _reader(self, kind: Any) -> Reader:
        found = self._readers.get(kind)
        if found is None:
            found = self._readers[kind] = Reader(kind, self._reading, self._reader)
        return found

    def _writer(self, kind: Any) -> Write:
        found = self._writers.get(kind)
        if found is None:
            found = build_writer(kind, self._writing, self._writer)
            self._writers[kind] = found
        return found


LIST_MOST = 4_096
"""Items of a list that a client may send; a filter has a few. A list is read in one
go, however long it is."""

_SERVER_READING = Reading(
    any_case=True,
    knows_all=False,
    null_is_empty=True,
    list_most=2**31,
    split=split_object,
    parse=orjson.loads,
)
_SERVER_WRITING = Writing(
    always_first=True,
    sorts_maps=True,
    for_html=True,
    embed=embed_compact,
)
SERVER = JsonCodec(_SERVER_READING, _SERVER_WRITING)
"""The server API: requests of back ends, and their answers."""
FILES = JsonCodec(replace(_SERVER_READING, knows_all=True), _SERVER_WRITING)
"""Requests of the server API in users' files: an unknown field is an error, so that
typing errors are found."""
CLIENT = JsonCodec(
    Reading(
        any_case=False,
        knows_all=False,
        null_is_empty=False,
        list_most=LIST_MOST,
        split=split_object_with_halves,
        parse=parse_with_halves,
    ),
    Writing(
        always_first=False,
        sorts_maps=False,
        for_html=False,
        embed=embed_in_line,
    ),
)
"""The client protocol: frames from and to SDKs."""
