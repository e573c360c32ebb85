"""WebSocket frames as clients send them."""

from __future__ import annotations

from collections.abc import Iterable

from tests.fuzz.target import Target, cut, require

from tocsin.transports.websocket_codec import (
    CLOSE,
    CONTINUATION,
    PING,
    TEXT,
    FrameReader,
    Violation,
    build_close,
    build_frame,
    read_close,
    unmask,
)

LIMIT = 1_000
CODES = {1002, 1007, 1009}
_KEY = b"\x01\x02\x03\x04"

_Read = tuple[list[tuple[int, bytes]], int, str]


def run_frames(data: bytes) -> None:
    """Messages or a violation with a close code, wherever the bytes are cut."""
    whole = _read([data])
    require(_read(cut(data)) == whole, "the cuts between reads change the messages")
    single = _read([data[at : at + 1] for at in range(min(len(data), 600))])
    require(
        len(data) > 600 or single == whole, "single bytes make other messages of it"
    )
    found, code, _ = whole
    require(not code or code in CODES, f"a violation of code {code}")
    for opcode, payload in found:
        require(len(payload) <= LIMIT, "a message over the limit")
        require(opcode & 8 == 0 or len(payload) <= 125, "a long control frame")
        if opcode == TEXT:
            payload.decode()
        if opcode == CLOSE:
            _check_close(payload)


def _read(pieces: list[bytes]) -> _Read:
    reader = FrameReader(LIMIT)
    found: list[tuple[int, bytes]] = []
    try:
        for piece in pieces:
            found.extend(reader.feed(piece))
    except Violation as violation:
        return found, violation.code, str(violation)
    return found, 0, ""


def _check_close(payload: bytes) -> None:
    try:
        code = read_close(payload)
    except Violation as violation:
        require(violation.code in CODES, "a close frame ends with another code")
        return
    require(code == 1005 or 1000 <= code < 5000, f"close code {code}")
    again = build_close(code, payload[2:].decode())
    require(code == 1005 or again[2:] == payload, "a close frame comes back as another")


def masked(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    """A client's frame."""
    frame = bytearray(build_frame(opcode, b"\0" * len(payload)))
    frame[1] |= 0x80
    if not fin:
        frame[0] &= 0x7F
    head = bytes(frame[: len(frame) - len(payload)])
    return head + _KEY + unmask(payload, _KEY)


def examples() -> Iterable[bytes]:
    """Messages whole and in fragments, and control frames between them."""
    yield masked(TEXT, b'{"id":1,"connect":{}}') + masked(2, b"\x02\x08\x01")
    yield (
        masked(TEXT, "grü".encode()[:-1], fin=False)
        + masked(PING, b"there?")
        + masked(CONTINUATION, "ü".encode()[1:])
    )
    yield masked(TEXT, b"x" * 200) + masked(2, b"y" * 999)
    yield masked(CLOSE, (1000).to_bytes(2) + b"bye")
    yield masked(CLOSE, b"") + masked(0xA, b"")


FRAMES = Target(
    "websocket-frames",
    run_frames,
    examples,
    words=(masked(TEXT, b""), masked(CONTINUATION, b""), b"\xfe\xff\xff", b"\xff"),
    cpu_ms=100,
)
