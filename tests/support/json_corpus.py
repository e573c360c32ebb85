"""The JSON of every message type, both ways, made from the descriptors alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message_factory import GetMessageClass

_SCALARS: dict[int, tuple[Any, Any]] = {
    FieldDescriptor.TYPE_STRING: ("a<b>&'\"\\ü\u2028\n", "z"),
    FieldDescriptor.TYPE_BOOL: (True, False),
    FieldDescriptor.TYPE_DOUBLE: (2.0, 0.1),
    FieldDescriptor.TYPE_INT32: (-(2**31), 7),
    FieldDescriptor.TYPE_INT64: (-(2**63), 7),
    FieldDescriptor.TYPE_SINT64: (-(2**63), 7),
    FieldDescriptor.TYPE_UINT32: (2**32 - 1, 7),
    FieldDescriptor.TYPE_UINT64: (2**64 - 1, 7),
    FieldDescriptor.TYPE_BYTES: (
        b' { "a b" : [1.50,\n 1e400, "\\ud83d \\" <&"],\t"a":null}\r\n',
        b"null",
    ),
}

TEXTS = (
    *("null", "true", "false", "0", "1", "-1", "-0", "1.0", "1.5", "1e2", "1e400"),
    *("2147483648", "-2147483649", "4294967296", "9223372036854775808"),
    *("18446744073709551615", "18446744073709551616", "123456789012345678901234"),
    *('""', '"text"', '"ü\\u00e9\\n"', '"\\ud800"', '"\\ud83d\\ude00"', '"a\tb"'),
    *('"\\x"', '"open', "tru", "nulll", "NaN", "Infinity", "01", "1.", "+1", ""),
    *("[]", "[ ]", "[null]", "[1]", '["a"]', '["a","b"]', '["\\ud800"]', "[{}]"),
    *('[{"x":1}]', "[1,]", "[1 2]", "[[]]", "[", "{}", "{ }", '{"a":null}'),
    *('{"a":1}', '{"a":"b"}', '{"a":{}}', '{"":"b","a":"\\ud800"}', '{"a":tru}'),
    *('{"a" 1}', "{1:2}", '{"a":1,}', "{", '{"a":{"b":[1 , 2]}}', '{"\\ud800":"b"}'),
)
"""What is tried in the place of every field."""

_AROUND = (
    *("", " ", "null", " null\n", "1", '"a"', "true", "[]", "[{}]", "{}", " { }\n"),
    *("{} {}", "{}x", "{", "{,}", '{"x":1}', '{"x":"\\ud800"}', '{"x":tru}', '{"x"}'),
    *('{"\\ud800":1}', "{'x':1}", "NaN", "{}\x00", "\ufeff{}", "\u00a0{}"),
)
"""What is tried in the place of a message."""


def types_below(*kinds: Descriptor) -> dict[str, Descriptor]:
    """These message types and all that they hold, maps' own left out, by name."""
    found: dict[str, Descriptor] = {}
    waiting = list(kinds)
    while waiting:
        kind = waiting.pop()
        if kind.full_name in found:
            continue
        found[kind.full_name] = kind
        waiting += [f.message_type for f in kind.fields if f.message_type is not None]
    return {
        name: kind
        for name, kind in sorted(found.items())
        if not kind.GetOptions().map_entry
    }


def filled(kind: Descriptor, *, second: bool = False, depth: int = 1) -> Any:
    """A message with something in every field, down to `depth`, empty below."""
    message = GetMessageClass(kind)()
    for field in kind.fields:
        _fill(message, field, second, depth)
    return message


def _fill(message: Any, field: FieldDescriptor, second: bool, depth: int) -> None:
    inner = field.message_type
    if inner is not None and inner.GetOptions().map_entry:
        _fill_map(getattr(message, field.name), inner, depth)
    elif inner is not None and field.is_repeated:
        value = filled(inner, second=second, depth=depth - 1) if depth else None
        getattr(message, field.name).extend([value or GetMessageClass(inner)()] * 2)
    elif inner is not None:
        target = getattr(message, field.name)
        target.SetInParent()
        if depth:
            target.CopyFrom(filled(inner, second=second, depth=depth - 1))
    elif field.is_repeated:
        getattr(message, field.name).extend(_SCALARS[field.type])
    else:
        setattr(message, field.name, _SCALARS[field.type][second])


def _fill_map(target: Any, entry: Descriptor, depth: int) -> None:
    """One entry: the order of several is the map's own."""
    value = entry.fields_by_name["value"]
    if value.message_type is None:
        target["<ü>"] = _SCALARS[value.type][0]
    elif depth:
        target["<ü>"].CopyFrom(filled(value.message_type, depth=depth - 1))
    else:
        target["<ü>"].SetInParent()


def written(kind: Descriptor, write: Callable[[Any], bytes]) -> list[str]:
    """The JSON of an empty message and of two with everything in it."""
    return [
        write(message).decode()
        for message in (
            GetMessageClass(kind)(),
            filled(kind),
            filled(kind, second=True, depth=0),
        )
    ]


def texts_for(kind: Descriptor) -> Iterator[str]:
    """Good and bad JSON for a message of this type."""
    yield from _AROUND
    for field in kind.fields:
        name = field.name
        for text in TEXTS:
            yield f'{{"{name}":{text}}}'
        yield f'{{ "{name}" :\n null , "x" : 1 }}'
        yield f'{{"{name.upper()}":null}}'
        yield f'{{"{name.title()}":"a","x":[{{}}]}}'


def outcomes(kind: Descriptor, read: Callable[[Any, bytes], Any]) -> Iterator[str]:
    """What `read` makes of each text: bytes of the message, or the fault's words.

    `read` returns a message or a text.
    """
    message_class = GetMessageClass(kind)
    for text in texts_for(kind):
        made = read(message_class, text.encode())
        if not isinstance(made, str):
            made = made.SerializeToString(deterministic=True).hex()
        yield f"{text} -> {made}"


def digest(lines: Iterator[str]) -> str:
    """A short name of all lines."""
    return sha256("\n".join(lines).encode()).hexdigest()[:16]
