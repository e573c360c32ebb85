"""Slots of keys and the keys of commands."""

from __future__ import annotations

from typing import Any

import pytest

from tocsin.redis_access.commands import tagged, untagged
from tocsin.redis_access.slots import find_key, key_slot


@pytest.mark.parametrize(
    ("key", "slot"),
    # Asked of a server by CLUSTER KEYSLOT.
    [
        ("123456789", 12739),
        ("", 0),
        ("foo", 12182),
        ("{foo}.bar", 12182),
        ("x{foo}{bar}", 12182),
        ("{}foo", 9500),
        ("{foo", 13308),
        (b"\xff\x00", 1023),
    ],
)
def test_slot_of_a_key(key: str | bytes, slot: int) -> None:
    """The checksum of the whole key, or of what its first braces hold."""
    assert key_slot(key) == slot


@pytest.mark.parametrize(
    ("command", "key"),
    [
        (("GET", "k"), "k"),
        (("hset", b"k", "f", "v"), b"k"),
        (("EVALSHA", "sha", 2, "k", "l", "a"), "k"),
        (("EVAL", "return 1", 0), None),
        (("XREADGROUP", "GROUP", "g", "c", "STREAMS", "k", "l", ">", ">"), "k"),
        (("XREAD", "COUNT", 1, b"STREAMS", b"k", "0"), b"k"),
        (("XGROUP CREATE", "k", "g", "$"), "k"),
        (("XINFO", "STREAM", "k"), "k"),
        (("PUBLISH", "channel", b"m"), "channel"),
        (("PING",), None),
        (("CLUSTER", "SLOTS"), None),
    ],
)
def test_key_of_a_command(command: tuple[Any, ...], key: str | bytes | None) -> None:
    """The first one, or none where any server will do."""
    assert find_key(command) == key


def test_a_tag_decides_about_the_slot() -> None:
    """Whatever a channel is called, its keys lie together and are its own."""
    names = ["a", "{a}", "a}b", "}a", "}", "{", "}a}", "_", "_}a.", "_}}a", "{_}a."]
    for name in names:
        keys = [f"p.{kind}.{tagged(name)}" for kind in ("stream", "stream.meta")]
        assert len({key_slot(key) for key in keys}) == 1
        assert untagged(tagged(name)) == name
    assert len({tagged(name) for name in names}) == len(names)
