"""The JSON of every message type of the schemas, as every release wrote and read it.

`json_golden.json` was made by the readers and writers that stood before this codec.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.json_corpus import digest, outcomes, types_below, written

from tocsin.protocol import api_pb2
from tocsin.protocol import client_pb2 as pb
from tocsin.protocol.frames import BadFrame, Encoding, decode_commands
from tocsin.protocol.json_codec import CLIENT, FILES, SERVER, JsonCodec
from tocsin.protocol.json_text import WHITE, JsonFault

_GOLDEN = json.loads(
    Path(__file__).with_name("json_golden.json").read_text(encoding="utf-8")
)
_SERVICE = api_pb2.DESCRIPTOR.services_by_name["CentrifugoApi"]
_SERVER_TYPES = types_below(*api_pb2.DESCRIPTOR.message_types_by_name.values())
_REQUESTS = types_below(*(rpc.input_type for rpc in _SERVICE.methods))
_CLIENT_TYPES = types_below(*pb.DESCRIPTOR.message_types_by_name.values())
_WORDS_OF_PARSERS = re.compile(r"(cannot be read|not JSON): .*", re.DOTALL)


@pytest.mark.parametrize(
    ("what", "types", "codec"),
    [
        ("server writes", _SERVER_TYPES, SERVER),
        ("client writes", _CLIENT_TYPES, CLIENT),
    ],
)
def test_every_message_is_written_as_it_was(
    what: str, types: dict[str, Any], codec: JsonCodec
) -> None:
    """Empty, full, and with other values: the same bytes for every type."""
    assert {name: written(kind, codec.write) for name, kind in types.items()} == (
        _GOLDEN[what]
    )


def _read_as(codec: JsonCodec, *, words: bool = True) -> Callable[[Any, bytes], Any]:
    def read(kind: Any, text: bytes) -> Any:
        try:
            return codec.read(kind, text)
        except JsonFault as fault:
            # Words of the parsers below change with their versions.
            said = _WORDS_OF_PARSERS.sub(r"\1", str(fault))
            return f"! {said}" if words else "!"

    return read


def _read_frame(kind: Any, text: bytes) -> Any:
    """Client frames are stripped before they are taken apart."""
    return _read_as(CLIENT, words=False)(kind, text.strip(WHITE))


@pytest.mark.parametrize(
    ("what", "types", "read"),
    [
        ("server reads", _REQUESTS, _read_as(SERVER)),
        ("file reads", _REQUESTS, _read_as(FILES)),
        ("client reads", _CLIENT_TYPES, _read_frame),
    ],
)
def test_every_message_is_read_as_it_was(
    what: str, types: dict[str, Any], read: Callable[[Any, bytes], Any]
) -> None:
    """Good and bad JSON in every field: the same message, or a fault in these words."""
    found = {name: digest(outcomes(kind, read)) for name, kind in types.items()}
    assert found == _GOLDEN[what]


_ONE = b'{"id":1,"publish":{"channel":"c","data":{"a": "\xc3\xbc"}}}'
_TWO = b'{\n "id":2,\r\n\n "ping":{}}'


@pytest.mark.parametrize(
    "between", [b"", b"\n", b"\r\n", b" ", b"\n\n \t\n", b"\n" * 50_000]
)
@pytest.mark.parametrize("order", [(_ONE,) * 3, (_TWO, _ONE), (_ONE, _TWO, _TWO)])
def test_commands_stand_one_after_another(
    order: tuple[bytes, ...], between: bytes
) -> None:
    """On a line each, several on one, one on several: all of them, in order."""
    found = list(decode_commands(Encoding.JSON, b" " + between.join(order) + b"\n"))
    assert found == [CLIENT.read(pb.Command, text) for text in order]


@pytest.mark.parametrize("between", [b"", b"\n"])
@pytest.mark.parametrize(
    "bad", [b"1", b"null", b'{"id":"x"}', b'{"id":1', b"x", b"[" * 100_000]
)
def test_commands_before_a_bad_one_are_given(bad: bytes, between: bytes) -> None:
    """A frame goes wrong where it goes wrong, and not before."""
    found = decode_commands(Encoding.JSON, between.join((_ONE, _ONE, bad)))
    assert [next(found).id, next(found).id] == [1, 1]
    with pytest.raises(BadFrame):
        next(found)


def test_of_a_doubled_name_the_last_counts() -> None:
    """At every door alike: a message written twice is not joined."""
    text = b'{"id":1,"rpc":{"method":"a"},"id":2,"rpc":{"data":1}}'
    command = CLIENT.read(pb.Command, text)
    assert (command.id, command.rpc.method, command.rpc.data) == (2, "", b"1")


def test_many_commands_on_one_line_take_no_squares() -> None:
    """Each is looked at once, so that a full frame of them holds up nobody."""
    frame = b"{}" * 30_000
    assert sum(1 for _ in decode_commands(Encoding.JSON, frame)) == 30_000
