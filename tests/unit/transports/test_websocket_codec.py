from __future__ import annotations

import pytest

from tocsin.transports.websocket_codec import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    FrameReader,
    Violation,
    build_close,
    build_frame,
    read_close,
    unmask,
)

KEY = b"\x01\x02\x03\x04"


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    masked: bool = True,
    length: bytes | None = None,
) -> bytes:
    """A client's frame, broken on request; `length` replaces the length bytes."""
    size = len(payload)
    if length is None:
        if size < 126:
            length = bytes((size,))
        elif size < 65_536:
            length = b"\x7e" + size.to_bytes(2)
        else:
            length = b"\x7f" + size.to_bytes(8)
    head = bytes(((0x80 if fin else 0) | rsv << 4 | opcode,))
    if not masked:
        return head + length + payload
    return head + bytes((length[0] | 0x80,)) + length[1:] + KEY + unmask(payload, KEY)


LIMIT = 1000
LONG = b"x" * 126
GOOD: list[tuple[str, bytes, list[tuple[int, bytes]]]] = [
    ("text", frame(TEXT, b"hello"), [(TEXT, b"hello")]),
    ("binary", frame(BINARY, b"\xff\x00"), [(BINARY, b"\xff\x00")]),
    ("empty", frame(TEXT), [(TEXT, b"")]),
    ("126 bytes", frame(TEXT, LONG), [(TEXT, LONG)]),
    ("at the limit", frame(TEXT, b"x" * LIMIT), [(TEXT, b"x" * LIMIT)]),
    (
        "length in eight bytes",
        frame(TEXT, b"abc", length=b"\x7f" + (3).to_bytes(8)),
        [(TEXT, b"abc")],
    ),
    (
        "fragments",
        frame(TEXT, b"a", fin=False)
        + frame(CONTINUATION, b"b", fin=False)
        + frame(CONTINUATION, b"c"),
        [(TEXT, b"abc")],
    ),
    (
        "empty fragments",
        frame(TEXT, fin=False) + frame(CONTINUATION, fin=False) + frame(CONTINUATION),
        [(TEXT, b"")],
    ),
    (
        "character over fragments",
        frame(TEXT, b"\xc3", fin=False) + frame(CONTINUATION, b"\xa9"),
        [(TEXT, b"\xc3\xa9")],
    ),
    (
        "control between fragments",
        frame(TEXT, b"a", fin=False)
        + frame(PING, b"p")
        + frame(CONTINUATION, b"b", fin=False)
        + frame(PONG, b"q")
        + frame(CONTINUATION, b"c"),
        [(PING, b"p"), (PONG, b"q"), (TEXT, b"abc")],
    ),
    (
        "several at once",
        frame(TEXT, b"1") + frame(TEXT, b"2") + frame(BINARY, b"3"),
        [(TEXT, b"1"), (TEXT, b"2"), (BINARY, b"3")],
    ),
    ("long ping", frame(PING, b"x" * 125), [(PING, b"x" * 125)]),
    ("close", frame(CLOSE, b"\x03\xe8bye"), [(CLOSE, b"\x03\xe8bye")]),
]

BAD: list[tuple[str, bytes, int]] = [
    ("not masked", frame(TEXT, b"a", masked=False), 1002),
    ("reserved bit 1", frame(TEXT, b"a", rsv=4), 1002),
    ("reserved bit 2", frame(TEXT, b"a", rsv=2), 1002),
    ("reserved bit 3", frame(TEXT, b"a", rsv=1), 1002),
    ("reserved bit on a ping", frame(PING, b"a", rsv=4), 1002),
    *((f"opcode {n}", frame(n, b"a"), 1002) for n in (3, 4, 5, 6, 7)),
    *((f"opcode {n}", frame(n, b"a"), 1002) for n in (11, 12, 13, 14, 15)),
    ("fragmented ping", frame(PING, b"a", fin=False), 1002),
    ("fragmented close", frame(CLOSE, b"", fin=False), 1002),
    ("ping of 126 bytes", frame(PING, LONG), 1002),
    ("continuation of nothing", frame(CONTINUATION, b"a"), 1002),
    (
        "text within fragments",
        frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"),
        1002,
    ),
    (
        "text within empty fragments",
        frame(TEXT, b"", fin=False) + frame(TEXT, b"b"),
        1002,
    ),
    (
        "continuation after the end",
        frame(TEXT, b"a", fin=False)
        + frame(CONTINUATION, b"b")
        + frame(CONTINUATION, b"c"),
        1002,
    ),
    ("negative length", frame(TEXT, length=b"\x7f" + b"\xff" * 8), 1002),
    ("text is not UTF-8", frame(TEXT, b"\xff"), 1007),
    ("half a character", frame(TEXT, b"\xc3"), 1007),
    ("a surrogate", frame(TEXT, b"\xed\xa0\x80"), 1007),
    (
        "fragments are not UTF-8",
        frame(TEXT, b"\xc3", fin=False) + frame(CONTINUATION, b"x"),
        1007,
    ),
    ("too big", frame(TEXT, b"x" * (LIMIT + 1)), 1009),
    ("too big, only announced", b"\x81\xff" + (2**62).to_bytes(8) + KEY, 1009),
    (
        "too big in fragments",
        frame(TEXT, b"x" * LIMIT, fin=False) + frame(CONTINUATION, b"x"),
        1009,
    ),
]


