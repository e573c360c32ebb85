from __future__ import annotations

import json
from typing import Any

import pytest

from tocsin.core.push import TargetKind
from tocsin.providers.fcm_message import BodyTemplate, InvalidMessage, RenderedBodies

ODD = (
    b' {\n "data" : {"n": "1.50", "e": "\\u00e9\\ud83d\\ude00", "a": "\xc3\xa9"},'
    b'\t"x": [1e400, 12345678901234567890123, -0.0, 1.10], "data": {}, "t": "}" }\n'
)
"""Whitespace, escapes, huge and odd numbers, a doubled key: all of it must stay."""


def build(message: bytes, target: str = "t", **options: Any) -> bytes:
    kind = TargetKind(options.get("kind", "token"))
    only = bool(options.get("validate_only"))
    return BodyTemplate(message, kind, validate_only=only).build(target)


def test_the_message_is_kept_byte_for_byte() -> None:
    """The body is the message with one pair spliced in after its first brace."""
    spliced = ODD.replace(b"{", b'{"token":"t",', 1)
    assert build(ODD) == b'{"message":' + spliced + b"}"


@pytest.mark.parametrize("message", [b"{}", b" { } ", b"{\n}"])
def test_an_empty_message_stays_valid(message: bytes) -> None:
    """No comma follows the target where nothing else does."""
    assert json.loads(build(message)) == {"message": {"token": "t"}}


@pytest.mark.parametrize("key", ["token", "fid", "topic", "condition"])
def test_a_target_in_the_message_is_taken_out(key: str) -> None:
    """Only top-level targets go; equal keys deeper down are the user's."""
    message = {key: "old", "data": {key: "kept"}, "apns": {"n": 12345678901234567890}}
    built = json.loads(build(json.dumps(message).encode()))
    assert built == {
        "message": {"token": "t", "data": {key: "kept"}, "apns": message["apns"]}
    }


def test_a_nested_target_alone_changes_nothing() -> None:
    """A `token` in data does not cost the byte-for-byte promise."""
    message = b'{"data": {"token":  "kept"}}'
    assert build(message) == b'{"message":{"token":"t","data": {"token":  "kept"}}}'


def test_validate_only_stands_outside_the_message() -> None:
    """The flag belongs to the request."""
    built = json.loads(build(b'{"data":{}}', validate_only=True))
    assert built == {"validate_only": True, "message": {"token": "t", "data": {}}}


@pytest.mark.parametrize("kind", ["token", "topic", "condition"])
def test_each_kind_has_its_key(kind: str) -> None:
    """Tokens, topics and conditions go under their own names."""
    built = json.loads(build(b"{}", "x", kind=kind))
    assert built == {"message": {kind: "x"}}


@pytest.mark.parametrize(
    "target", ['"', "\\", "\n\x00", "é", "\U0001f600", "\udc80", "</x>", "a:b-c_d"]
)
def test_any_target_survives(target: str) -> None:
    """Whatever the string holds, FCM reads the same string."""
    assert json.loads(build(b"{}", target)) == {"message": {"token": target}}


@pytest.mark.parametrize("message", [b"", b"{", b"[]", b"null", b'"x"', b"\xff"])
def test_what_is_no_object_is_invalid(message: bytes) -> None:
    """A message nobody can be sent is found before the first request."""
    with pytest.raises(InvalidMessage):
        build(message)


@pytest.mark.parametrize("validate_only", [False, True])
@pytest.mark.parametrize(
    "message",
    [
        ODD,
        b'{"a":1}',
        b'{ "a" : "x" }',
        b"{}",
        b" { } ",
        b'{"token":"old","a":1}',
        b'{"data":{"topic":"t"}}',
        b'{"\\u0074oken":"old","a":1}',
        b'{"a":"\\u0001"}',
    ],
)
def test_an_own_message_is_built_as_a_shared_one(
    message: bytes, validate_only: bool
) -> None:
    """The fast way for rendered messages puts out what the thorough way does."""
    rendered = RenderedBodies(TargetKind.TOKEN, validate_only=validate_only)
    expected = build(message, 'a"b', validate_only=validate_only)
    assert rendered.build(message, 'a"b') == expected


@pytest.mark.parametrize("message", [b"", b"[]", b"{", b"null"])
def test_an_own_message_that_is_no_object(message: bytes) -> None:
    """It is found out for the one recipient that has it."""
    with pytest.raises(InvalidMessage):
        RenderedBodies(TargetKind.TOKEN, validate_only=False).build(message, "t")
