from __future__ import annotations

import json

import pytest

from tocsin.providers.json_message import InvalidMessage, JsonTemplate


@pytest.mark.parametrize(
    "message",
    [b'{"a": 1.50, "b": "\\u00fc"}', b' \n{ "a" : {"to": "kept"} } ', b'{"a":1}'],
)
def test_a_message_without_a_target_is_kept_byte_for_byte(message: bytes) -> None:
    """Not even a blank of the user's own JSON changes."""
    body = JsonTemplate(message, {"to"}).with_fields(b'"to":["x"]')
    assert body == b'{"to":["x"],' + message[message.index(b"{") + 1 :]
    assert json.loads(body) == {"to": ["x"], **json.loads(message)}


@pytest.mark.parametrize("message", [b"{}", b"{ }", b'{"to": "old"}'])
def test_a_message_of_nothing_else_gets_no_comma(message: bytes) -> None:
    """Only the target is left, and it is valid JSON."""
    body = JsonTemplate(message, {"to"}).with_fields(b'"to":"x"')
    assert json.loads(body) == {"to": "x"}


def test_targets_of_the_message_give_way() -> None:
    """Each key of the kind goes, at the top only, and the rest stays in order."""
    message = b'{"z": [1], "to": "old", "topic": "old", "a": {"to": "kept"}}'
    body = JsonTemplate(message, {"to", "topic"}).with_fields(b'"to":"new"')
    assert body == b'{"to":"new","z":[1],"a":{"to":"kept"}}'


@pytest.mark.parametrize(
    "message", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000]
)
def test_what_is_no_object_is_refused(message: bytes) -> None:
    """Broken text, other kinds, and nesting that no parser survives."""
    with pytest.raises(InvalidMessage):
        JsonTemplate(message, ())
