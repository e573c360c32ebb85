"""Transports room: WebSocket frames (RFC 6455) as bytes, both ways. Pure.

It must not know sockets or what messages mean. A server's frames are not masked, a
client's must be.
"""

from __future__ import annotations

from collections.abc import Iterator

from tocsin.protocol.frames import Encoding, WireForm, write_varint

CONTINUATION, TEXT, BINARY = 0x0, 0x1, 0x2
CLOSE, PING, PONG = 0x8, 0x9, 0xA

PROTOCOL_ERROR = 1002
INVALID_TEXT = 1007
TOO_BIG = 1009

_DATA = frozenset({CONTINUATION, TEXT, BINARY})
_CONTROL = frozenset({CLOSE, PING, PONG})
_CONTROL_LIMIT = 125
_HIGHEST_CODE = 65_535
# What RFC 6455 and its registry let an endpoint send below 3000.
_CLOSE_CODES = frozenset({*range(1000, 1004), *range(1007, 1015)})


class Violation(Exception):
    """The peer broke the framing; `code` is what the close frame says."""

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        super().__init__(reason)


def build_frame(opcode: int, payload: bytes) -> bytes:
    """One whole, unmasked frame."""
    size = len(payload)
    if size < 126:
        return bytes((0x80 | opcode, size)) + payload
    if size < 65_536:
        return bytes((0x80 | opcode, 126)) + size.to_bytes(2) + payload
    return bytes((0x80 | opcode, 127)) + size.to_bytes(8) + payload


def build_close(code: int, reason: str = "") -> bytes:
    """A close frame; a reason beyond 123 bytes is cut at a character.

    A code that 16 bits cannot hold becomes the highest: a close must not fail.
    """
    if not code:
        return build_frame(CLOSE, b"")
    code = min(code, _HIGHEST_CODE)
    text = reason.encode()[: _CONTROL_LIMIT - 2].decode(errors="ignore")
    return build_frame(CLOSE, code.to_bytes(2) + text.encode())


def _frame_text(message: bytes) -> bytes:
    return build_frame(TEXT, message)


def _frame_binary(message: bytes) -> bytes:
    return build_frame(BINARY, write_varint(len(message)) + message)


WEBSOCKET_JSON = WireForm(
    "websocket json", Encoding.JSON, _frame_text, transport="websocket"
)
WEBSOCKET_PROTOBUF = WireForm(
    "websocket protobuf", Encoding.PROTOBUF, _frame_binary, transport="websocket"
)
UNI_WEBSOCKET_JSON = WireForm(
    "one-way websocket json",
    Encoding.JSON,
    _frame_text,
    unidirectional=True,
    transport="uni_websocket",
)


def unmask(payload: bytes, key: bytes) -> bytes:
    """Undo (or do) the masking of a payload."""
    size = len(payload)
    if not size:
        return b""
    # As two long integers: a loop over bytes in Python is many times slower.
    mask = (key * (size // 4 + 1))[:size]
    number = int.from_bytes(payload, "little") ^ int.from_bytes(mask, "little")
    return number.to_bytes(size, "little")


def read_close(payload: bytes) -> int:
    """The code of a close frame, 1005 where it has none; raises `Violation`."""
    if not payload:
        return 1005
    code = int.from_bytes(payload[:2])
    if len(payload) == 1 or not (code in _CLOSE_CODES or 3000 <= code < 5000):
        raise Violation(PROTOCOL_ERROR, "close frame with a bad code")
    _check_text(payload[2:])
    return code


def _check_text(payload: bytes) -> None:
    try:
        payload.decode()
    except UnicodeDecodeError:
        raise Violation(INVALID_TEXT, "text is not UTF-8") from None


class FrameReader:
    """Takes a client's bytes in any pieces; gives messages and control frames.

    A message above `limit` bytes is a violation as soon as its size is known.
    Between messages it holds no bytes. `_need` is how many bytes the buffer must have
    before it is worth another look.
    """

    __slots__ = ("_buffer", "_limit", "_need", "_opcode", "_parts", "_size")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer: bytearray | None = None
        self._need = 2
        self._opcode = CONTINUATION
        self._parts: list[bytes] | None = None
        self._size = 0

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """`(opcode, payload)` of each frame that is complete now; raises `Violation`.

        The frame that ends a message gives the whole message; a fragment before it is
        given as `CONTINUATION` without a payload. Text has been checked to be UTF-8.
        The pairs must be taken in the order in which their bytes were fed.
        """
        if self._buffer is not None:
            self._buffer += data
            if len(self._buffer) < self._need:
                return
            data = bytes(self._buffer)
            self._buffer = None
        at, size = 0, len(data)
        while at < size:
            frame = self._read_frame(data, at)
            if frame is None:
                self._buffer = bytearray(data[at:])
                return
            fin, opcode, payload, at = frame
            if opcode in _CONTROL:
                yield opcode, payload
            else:
                yield self._add(fin, opcode, payload)

    def _read_frame(self, data: bytes, at: int) -> tuple[bool, int, bytes, int] | None:
        """A frame and where it ends; `None` (and `_need` set) if it is not whole."""
        left = len(data) - at
        if left < 2:
            self._need = 2
            return None
        first, second = data[at], data[at + 1]
        opcode = first & 0x0F
        self._check_head(first, second, opcode)
        size = second & 0x7F
        extra = {126: 2, 127: 8}.get(size, 0)
        head = 2 + extra + 4
        if left < head:
            self._need = head
            return None
        if extra:
            size = int.from_bytes(data[at + 2 : at + 2 + extra])
        self._check_size(opcode, size)
        if left < head + size:
            self._need = head + size
            return None
        body = at + head
        payload = unmask(data[body : body + size], data[body - 4 : body])
        return bool(first & 0x80), opcode, payload, body + size

    def _check_head(self, first: int, second: int, opcode: int) -> None:
        if first & 0x70:
            raise Violation(PROTOCOL_ERROR, "reserved bits are set")
        if not second & 0x80:
            raise Violation(PROTOCOL_ERROR, "frame is not masked")
        if opcode in _CONTROL:
            if not first & 0x80:
                raise Violation(PROTOCOL_ERROR, "control frame is fragmented")
            if second & 0x7F > _CONTROL_LIMIT:
                raise Violation(PROTOCOL_ERROR, "control frame is too long")
        elif opcode not in _DATA:
            raise Violation(PROTOCOL_ERROR, "reserved opcode")
        elif (opcode == CONTINUATION) != (self._parts is not None):
            raise Violation(PROTOCOL_ERROR, "fragments are out of order")

    def _check_size(self, opcode: int, size: int) -> None:
        if size >> 63:  # RFC 6455: the highest bit of a 64-bit length is 0
            raise Violation(PROTOCOL_ERROR, "length is negative")
        if opcode in _DATA and self._size + size > self._limit > 0:
            raise Violation(TOO_BIG, "message is too big")

    def _add(self, fin: bool, opcode: int, payload: bytes) -> tuple[int, bytes]:
        if self._parts is not None:
            # The limit counts bytes: without this, empty fragments would pile up.
            if payload:
                self._parts.append(payload)
            self._size += len(payload)
            if not fin:
                return CONTINUATION, b""
            opcode, payload = self._opcode, b"".join(self._parts)
            self._parts = None
            self._size = 0
        elif not fin:
            self._opcode, self._parts, self._size = opcode, [payload], len(payload)
            return CONTINUATION, b""
        if opcode == TEXT:
            _check_text(payload)
        return opcode, payload
