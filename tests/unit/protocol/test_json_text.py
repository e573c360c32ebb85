import json

import pytest

from tocsin.protocol.json_text import split_members


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
