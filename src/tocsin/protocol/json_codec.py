"""Messages of the schemas ⇄ JSON, for every door. Part of `protocol`: pure.

Members have the fields' proto names, and `bytes` fields are JSON inside the JSON, kept
letter for letter. Where doors differ stands below, side by side.
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
    """Reads and writes messages of any type as one door does."""

    def __init__(self, reading: Reading, writing: Writing) -> None:
        self._reading = reading
        self._writing = writing
        self._readers: dict[Any, Reader] = {}
        self._writers: dict[Any, Write] = {}

    def read(self, kind: type[M], text: bytes) -> M:
        """A message from its JSON, which is all of the text; raises `JsonFault`.

        A member of `null` is not set, but in a `bytes` field it is a value.
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
        """Compact JSON on one line; raises `ForeignData` for `bytes` that are none."""
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
"""Of a list that a client sends: a filter has a few. It is read in one go."""

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
"""The server API: what back ends send and are answered."""
FILES = JsonCodec(replace(_SERVER_READING, knows_all=True), _SERVER_WRITING)
"""Requests of the server API in files of users: a typing error is found."""
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
"""The client protocol: frames of SDKs and for them."""
