from __future__ import annotations

import pytest

from tocsin.protocol.delta import BadDelta, apply_delta, create_delta

TEXT = b'{"id":42,"title":"The quick brown fox","body":"jumps over the lazy dog"}'


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"", b""),
        (b"", b"new"),
        (b"old", b""),
        (TEXT, TEXT),
        (TEXT, TEXT.replace(b"brown", b"red")),
        (TEXT, b"[" + TEXT + b"]"),
        (TEXT, TEXT + TEXT),
        (TEXT * 4, TEXT[30:] + b"x" + TEXT[:30]),
        (b"a" * 100, b"a" * 101),
        (b"a" * 101, b"a" * 100),
        (bytes(range(256)) * 300, bytes(range(255, -1, -1)) * 300),
    ],
)
def test_round_trip(old: bytes, new: bytes) -> None:
    """What was made of two payloads makes the second of the first again."""
    assert apply_delta(old, create_delta(old, new)) == new


def test_small_changes_make_small_deltas() -> None:
    """One changed word in a long text costs little; moved blocks are found."""
    old = TEXT * 20
    assert len(create_delta(old, old.replace(b"fox", b"cat", 1))) < 30
    assert len(create_delta(old, old[700:] + old[:700])) < 60


def test_the_bytes() -> None:
    """Size, copy, insert, copy, and the sum of two big-endian words in base 64."""
    # 0x61626364 + 0x58666768 is 3116944076
    assert create_delta(b"abcdefgh", b"abcdXfgh") == b"8\n4@0,1:X3@5,2unCgC;"


@pytest.mark.parametrize(
    "delta",
    [
        b"",
        b"5",
        b"5\n",
        b"5\n5@0,",
        b"5\n5@0,0;",
        b"5\n5@9,0;",
        b"5\n9@0,0;",
        b"5\n5@0;",
        b"5\n5!abcde0;",
        b"5\n5:abc",
        b"2\n5:abcde0;",
        b"~~~~~~~~\n",
        b"!\n",
    ],
)
def test_bad_deltas(delta: bytes) -> None:
    """Whatever is no delta of these bytes is refused, never guessed at."""
    with pytest.raises(BadDelta):
        apply_delta(b"hello", delta)


def test_a_delta_of_other_bytes() -> None:
    """The checksum tells when the base is another."""
    delta = create_delta(TEXT, TEXT.replace(b"42", b"43"))
    with pytest.raises(BadDelta):
        apply_delta(TEXT.replace(b"fox", b"cat"), delta)
    assert apply_delta(TEXT, delta) == TEXT.replace(b"42", b"43")
    with pytest.raises(BadDelta):
        apply_delta(TEXT, delta + b"x")
