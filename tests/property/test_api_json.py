"""The JSON form of every message against itself and against protobuf's own."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.messages import messages

from tocsin.api.methods.table import SERVICE
from tocsin.protocol.json_codec import SERVER
from tocsin.protocol.json_reading import holds_json
from tocsin.protocol.json_text import JsonFault

_INPUTS = [rpc.input_type for rpc in SERVICE.methods]
_OUTPUTS = [rpc.output_type for rpc in SERVICE.methods]
_WITHOUT_INLINE = [
    kind for kind in (*_INPUTS, *_OUTPUTS) if not holds_json(*kind.fields)
]

_TEXT = st.text(st.characters(codec="utf-8"), max_size=5)
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | _TEXT,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3)
    ),
    max_leaves=5,
)


@st.composite
def _inline(draw: st.DrawFn) -> bytes:
    """JSON in some spelling: indented, spread, with escapes or without."""
    text = json.dumps(
        draw(_JSON),
        ensure_ascii=draw(st.booleans()),
        indent=draw(st.sampled_from([None, 1])),
        separators=draw(st.sampled_from([(",", ":"), (" , ", " : ")])),
    )
    return text.encode()


def _any_of(kinds: list[Descriptor]) -> st.SearchStrategy[Any]:
    return st.sampled_from(kinds).flatmap(lambda kind: messages(kind, inline=_inline()))


def _spelled(message: Any) -> dict[str, Any]:
    """The message as plain values, by the slow way: what a caller would write."""
    out: dict[str, Any] = {}
    for field, value in message.ListFields():
        out[field.name] = _spelled_field(field, value)
    return out


def _spelled_field(field: Any, value: Any) -> Any:
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        inner = kind.fields_by_name["value"]
        return {key: _spelled_value(inner, value[key]) for key in value}
    if field.is_repeated:
        return [_spelled_value(field, item) for item in value]
    return _spelled_value(field, value)


def _spelled_value(field: Any, value: Any) -> Any:
    if field.message_type is not None:
        return _spelled(value)
    if isinstance(value, bytes):
        return json.loads(value)
    return value


@settings(max_examples=150)
@given(_any_of(_WITHOUT_INLINE))
def test_protobuf_reads_what_we_write(message: Any) -> None:
    """Without JSON inside, our form is one that protobuf's own reader takes."""
    text = SERVER.write(message)
    assert json_format.Parse(text, type(message)()) == message
    assert SERVER.read(type(message), text) == message


@settings(max_examples=150)
@given(_any_of([*_INPUTS, *_OUTPUTS]))
def test_we_write_what_the_message_holds(message: Any) -> None:
    """Every answer is JSON of the same values, with nothing left out that is set."""
    text = SERVER.write(message)
    written = json.loads(text)
    expected = _spelled(message)
    assert _covers(written, expected)
    assert not any(char in text for char in b"<>&")


def _covers(written: Any, expected: Any) -> bool:
    """Whether all of `expected` is there; what is more is empty."""
    if isinstance(expected, dict):
        return isinstance(written, dict) and all(
            _covers(value, expected[key]) if key in expected else _is_empty(value)
            for key, value in {**dict.fromkeys(expected), **written}.items()
        )
    if isinstance(expected, list):
        return len(written) == len(expected) and all(map(_covers, written, expected))
    return bool(written == expected)


def _is_empty(value: Any) -> bool:
    return value in ("", 0, [], {}, False)


@settings(max_examples=150)
@given(
    st.sampled_from(_INPUTS).flatmap(
        lambda kind: st.tuples(messages(kind, inline=_inline()), st.booleans())
    )
)
def test_we_read_what_a_caller_writes(drawn: tuple[Any, bool]) -> None:
    """Requests come back whole, JSON inside letter for letter, in any case of names."""
    message, upper = drawn
    text = _write(message, upper)
    assert SERVER.read(type(message), text.encode()) == message


def _write(message: Any, upper: bool) -> str:
    parts = []
    for field, value in message.ListFields():
        name = field.name.upper() if upper else field.name
        parts.append(f'"{name}" :{_write_field(field, value, upper)}')
    return "{ " + " ,".join(parts) + "}"


def _write_field(field: Any, value: Any, upper: bool) -> str:
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        inner = kind.fields_by_name["value"]
        parts = (
            f"{json.dumps(key)}:{_write_value(inner, value[key], upper)}"
            for key in value
        )
        return "{" + ",".join(parts) + "}"
    if field.is_repeated:
        return "[" + ",".join(_write_value(field, one, upper) for one in value) + "]"
    return _write_value(field, value, upper)


def _write_value(field: Any, value: Any, upper: bool) -> str:
    if field.message_type is not None:
        return _write(value, upper)
    if isinstance(value, bytes):
        return value.decode()
    return json.dumps(value)


@settings(max_examples=300)
@given(st.sampled_from(_INPUTS), st.binary(max_size=40) | _inline())
def test_any_bytes_are_a_request_or_a_fault(kind: Descriptor, body: bytes) -> None:
    """Whatever comes in, reading ends in a message or in a fault by its path."""
    message_class: Any = GetMessageClass(kind)
    with contextlib.suppress(JsonFault):
        assert isinstance(SERVER.read(message_class, body), message_class)
