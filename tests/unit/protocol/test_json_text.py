import json
from collections.abc import Callable

import pytest

from tocsin.protocol.json_text import (
    JsonFault,
    split_array,
    split_members,
    split_object,
    split_object_with_halves,
)


@pytest.mark.parametrize(
    ("text", "members"),
    [
        ("{}", {}),
        (" { } ", {}),
        ('{"a":1}', {"a": "1"}),
        ('{ "a" : [1, 2] , "b":{"c" : 1.50} }', {"a": "[1, 2]", "b": '{"c" : 1.50}'}),
        ('{"a":1,"a":2}', {"a": "2"}),
        (r'{"\u0061":"\u0062"}', {"a": r'"\u0062"'}),
        ('{"":null}', {"": "null"}),
    ],
)
def test_members_keep_their_text(text: str, members: dict[str, str]) -> None:
    """Spaces around a value are left out, inside they stay."""
    assert split_members(text) == members


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "1",
        "{",
        "{1:2}",
        '{"a"}',
        '{"a":}',
        '{"a":1,}',
        '{"a":1 "b":2}',
        '{"a":1} x',
        '{"a":NaN}',
        '{"a":[Infinity]}',
        '{"a' + '":' + "[" * 100_000,
        "{'a':1}",
    ],
)
def test_what_is_no_object(text: str) -> None:
    """It raises ValueError and nothing else, as the parser of the library does."""
    with pytest.raises(ValueError, match=r"\w"):
        split_members(text)
    with pytest.raises((ValueError, AssertionError, RecursionError)):
        assert isinstance(json.loads(text, parse_constant=int), dict)


DEEP = b'{"a":' * 100_000


@pytest.mark.parametrize(
    "split",
    [split_object, split_object_with_halves, split_array],
    ids=["object", "halves", "array"],
)
def test_what_is_nested_too_deep_is_a_fault(split: Callable[[bytes], object]) -> None:
    """As any other JSON that cannot be read, for whoever splits it."""
    text = b"[" * 100_000 if split is split_array else DEEP
    with pytest.raises(JsonFault, match="nested too deep"):
        split(text)


def test_numbers_may_have_any_number_of_digits() -> None:
    """Python converts 4300 at most; nobody asks it to."""
    digits = "9" * 5000
    text = '{"a":"\\ud800","b":' + digits + "}"
    assert split_members(text) == {"a": '"\\ud800"', "b": digits}
    assert bytes(split_object_with_halves(text.encode())["b"]) == digits.encode()
