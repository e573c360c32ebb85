"""HTTP/2 frames (RFC 9113 §4 and §6) for the HTTP/2 room, as pure functions.

Nothing here knows sockets, nor whether it serves a client or a server. The loop over
frames is in `session.py`, because a call for each frame would cost more than the frame.
"""

from __future__ import annotations

import struct
from enum import IntEnum

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA = 0
HEADERS = 1
PRIORITY = 2
RST_STREAM = 3
SETTINGS = 4
PUSH_PROMISE = 5
PING = 6
GOAWAY = 7
WINDOW_UPDATE = 8
CONTINUATION = 9

END_STREAM = 0x01
ACK = 0x01
END_HEADERS = 0x04
PADDED = 0x08
PRIORITY_FIELDS = 0x20

SETTING_HEADER_TABLE_SIZE = 1
SETTING_ENABLE_PUSH = 2
SETTING_MAX_CONCURRENT_STREAMS = 3
SETTING_INITIAL_WINDOW_SIZE = 4
SETTING_MAX_FRAME_SIZE = 5
SETTING_MAX_HEADER_LIST_SIZE = 6

DEFAULT_WINDOW = 65_535
DEFAULT_MAX_FRAME = 16_384
MAX_WINDOW = (1 << 31) - 1
MAX_STREAM_ID = (1 << 31) - 1

# Length and type share the first four bytes: (length << 8 | type, flags, stream).
FRAME_HEAD = struct.Struct(">IBI")
_PAIR = struct.Struct(">HI")
_TWO = struct.Struct(">II")
_ONE = struct.Struct(">I")


class ErrorCode(IntEnum):
    """Why a stream or a connection ends (RFC 9113 §7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


class ConnectionFault(Exception):
    """The peer broke the protocol; the connection ends with this code."""

    def __init__(self, code: ErrorCode, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


def error_name(code: int) -> str:
    """The name of an error code, or its number where it has none."""
    try:
        return ErrorCode(code).name
    except ValueError:
        return f"error {code}"


# ---------------------------------------------------------------- to bytes


def encode_frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame; the payload is not checked against any limit."""
    return FRAME_HEAD.pack(len(payload) << 8 | kind, flags, stream) + payload


def encode_settings(settings: dict[int, int]) -> bytes:
    """A SETTINGS frame with these values."""
    payload = b"".join([_PAIR.pack(key, value) for key, value in settings.items()])
    return encode_frame(SETTINGS, 0, 0, payload)


SETTINGS_ACK = encode_frame(SETTINGS, ACK, 0)


def encode_window_update(stream: int, increment: int) -> bytes:
    """Give the peer `increment` more bytes, on a stream or (0) the connection."""
    return encode_frame(WINDOW_UPDATE, 0, stream, _ONE.pack(increment))


def encode_reset(stream: int, code: int) -> bytes:
    """RST_STREAM."""
    return encode_frame(RST_STREAM, 0, stream, _ONE.pack(code))


def encode_ping(payload: bytes, *, ack: bool = False) -> bytes:
    """PING with its eight bytes."""
    return encode_frame(PING, ACK if ack else 0, 0, payload)


def encode_goaway(last_stream: int, code: int, debug: bytes = b"") -> bytes:
    """GOAWAY."""
    return encode_frame(GOAWAY, 0, 0, _TWO.pack(last_stream, code) + debug)


def encode_headers(
    stream: int, block: bytes, *, end_stream: bool, max_frame: int
) -> bytes:
    """HEADERS, and CONTINUATION where the block is longer than a frame."""
    flags = END_STREAM if end_stream else 0
    if len(block) <= max_frame:
        return encode_frame(HEADERS, flags | END_HEADERS, stream, block)
    pieces = [block[at : at + max_frame] for at in range(0, len(block), max_frame)]
    last = len(pieces) - 1
    frames = [encode_frame(HEADERS, flags, stream, pieces[0])]
    for number, piece in enumerate(pieces[1:], 1):
        ends = END_HEADERS if number == last else 0
        frames.append(encode_frame(CONTINUATION, ends, stream, piece))
    return b"".join(frames)


# ---------------------------------------------------------------- from bytes


def _size_fault(name: str, size: int) -> ConnectionFault:
    return ConnectionFault(
        ErrorCode.FRAME_SIZE_ERROR, f"a {name} frame of {size} bytes"
    )


def parse_settings(payload: bytes) -> list[tuple[int, int]]:
    """(identifier, value) in order; the caller checks values by its role."""
    if len(payload) % 6:
        raise _size_fault("SETTINGS", len(payload))
    return list(_PAIR.iter_unpack(payload))


def parse_window_update(payload: bytes) -> int:
    """The increment. 0 is an error of the stream or connection; the caller decides."""
    # The highest bit is reserved and ignored, here and in stream ids (§4.1, §6.9).
    if len(payload) != 4:
        raise _size_fault("WINDOW_UPDATE", len(payload))
    return int(_ONE.unpack(payload)[0]) & MAX_WINDOW


def parse_reset(payload: bytes) -> int:
    """The error code of a RST_STREAM."""
    if len(payload) != 4:
        raise _size_fault("RST_STREAM", len(payload))
    return int(_ONE.unpack(payload)[0])


def parse_goaway(payload: bytes) -> tuple[int, int, bytes]:
    """(last stream, error code, debug data)."""
    if len(payload) < 8:
        raise _size_fault("GOAWAY", len(payload))
    last, code = _TWO.unpack_from(payload)
    return last & MAX_STREAM_ID, code, payload[8:]


def parse_ping(payload: bytes) -> bytes:
    """The eight bytes of a PING."""
    if len(payload) != 8:
        raise _size_fault("PING", len(payload))
    return payload


def strip_padding(flags: int, payload: bytes) -> bytes:
    """What a DATA or HEADERS frame carries without its padding."""
    if not flags & PADDED:
        return payload
    if not payload:
        raise _size_fault("padded", 0)
    padding = payload[0]
    # The byte of the length counts as well, so this much would leave no room (§6.1).
    if padding >= len(payload):
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "padding as long as its frame")
    return payload[1 : len(payload) - padding]


def strip_headers(flags: int, payload: bytes) -> bytes:
    """The block fragment of a HEADERS frame without padding and priority fields."""
    fragment = strip_padding(flags, payload)
    if not flags & PRIORITY_FIELDS:
        return fragment
    if len(fragment) < 5:
        raise _size_fault("HEADERS", len(payload))
    return fragment[5:]