def read(data: bytes, step: int) -> list[tuple[int, bytes]]:
    reader = FrameReader(LIMIT)
    found: list[tuple[int, bytes]] = []
    for at in range(0, len(data), step):
        found += reader.feed(data[at : at + step])
    return [each for each in found if each[0] != CONTINUATION]


@pytest.mark.parametrize("step", [1, 3, 100_000])
@pytest.mark.parametrize(
    ("data", "expected"), [row[1:] for row in GOOD], ids=[row[0] for row in GOOD]
)
def test_good_frames(data: bytes, expected: list[tuple[int, bytes]], step: int) -> None:
    """Frames are read whatever pieces they come in."""
    assert read(data, step) == expected


@pytest.mark.parametrize("step", [1, 100_000])
@pytest.mark.parametrize(
    ("data", "code"), [row[1:] for row in BAD], ids=[row[0] for row in BAD]
)
def test_bad_frames(data: bytes, code: int, step: int) -> None:
    """Every breach of the rules has its close code."""
    with pytest.raises(Violation) as caught:
        read(data, step)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"", 1005),
        (b"\x03\xe8", 1000),
        (b"\x03\xe8bye", 1000),
        (b"\x0b\xb8", 3000),
        (b"\x13\x87", 4999),
    ],
)
def test_close_codes(payload: bytes, expected: int) -> None:
    """Codes that a client may send are read."""
    assert read_close(payload) == expected


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"\x03", 1002),
        (b"\x00\x00", 1002),
        (b"\x03\xe7", 1002),
        ((1004).to_bytes(2), 1002),
        ((1005).to_bytes(2), 1002),
        ((1006).to_bytes(2), 1002),
        ((1015).to_bytes(2), 1002),
        ((2999).to_bytes(2), 1002),
        ((5000).to_bytes(2), 1002),
        (b"\x03\xe8\xff", 1007),
    ],
)
def test_bad_close_codes(payload: bytes, code: int) -> None:
    """Codes that nobody may send, and reasons that are no text."""
    with pytest.raises(Violation) as caught:
        read_close(payload)
    assert caught.value.code == code


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_built_frames(size: int) -> None:
    """The length takes the fewest bytes that hold it."""
    built = build_frame(BINARY, b"x" * size)
    head = 2 if size < 126 else 4 if size < 65_536 else 10
    assert len(built) == head + size
    assert built[0] == 0x82
    assert not built[1] & 0x80


def test_close_reasons_fit() -> None:
    """A reason is cut at 123 bytes, never within a character."""
    assert build_close(3000, "é" * 100)[2:4] == (3000).to_bytes(2)
    assert len(build_close(3000, "é" * 100)) == 2 + 2 + 122
    assert build_close(0) == b"\x88\x00"


@pytest.mark.parametrize("code", [65_536, 70_000, 2**32 - 1])
def test_a_code_that_no_frame_can_hold(code: int) -> None:
    """It becomes the highest one, since a close must not fail."""
    assert build_close(code, "why") == b"\x88\x05\xff\xffwhy"


def test_masking_is_its_own_inverse() -> None:
    """Masking twice gives the payload again, for every length."""
    for size in range(20):
        payload = bytes(range(size))
        assert unmask(unmask(payload, KEY), KEY) == payload
    assert unmask(b"\x00\x00\x00\x00\x00", KEY) == KEY + b"\x01"


def test_fragments_without_content_take_no_memory() -> None:
    """However many a client sends, only what they hold is kept."""
    reader = FrameReader(LIMIT)
    list(reader.feed(frame(TEXT, b"a", fin=False)))
    for _ in range(100):
        frames = reader.feed(frame(CONTINUATION, fin=False) * 100)
        assert list(frames) == [(CONTINUATION, b"")] * 100
    assert reader._parts is not None
    assert len(reader._parts) == 1
    assert list(reader.feed(frame(CONTINUATION, b"b"))) == [(TEXT, b"ab")]


def test_every_frame_is_told() -> None:
    """Also one that ends no message: who takes frames can count them all."""
    reader = FrameReader(LIMIT)
    data = frame(TEXT, b"a", fin=False) + frame(PING) + frame(CONTINUATION, b"b")
    assert list(reader.feed(data)) == [(CONTINUATION, b""), (PING, b""), (TEXT, b"ab")]


def test_an_idle_reader_holds_nothing() -> None:
    """Between messages no bytes are kept."""
    reader = FrameReader(LIMIT)
    list(reader.feed(frame(TEXT, b"a") + frame(TEXT, b"b")[:3]))
    list(reader.feed(frame(TEXT, b"b")[3:]))
    assert reader._buffer is None
